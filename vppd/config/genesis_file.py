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

from vppd.config.engines import DPOS, engine_named, not_installed
from vppd.config.founding import founding_size
from vppd.config.genesis import (
    BLOCK_BYTES_LIMIT,
    MOST_VALIDATORS,
    ORDERED_RULES,
    STARTING_CREDIT,
    AccountEntry,
    ConsensusRules,
    Count,
    DposRules,
    Genesis,
    Governance,
    LedgerRules,
    MarketRules,
    MarketRulesSection,
    MeterEntry,
    Millis,
    Tariff,
    ValidatorEntry,
)
from vppd.config.toml import Table, bad_value, check_distinct, convert, parse, read_bytes
from vppd.config.values import (
    DAY_MINUTES,
    format_decimal,
    format_hours,
    parse_decimal,
    parse_hours,
    parse_name,
)
from vppd.crypto import key_text, parse_key, sha256
from vppd.errors import ConfigError
from vppd.types import PPM, Micro, PublicKey, Role

TOTAL_LIMIT: Micro = 2**62
"""All the money of a plant: fits a signed 64-bit integer, with as much again for the grid."""
ORDER_LIMIT: Micro = 2**52
"""The largest order's worth; the ledger counts to twice that, for rules with a tolerance."""
_MARKET = MarketRulesSection()
_NOBODY_ELSE = Governance()
_MARKET_LEDGER = LedgerRules()
_Offset = Annotated[int, Meta(ge=0, lt=2**53)]
_Energy = Annotated[int, Meta(ge=0, lt=2**53)]
_Currency = Annotated[str, Meta(pattern="^[A-Za-z]{1,16}$")]


class TariffTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[market.tariff]]`` as written."""

    hours: str
    retail_price: str
    feed_in_price: str


class MarketTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[market]`` as written; the slot's length is in seconds or, for fast days, milliseconds."""

    rules: MarketRules = _MARKET.rules
    currency: _Currency = _MARKET.currency
    slot_seconds: Count | None = None
    slot_ms: Millis | None = None
    market_slot_seconds: Count = _MARKET.market_slot_minutes * 60
    origin_ms: _Offset = _MARKET.origin_ms
    market_offset_minutes: Annotated[int, Meta(ge=0, lt=DAY_MINUTES)] = (
        _MARKET.market_offset_minutes
    )
    open_lead_ms: Millis = _MARKET.open_lead_ms
    gate_lead_ms: Annotated[int, Meta(ge=0, lt=2**53)] = _MARKET.gate_lead_ms
    metering_ms: Millis = _MARKET.metering_ms
    dispute_slots: Annotated[int, Meta(ge=0, lt=2**31)] = _MARKET.dispute_slots
    max_quantity_wh: Annotated[int, Meta(ge=1, le=2**50)] = _MARKET.max_quantity_wh
    max_orders: Annotated[int, Meta(ge=1, le=1_024)] = _MARKET.max_orders
    max_price: str = format_decimal(_MARKET.max_price)
    tariff: tuple[TariffTable, ...]


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


class MeterTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[meter]]`` as written."""

    id: str
    account: str
    import_wh: _Energy = 0
    export_wh: _Energy = 0
    first_slot: _Offset = 0


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
    market: MarketTable
    validator: tuple[ValidatorTable, ...]
    account: tuple[AccountTable, ...] = ()
    meter: tuple[MeterTable, ...] = ()


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


class _Reader:
    """Turns the written tables into records; knows the file for its errors."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def genesis(self, file: GenesisFile, digest: bytes) -> Genesis:
        self._name(file.chain_id, "chain_id")
        validators = tuple(self._validators(file.validator))
        n = founding_size(file.consensus, len(validators))
        self._check_consensus(file.consensus, len(validators), n)
        market = self._market(file.market)
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
        )

    # -- members

    def _validators(self, tables: tuple[ValidatorTable, ...]) -> Iterator[ValidatorEntry]:
        if not tables:
            raise self._bad("validator", "a plant needs at least one", "add a [[validator]]")
        self._distinct("validator", "name", [t.name for t in tables])
        self._distinct("validator", "id", [t.id for t in tables])
        for i, table in enumerate(tables):
            where = f"validator[{i}]"
            if table.role is Role.OBSERVER:
                raise self._bad(
                    f"{where}.role",
                    "an observer follows and does not vote",
                    "leave it out: observers are not listed in genesis",
                )
            yield ValidatorEntry(
                name=self._name(table.name, f"{where}.name"),
                role=table.role,
                key=self._key(table.id, f"{where}.id"),
            )

    def _accounts(
        self, tables: tuple[AccountTable, ...], validators: tuple[ValidatorEntry, ...]
    ) -> tuple[AccountEntry, ...]:
        self._distinct("account", "name", [t.name for t in tables])
        by_name = {v.name: v.key for v in validators}
        accounts: list[AccountEntry] = []
        for i, table in enumerate(tables):
            where = f"account[{i}]"
            if table.id is not None:
                key = self._key(table.id, f"{where}.id")
            elif table.name in by_name:
                key = by_name[table.name]
            else:
                raise self._unknown(f"{where}.name", "validator", table.name, by_name)
            accounts.append(
                AccountEntry(
                    name=self._name(table.name, f"{where}.name"),
                    key=key,
                    balance=self._decimal(table.balance, f"{where}.balance"),
                    credit=table.credit,
                    bus=table.bus,
                )
            )
        self._distinct("account", "id", [key_text(a.key) for a in accounts])
        total = sum(account.balance for account in accounts)
        self._ordered(("the sum of account.balance", total), ("what can be counted", TOTAL_LIMIT))
        return tuple(accounts)

    def _meters(
        self, tables: tuple[MeterTable, ...], accounts: tuple[AccountEntry, ...]
    ) -> Iterator[MeterEntry]:
        self._distinct("meter", "id", [t.id for t in tables])
        names = {a.name: a.key for a in accounts}
        members = set(names.values())
        for i, table in enumerate(tables):
            where = f"meter[{i}]"
            if table.account not in names:
                raise self._unknown(f"{where}.account", "account", table.account, names)
            key = self._key(table.id, f"{where}.id")
            if key in members:
                raise self._bad(
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
            )

    # -- rules

    def _check_consensus(self, rules: ConsensusRules, listed: int, n: int) -> None:
        """``n`` of the ``listed`` validators vote first."""
        if listed > MOST_VALIDATORS:
            raise ConfigError(
                "E140",
                f"{listed} validators are more than a certificate can name",
                facts={"file": str(self._path), "most": str(MOST_VALIDATORS)},
                hint="DERs beyond that take part without voting: [[account]] and [[meter]] entries",
            )
        most = (n - 1) // 3
        if rules.f is not None and rules.f > most:
            raise ConfigError(
                "E111",
                f"{n} validators cannot tolerate f = {rules.f} Byzantine ones",
                facts={"file": str(self._path), "key": "consensus.f", "most": str(most)},
                hint=f"f ≤ {most}, or at least {3 * rules.f + 1} validators; "
                "leave f out for the most",
            )
        for low, high in ORDERED_RULES:
            self._ordered(
                (f"consensus.{low}", getattr(rules, low)),
                (f"consensus.{high}", getattr(rules, high)),
            )
        self._ordered(
            ("consensus.max_block_bytes", rules.max_block_bytes),
            ("the frame's limit", BLOCK_BYTES_LIMIT - 1),
        )

    def _ledger(self, rules: LedgerRules) -> LedgerRules:
        if rules.kind == "market" and not rules.signed:
            raise self._bad(
                "ledger.signed",
                "nobody's money moves without a signature",
                'signed = true, or kind = "null" to measure without',
            )
        return rules

    def _governance(self, table: GovernanceTable, n: int) -> Governance:
        if table.threshold is not None:
            self._ordered(("governance.threshold", table.threshold), ("founding members", n))
        self._distinct("governance", "authority", list(table.authority))
        keys = (
            self._key(text, f"governance.authority[{i}]") for i, text in enumerate(table.authority)
        )
        return Governance(threshold=table.threshold, authority=tuple(keys))

    def _market(self, table: MarketTable) -> MarketRulesSection:
        if table.slot_ms is not None and table.slot_seconds is not None:
            raise self._limits(
                "slot_seconds and slot_ms both give the slot's length",
                {"market.slot_seconds": table.slot_seconds, "market.slot_ms": table.slot_ms},
                "keep one of them",
            )
        if table.market_slot_seconds % 60:
            raise self._bad(
                "market.market_slot_seconds",
                f"{table.market_slot_seconds} is not a whole number of minutes",
                "tariffs change by the minute: 900, 3600, …",
            )
        slot_ms = table.slot_ms
        if slot_ms is None:
            slot_ms = _MARKET.slot_ms if table.slot_seconds is None else table.slot_seconds * 1_000
        self._ordered(
            ("market.gate_lead_ms", table.gate_lead_ms),
            ("market.open_lead_ms", table.open_lead_ms),
            strictly=True,
        )
        max_price = self._decimal(table.max_price, "market.max_price")
        self._ordered(
            (
                "market.max_quantity_wh · market.max_price",
                table.max_quantity_wh * max_price // 1_000,
            ),
            ("what can be counted", ORDER_LIMIT),
        )
        return MarketRulesSection(
            rules=table.rules,
            currency=table.currency,
            origin_ms=table.origin_ms,
            slot_ms=slot_ms,
            market_slot_minutes=table.market_slot_seconds // 60,
            market_offset_minutes=table.market_offset_minutes,
            open_lead_ms=table.open_lead_ms,
            gate_lead_ms=table.gate_lead_ms,
            metering_ms=table.metering_ms,
            dispute_slots=table.dispute_slots,
            max_quantity_wh=table.max_quantity_wh,
            max_orders=table.max_orders,
            max_price=max_price,
            tariffs=tuple(self._tariffs(table.tariff, max_price)),
        )

    def _tariffs(self, tables: tuple[TariffTable, ...], max_price: int) -> Iterator[Tariff]:
        prices: list[str | None] = [None] * DAY_MINUTES
        for i, table in enumerate(tables):
            where = f"market.tariff[{i}]"
            try:
                start, end = parse_hours(table.hours)
            except ValueError as err:
                raise self._bad(f"{where}.hours", str(err), 'hours = "23:00-07:00"') from err
            retail = self._decimal(table.retail_price, f"{where}.retail_price")
            feed_in = self._decimal(table.feed_in_price, f"{where}.feed_in_price")
            self._ordered((f"{where}.feed_in_price", feed_in), (f"{where}.retail_price", retail))
            self._ordered((f"{where}.retail_price", retail), ("market.max_price", max_price))
            for minute in range(start, end if end > start else end + DAY_MINUTES):
                taken = prices[minute % DAY_MINUTES]
                if taken is not None:
                    raise self._day(minute % DAY_MINUTES, f"{taken} and {table.hours} overlap")
                prices[minute % DAY_MINUTES] = table.hours
            yield Tariff(
                start_minute=start, end_minute=end, retail_price=retail, feed_in_price=feed_in
            )
        if None in prices:
            raise self._day(prices.index(None), "no tariff covers it")

    # -- values and their errors

    def _name(self, text: str, where: str) -> str:
        try:
            return parse_name(text)
        except ValueError as err:
            raise self._bad(where, str(err), 'for example "der-1"') from err

    def _key(self, text: str, where: str) -> PublicKey:
        try:
            return parse_key(text)
        except ValueError as err:
            raise self._bad(where, str(err), "vppd key show FILE prints it") from err

    def _decimal(self, text: str, where: str) -> int:
        try:
            return parse_decimal(text)
        except ValueError as err:
            raise self._bad(where, str(err), 'for example "200.00"') from err

    def _distinct(self, table: str, key: str, values: list[str]) -> None:
        check_distinct(self._path, table, key, values)

    def _ordered(
        self, low: tuple[str, int], high: tuple[str, int], *, strictly: bool = False
    ) -> None:
        if low[1] > high[1] or (strictly and low[1] == high[1]):
            relation = "below" if strictly else "at most"
            raise self._limits(
                f"{low[0]} must be {relation} {high[0]}",
                dict((low, high)),
                f"lower {low[0]} or raise {high[0]}",
            )

    def _limits(self, what: str, values: dict[str, int], hint: str) -> ConfigError:
        facts = {"file": str(self._path)} | {key: str(value) for key, value in values.items()}
        return ConfigError("E110", what, facts=facts, hint=hint)

    def _day(self, minute: int, why: str) -> ConfigError:
        return ConfigError(
            "E109",
            "the tariffs must cover each minute of the day exactly once",
            facts={
                "file": str(self._path),
                "key": "market.tariff",
                "minute": f"{minute // 60:02d}:{minute % 60:02d}",
                "why": why,
            },
            hint='intervals start inclusive, end exclusive: "23:00-07:00", "07:00-11:00", …',
        )

    def _bad(self, where: str, why: str, hint: str) -> ConfigError:
        return bad_value(self._path, where, why, hint)

    def _unknown(self, where: str, kind: str, name: str, known: Iterable[str]) -> ConfigError:
        return ConfigError(
            "E112",
            f"no {kind} is named {name!r}",
            facts={"file": str(self._path), "key": where, f"{kind}s": ", ".join(known) or "none"},
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
    lines += ["", "[market]", *_market_lines(market)]
    for tariff in market.tariffs:
        lines += [
            "",
            "[[market.tariff]]",
            f'hours = "{format_hours(tariff.start_minute, tariff.end_minute)}"',
            f'retail_price = "{format_decimal(tariff.retail_price)}"',
            f'feed_in_price = "{format_decimal(tariff.feed_in_price)}"',
        ]
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


def _market_lines(market: MarketRulesSection) -> Iterator[str]:
    seconds, rest = divmod(market.slot_ms, 1_000)
    yield f'rules = "{market.rules}"'
    yield f'currency = "{market.currency}"'
    yield f"slot_ms = {market.slot_ms}" if rest else f"slot_seconds = {seconds}"
    yield f"market_slot_seconds = {market.market_slot_minutes * 60}"
    for key in (
        "origin_ms",
        "market_offset_minutes",
        "open_lead_ms",
        "gate_lead_ms",
        "metering_ms",
        "dispute_slots",
        "max_quantity_wh",
        "max_orders",
    ):
        yield f"{key} = {getattr(market, key)}"
    yield f'max_price = "{format_decimal(market.max_price)}"'
