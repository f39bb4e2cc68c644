"""genesis.toml: reading, checking and writing it (docs/configuration.md).

The file is what people agree on when they found a plant, so it is checked as a whole: whatever
this module lets through, every replica can run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from vppd.config.duties import DutyEntry, duty_lines
from vppd.config.engines import DPOS, engine_named, not_installed
from vppd.config.founding import founding_size
from vppd.config.genesis import (
    BLOCK_BYTES_LIMIT,
    MOST_VALIDATORS,
    ORDERED_RULES,
    STARTING_CREDIT,
    AccountEntry,
    ConsensusRules,
    ContractRules,
    Count,
    DposRules,
    Genesis,
    Governance,
    LedgerRules,
    MarketRulesSection,
    MeterEntry,
    ValidatorEntry,
)
from vppd.config.grid import Grid
from vppd.config.grid_file import GridTable, grid_lines, sound_grid
from vppd.config.market_file import MarketReader, MarketTable, market_lines
from vppd.config.reading import Reading
from vppd.config.toml import Table, convert, parse, read_bytes
from vppd.config.values import (
    format_decimal,
)
from vppd.crypto import key_text, sha256
from vppd.errors import ConfigError
from vppd.types import PPM, Micro, Role

TOTAL_LIMIT: Micro = 2**62
"""All the money of a plant: fits a signed 64-bit integer, with as much again for the grid."""
_NOBODY_ELSE = Governance()
_MARKET_LEDGER = LedgerRules()
_OWN_CONTRACTS = ContractRules()
_Offset = Annotated[int, Meta(ge=0, lt=2**53)]
_Energy = Annotated[int, Meta(ge=0, lt=2**53)]


class ValidatorTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[validator]]`` as written."""

    name: str
    role: Role
    id: str


class AccountTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[account]]`` as written; without an id it is the validator of that name."""

    name: str
    id: str | None = None
    balance: str = "0.00"
    credit: Annotated[int, Meta(ge=0, le=PPM)] = STARTING_CREDIT
    bus: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    aggregator: str = ""


class MeterTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[meter]]`` as written."""

    id: str
    account: str
    import_wh: _Energy = 0
    export_wh: _Energy = 0
    first_slot: _Offset = 0
    rollover_wh: _Energy = 0


class GovernanceTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[governance]`` as written."""

    threshold: Count | None = None
    authority: tuple[str, ...] = ()


class GenesisFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """genesis.toml as written."""

    schema: int
    chain_id: str
    consensus: ConsensusRules = ConsensusRules()
    governance: GovernanceTable = GovernanceTable()
    ledger: LedgerRules = LedgerRules()
    contracts: ContractRules = ContractRules()
    grid: GridTable | None = None
    market: MarketTable
    validator: tuple[ValidatorTable, ...]
    account: tuple[AccountTable, ...] = ()
    meter: tuple[MeterTable, ...] = ()
    duty: tuple[DutyEntry, ...] = ()


def load_genesis(path: Path) -> Genesis:
    """Read and check genesis.toml.

    Raises:
        ConfigError: E100…E112, naming the file, the key and what to try.
    """
    return parse_genesis(read_bytes(path, hint="vppd testnet writes one"), path)


def parse_genesis(data: bytes, path: Path = Path("genesis.toml")) -> Genesis:
    """The same for bytes at hand; ``path`` is only named in errors.

    Raises:
        ConfigError: E101…E112.
    """
    tables = parse(data, path)
    _check_engine(tables, path)
    return _Reader(path).genesis(convert(tables, GenesisFile, path), sha256(data))


def _check_engine(tables: Table, path: Path) -> None:
    """Before the keys: an engine of another build may bring keys that this one does not know."""
    consensus = tables.get("consensus")
    engine = consensus.get("engine") if isinstance(consensus, dict) else None
    if isinstance(engine, str) and engine_named(engine) is None:
        raise not_installed(engine, {"file": str(path), "key": "consensus.engine"})


class _Reader(Reading):
    """Turns the written tables into records."""

    def genesis(self, file: GenesisFile, digest: bytes) -> Genesis:
        self.name(file.chain_id, "chain_id")
        validators = tuple(self._validators(file.validator))
        n = founding_size(file.consensus, len(validators))
        self._check_consensus(file.consensus, len(validators), n)
        market = MarketReader(self).market(file.market)
        accounts = self._accounts(file.account, validators)
        meters = tuple(self._meters(file.meter, accounts))
        return Genesis(
            name=file.chain_id,
            digest=digest,
            consensus=file.consensus,
            market=market,
            validators=validators,
            accounts=accounts,
            meters=meters,
            governance=self._governance(file.governance, n),
            ledger=self._ledger(file.ledger),
            contracts=file.contracts,
            grid=self._grid(file.grid, accounts),
            duties=self._duties(file.duty, accounts),
        )

    # -- members

    def _validators(self, tables: tuple[ValidatorTable, ...]) -> Iterator[ValidatorEntry]:
        if not tables:
            raise self.bad("validator", "a plant needs at least one", "add a [[validator]]")
        self.distinct("validator", "name", [t.name for t in tables])
        self.distinct("validator", "id", [t.id for t in tables])
        for i, table in enumerate(tables):
            where = f"validator[{i}]"
            if table.role is Role.OBSERVER:
                raise self.bad(
                    f"{where}.role",
                    "an observer follows and does not vote",
                    "leave it out: observers are not listed in genesis",
                )
            yield ValidatorEntry(
                name=self.name(table.name, f"{where}.name"),
                role=table.role,
                key=self.key(table.id, f"{where}.id"),
            )

    def _accounts(
        self, tables: tuple[AccountTable, ...], validators: tuple[ValidatorEntry, ...]
    ) -> tuple[AccountEntry, ...]:
        self.distinct("account", "name", [t.name for t in tables])
        by_name = {v.name: v.key for v in validators}
        accounts: list[AccountEntry] = []
        for i, table in enumerate(tables):
            where = f"account[{i}]"
            if table.id is not None:
                key = self.key(table.id, f"{where}.id")
            elif table.name in by_name:
                key = by_name[table.name]
            else:
                raise self._unknown(f"{where}.name", "validator", table.name, by_name)
            accounts.append(
                AccountEntry(
                    name=self.name(table.name, f"{where}.name"),
                    key=key,
                    balance=self.decimal(table.balance, f"{where}.balance"),
                    credit=table.credit,
                    bus=table.bus,
                    aggregator=table.aggregator,
                )
            )
        named = {account.name: account.key for account in accounts}
        for i, account in enumerate(accounts):
            if account.aggregator and account.aggregator not in named.keys() - {account.name}:
                where = f"account[{i}].aggregator"
                raise self._unknown(where, "other account", account.aggregator, named)
        self.distinct("account", "id", [key_text(a.key) for a in accounts])
        total = sum(account.balance for account in accounts)
        self.ordered(("the sum of account.balance", total), ("what can be counted", TOTAL_LIMIT))
        return tuple(accounts)

    def _meters(
        self, tables: tuple[MeterTable, ...], accounts: tuple[AccountEntry, ...]
    ) -> Iterator[MeterEntry]:
        self.distinct("meter", "id", [t.id for t in tables])
        names = {a.name: a.key for a in accounts}
        members = set(names.values())
        for i, table in enumerate(tables):
            where = f"meter[{i}]"
            if table.account not in names:
                raise self._unknown(f"{where}.account", "account", table.account, names)
            key = self.key(table.id, f"{where}.id")
            if key in members:
                raise self.bad(
                    f"{where}.id",
                    "a meter signs with a key of its own, this one belongs to an account",
                    "vppd key gen --out meter.key",
                )
            yield MeterEntry(
                key=key,
                account=table.account,
                import_wh=table.import_wh,
                export_wh=table.export_wh,
                first_slot=table.first_slot,
                rollover_wh=table.rollover_wh,
            )

    # -- rules

    def _check_consensus(self, rules: ConsensusRules, listed: int, n: int) -> None:
        """``n`` of the ``listed`` validators vote first."""
        if listed > MOST_VALIDATORS:
            raise ConfigError(
                "E140",
                f"{listed} validators are more than a certificate can name",
                facts={"file": str(self.path), "most": str(MOST_VALIDATORS)},
                hint="DERs beyond that take part without voting: [[account]] and [[meter]] entries",
            )
        most = (n - 1) // 3
        if rules.f is not None and rules.f > most:
            raise ConfigError(
                "E111",
                f"{n} validators cannot tolerate f = {rules.f} Byzantine ones",
                facts={"file": str(self.path), "key": "consensus.f", "most": str(most)},
                hint=f"f ≤ {most}, or at least {3 * rules.f + 1} validators; "
                "leave f out for the most",
            )
        for low, high in ORDERED_RULES:
            self.ordered(
                (f"consensus.{low}", getattr(rules, low)),
                (f"consensus.{high}", getattr(rules, high)),
            )
        self.ordered(
            ("consensus.max_block_bytes", rules.max_block_bytes),
            ("the frame's limit", BLOCK_BYTES_LIMIT - 1),
        )

    def _ledger(self, rules: LedgerRules) -> LedgerRules:
        if rules.kind == "market" and not rules.signed:
            raise self.bad(
                "ledger.signed",
                "nobody's money moves without a signature",
                'signed = true, or kind = "null" to measure without',
            )
        return rules

    def _grid(self, table: GridTable | None, accounts: tuple[AccountEntry, ...]) -> Grid | None:
        if table is None:
            return None
        return sound_grid(table, [(account.name, account.bus) for account in accounts], self.path)

    def _governance(self, table: GovernanceTable, n: int) -> Governance:
        if table.threshold is not None:
            self.ordered(("governance.threshold", table.threshold), ("founding members", n))
        self.distinct("governance", "authority", list(table.authority))
        keys = (
            self.key(text, f"governance.authority[{i}]") for i, text in enumerate(table.authority)
        )
        return Governance(threshold=table.threshold, authority=tuple(keys))

    def _duties(
        self, entries: tuple[DutyEntry, ...], accounts: tuple[AccountEntry, ...]
    ) -> tuple[DutyEntry, ...]:
        names = {account.name: account.key for account in accounts}
        for i, entry in enumerate(entries):
            if entry.account not in names:
                raise self._unknown(f"duty[{i}].account", "account", entry.account, names)
        self.distinct("duty", "duty and account", [f"{e.duty} {e.account}" for e in entries])
        return entries

    def _unknown(self, where: str, kind: str, name: str, known: Iterable[str]) -> ConfigError:
        return ConfigError(
            "E112",
            f"no {kind} is named {name!r}",
            facts={"file": str(self.path), "key": where, f"{kind}s": ", ".join(known) or "none"},
            hint=f"name a {kind} of this file, or give the entry its own id",
        )


def render_genesis(
    *,
    name: str,
    consensus: ConsensusRules,
    market: MarketRulesSection,
    validators: Iterable[ValidatorEntry],
    accounts: Iterable[AccountEntry] = (),
    meters: Iterable[MeterEntry] = (),
    governance: Governance = _NOBODY_ELSE,
    ledger: LedgerRules = _MARKET_LEDGER,
    contracts: ContractRules = _OWN_CONTRACTS,
    grid: Grid | None = None,
    duties: Iterable[DutyEntry] = (),
) -> str:
    """genesis.toml for these records; :func:`parse_genesis` gives them back.

    Every rule is written out, also where it is the default: defaults of a later version must not
    change the rules of a plant that exists.
    """
    lines = [
        "# Founding agreement of a virtual power plant: identical on every node, never edited",
        "# after height 0. Its SHA-256 is the chain id in every signature.",
        "schema = 1",
        f'chain_id = "{name}"',
        "",
        "[consensus]",
        f'engine = "{consensus.engine}"',
        f'path = "{consensus.path}"',
    ]
    if consensus.f is not None:
        lines.append(f"f = {consensus.f}")
    lines += [
        f"{key} = {getattr(consensus, key)}"
        for key in ConsensusRules.__struct_fields__
        if key not in {"engine", "path", "f", "dpos"}
    ]
    lines += [*_dpos_lines(consensus), *_governance_lines(governance), *_ledger_lines(ledger)]
    if contracts != _OWN_CONTRACTS:
        kinds = ", ".join(f'"{kind}"' for kind in contracts.kinds)
        lines += ["", "[contracts]", f"kinds = [{kinds}]"]
    lines += market_lines(market)
    if grid is not None:
        lines += grid_lines(grid)
    for validator in validators:
        lines += [
            "",
            "[[validator]]",
            f'name = "{validator.name}"',
            f'role = "{validator.role}"',
            f'id = "{key_text(validator.key)}"',
        ]
    for account in accounts:
        lines += [
            "",
            "[[account]]",
            f'name = "{account.name}"',
            f'id = "{key_text(account.key)}"',
            f'balance = "{format_decimal(account.balance)}"',
            f"credit = {account.credit}",
            f"bus = {account.bus}",
        ]
        if account.aggregator:
            lines.append(f'aggregator = "{account.aggregator}"')
    for meter in meters:
        lines += [
            "",
            "[[meter]]",
            f'id = "{key_text(meter.key)}"',
            f'account = "{meter.account}"',
            f"import_wh = {meter.import_wh}",
            f"export_wh = {meter.export_wh}",
            f"first_slot = {meter.first_slot}",
        ]
        if meter.rollover_wh:
            lines.append(f"rollover_wh = {meter.rollover_wh}")
    lines += duty_lines(duties)
    return "\n".join(lines) + "\n"


def _dpos_lines(consensus: ConsensusRules) -> Iterator[str]:
    """Left out where it says nothing: a build before engine ``dpos`` reads such a file too."""
    if consensus.engine == DPOS or consensus.dpos != DposRules():
        yield from ("", "[consensus.dpos]")
        for key in DposRules.__struct_fields__:
            value = getattr(consensus.dpos, key)
            yield f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}"


def _ledger_lines(ledger: LedgerRules) -> Iterator[str]:
    if ledger != _MARKET_LEDGER:
        yield from ("", "[ledger]", f'kind = "{ledger.kind}"')
        if not ledger.signed:
            yield "signed = false"


def _governance_lines(governance: Governance) -> Iterator[str]:
    if governance != _NOBODY_ELSE:
        yield from ("", "[governance]")
        if governance.threshold is not None:
            yield f"threshold = {governance.threshold}"
        keys = ", ".join(f'"{key_text(key)}"' for key in governance.authority)
        yield f"authority = [{keys}]"
