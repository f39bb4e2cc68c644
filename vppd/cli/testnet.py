"""A plant's files, one folder per node: `vppd testnet`, and the ground `vppd dev` stands on."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import re
import secrets
import sys
import time
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import typer

from vppd.cli.engine import ENGINE, PATH, EngineOption, PathOption, parse_engine, parse_path
from vppd.cli.output import Output, OutputOption, print_json, table
from vppd.config.billing import CreditRules, ReviewRules
from vppd.config.clock import years_of
from vppd.config.genesis import (
    STARTING_CREDIT,
    AccountEntry,
    ConsensusRules,
    Genesis,
    LedgerRules,
    MarketRulesSection,
    MeterEntry,
    Tariff,
    ValidatorEntry,
)
from vppd.config.genesis_file import parse_genesis, render_genesis
from vppd.config.grid import Grid, defects
from vppd.config.grid_file import contradictory, load_grid
from vppd.config.keys import SEED_BYTES, create_key
from vppd.config.node import Transport, default_node, is_loopback, render_node
from vppd.config.peers import PORT_STEP, Peer, Peers, render_peers
from vppd.config.toml import read_bytes
from vppd.config.values import format_address, parse_hours, parse_name
from vppd.crypto import SigningKey, key_text
from vppd.errors import ConfigError, Exit, UserError
from vppd.types import Micro, Ppm, PublicKey, Role

BASE_PORT = 7440
CHAIN_NAME = "vpp-demo"
OPENING_BALANCE: Micro = 200_000_000
CERTIFICATE_DAYS = 90
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*", re.IGNORECASE | re.ASCII)
"""A host name (RFC 1123), with the underscores that some networks have."""

TABLE_1: tuple[tuple[str, Micro, Micro], ...] = (
    ("23:00-07:00", 380_000, 240_000),
    ("07:00-11:00", 570_000, 380_000),
    ("11:00-14:00", 860_000, 650_000),
    ("14:00-18:00", 570_000, 380_000),
    ("18:00-23:00", 800_000, 650_000),
)
"""Hours, retail price and feed-in price per kWh (paper P3, Table 1)."""


class Seat(NamedTuple):
    """A node to be: what genesis says of it before it has a key."""

    name: str
    role: Role
    credit: Ppm = STARTING_CREDIT
    bus: int = 0
    """Where in the grid."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One node of a testnet and where its files are."""

    name: str
    role: Role
    home: Path
    addr: str
    key: PublicKey
    meter: PublicKey | None
    """Public key of ``home/meter.key``; ``None`` for an operator, who has no meter."""


class Testnet(msgspec.Struct, frozen=True, kw_only=True):
    """Everything :func:`write_testnet` wrote; nodes in the order of their validator index."""

    out: Path
    genesis: Genesis
    peers: Peers
    nodes: tuple[Member, ...]


def run_testnet(
    out: Annotated[Path, typer.Option(help="Folder to write; new or empty.")],
    nodes: Annotated[int | None, typer.Option("-n", "--nodes", help="Replicas in all.")] = None,
    scenario: Annotated[
        str | None, typer.Option(help="A paper's plant instead: p3, with a site for each member.")
    ] = None,
    operators: Annotated[int, typer.Option(help="How many of them are operators.")] = 1,
    hosts: Annotated[str, typer.Option(help="Where they run, with commas.")] = "127.0.0.1",
    base_port: Annotated[int, typer.Option(help="First port on each host.")] = BASE_PORT,
    engine: EngineOption = ENGINE,
    path: PathOption = PATH,
    seed: Annotated[
        int | None, typer.Option(help="Derive every key from this number; for tests only.")
    ] = None,
    chain_id: Annotated[str, typer.Option(help="What people call the plant.")] = CHAIN_NAME,
    slot_seconds: Annotated[int, typer.Option(min=1, help="Chain time per slot.")] = 900,
    market_slot_seconds: Annotated[
        int, typer.Option(min=60, help="Market time per slot, whole minutes.")
    ] = 900,
    accounts: Annotated[
        int, typer.Option(min=0, help="Further funded accounts, their keys in OUT/accounts.")
    ] = 0,
    zone: Annotated[
        str | None,
        typer.Option(help="Local time of tariffs and days, e.g. Europe/Berlin; default: UTC."),
    ] = None,
    grid: Annotated[
        Path | None,
        typer.Option(help="A file with a [grid] to trade through; DERs are dealt to its buses."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write a plant and say how to start it."""
    if market_slot_seconds % 60:
        raise _no_plant(f"--market-slot-seconds {market_slot_seconds} is not whole minutes")
    if (nodes is None) == (scenario is None):
        raise _no_plant("it takes either --nodes or --scenario")
    chosen = parse_engine(engine)
    plant = None
    if scenario is not None:
        from vppd.cli.scenarios import scenario_named

        plant = scenario_named(scenario, slot_seconds * 1_000)
        nodes = len(plant.seats)
    seeds = {
        f"account-{i}": _seed(seed, f"account-{i}", "account") or secrets.token_bytes(SEED_BYTES)
        for i in range(accounts)
    }
    made = write_testnet(
        out,
        nodes or 0,
        operators=operators,
        hosts=[host.strip() for host in hosts.split(",")],
        base_port=base_port,
        seed=seed,
        chain_name=chain_id,
        consensus=ConsensusRules(engine=chosen, path=parse_path(path, chosen)),
        market=_in_zone(plant.market, zone)
        if plant
        else _in_zone(scaled_market(slot_seconds * 1_000, market_slot_seconds // 60), zone),
        balance=plant.balance if plant else OPENING_BALANCE,
        seats=plant.seats if plant else None,
        accounts=[
            AccountEntry(name=name, key=SigningKey(secret).public_key, balance=OPENING_BALANCE)
            for name, secret in seeds.items()
        ],
        grid=None if grid is None else read_grid(grid),
    )
    for name, text in (plant.sites if plant else {}).items():
        (out / name / "site.toml").write_text(text, encoding="utf-8")
    if seeds:
        (out / "accounts").mkdir()
    for name, secret in seeds.items():
        create_key(out / "accounts" / f"{name}.key", secret)
    rows = [
        {"name": m.name, "role": str(m.role), "addr": m.addr, "id": key_text(m.key)}
        for m in made.nodes
    ]
    if output is Output.JSON:
        print_json(
            {
                "out": str(made.out),
                "chain_id": made.genesis.name,
                "genesis_sha256": made.genesis.digest.hex(),
                "nodes": rows,
            }
        )
    else:
        first = made.nodes[0].home
        print("\n".join(table(rows)))
        print(f"\nA plant of {len(rows)} nodes, a folder each, in {made.out}. Next:")
        print(f"  vppd config check --home {first}")
        print(f"  vppd start --home {first}        and so on for each folder")
        print(f"  vppd peers list --peers {first / 'peers.toml'}")
        for name in list(plant.sites if plant else ())[:1]:
            print(f"  vppd agent run --home {out / name} --deliver        beside each aggregator")
    if seed is not None:
        print(
            f"warning: every key follows from the number {seed}; whoever knows it can sign as any "
            "node. For tests only.",
            file=sys.stderr,
        )


def _in_zone(market: MarketRulesSection, name: str | None) -> MarketRulesSection:
    """The same market in the local time of a zone.

    Raises:
        UserError: E117, there is no such zone here, or market time is not the world's.
    """
    if name is None:
        return market
    if market.slot_ms != market.market_slot_minutes * 60_000:
        raise _no_plant(f"--zone {name}: slots of an accelerated day have no place in a year")
    try:
        clock = years_of(ZoneInfo(name), int(time.time()) // 86_400 * 86_400_000)
    except (ZoneInfoNotFoundError, ValueError, OSError) as err:
        raise _no_plant(f"--zone {name}: {err}") from err
    first = msgspec.structs.replace(clock[0], from_ms=market.origin_ms)
    return msgspec.structs.replace(market, clock=(first, *clock[1:]))


def table_1_tariffs() -> tuple[Tariff, ...]:
    """The grid's prices of paper P3, Table 1."""
    return tuple(
        Tariff(
            start_minute=parse_hours(hours)[0],
            end_minute=parse_hours(hours)[1],
            retail_price=retail,
            feed_in_price=feed_in,
        )
        for hours, retail, feed_in in TABLE_1
    )


def scaled_market(slot_ms: int = 900_000, market_slot_minutes: int = 15) -> MarketRulesSection:
    """A market with slots of ``slot_ms`` of chain time and the other times in proportion.

    Orders open 96 slots ahead and close a third of a slot ahead; readings have four slots.

    Args:
        slot_ms: chain time per slot, at least 3 ms.
        market_slot_minutes: market time per slot, which chooses the tariff.
    """
    return MarketRulesSection(
        slot_ms=slot_ms,
        market_slot_minutes=market_slot_minutes,
        open_lead_ms=96 * slot_ms,
        gate_lead_ms=slot_ms // 3,
        metering_ms=4 * slot_ms,
        tariffs=table_1_tariffs(),
        credit=CreditRules(rule="level"),
        review=ReviewRules(daily=True),
    )


def write_testnet(
    out: Path,
    nodes: int,
    *,
    operators: int = 1,
    hosts: Sequence[str] = ("127.0.0.1",),
    base_port: int = BASE_PORT,
    seed: int | None = None,
    chain_name: str = CHAIN_NAME,
    consensus: ConsensusRules | None = None,
    market: MarketRulesSection | None = None,
    balance: Micro = OPENING_BALANCE,
    transport: Transport = "tls",
    accounts: Sequence[AccountEntry] = (),
    meters: Sequence[MeterEntry] = (),
    ledger: LedgerRules | None = None,
    grid: Grid | None = None,
    seats: Sequence[Seat] | None = None,
) -> Testnet:
    """Write keys, certificates, genesis.toml, peers.toml and an empty store for each node.

    ``out/ca`` holds the certificate authority, ``out/op-0``, ``out/der-1`` … one complete home
    folder each. Blocks on disk and runs an event loop of its own: from a coroutine, call it
    through ``asyncio.to_thread``.

    Args:
        out: must not exist, or be empty.
        nodes: replicas in all, at least 1.
        operators: how many of them, the first ones, are operators; the others are DERs.
        hosts: where they run, dealt in turn; nodes on one host lie ten ports apart.
        base_port: port of the first node on each host.
        seed: derive every key from it: the same seed, the same keys. Only for tests.
        chain_name: what people call the plant.
        consensus: ``None``: the defaults.
        market: ``None``: quarter-hour slots; without tariffs those of P3, Table 1.
        balance: opening balance of each account, micro-currency.
        transport: ``"plain"`` writes no certificates; loopback only.
        accounts: further ones, whose keys somebody else holds.
        meters: the same.
        ledger: ``None``: the market.
        grid: what trades go through: operators sit at its slack bus, DERs in turn on the others,
            and so do ``accounts`` that name no bus of it.
        seats: names and roles of the nodes; ``None``: ``op-0``, ``der-1`` …

    Raises:
        UserError: E114, ``out`` holds something already; E117, numbers that make no plant; E120,
            ``out`` cannot be written; E141, its path is too long; E150, no library to issue
            certificates with. Before E114 and E120 nothing is written.
    """
    names = _names(nodes, operators, hosts, base_port, chain_name)
    if seats is not None:
        names = [(seat.name, seat.role) for seat in seats]
    standing = {seat.name: seat for seat in seats or ()}
    addresses = _addresses(nodes, hosts, base_port)
    market = market or scaled_market()
    if not market.tariffs:
        market = msgspec.structs.replace(market, tariffs=table_1_tariffs())
    _rehearse(out, names, consensus or ConsensusRules(), market, balance, chain_name)
    if transport == "tls":
        _rehearse_certificates(chain_name, hosts)
    _make_empty(out)
    members: list[Member] = []
    for (name, role), addr in zip(names, addresses, strict=True):
        home = out / name
        home.mkdir()
        key = create_key(home / "node.key", _seed(seed, name, "node"))
        meter = None
        if role is Role.DER:
            meter = create_key(home / "meter.key", _seed(seed, name, "meter")).public_key
        members.append(
            Member(name=name, role=role, home=home, addr=addr, key=key.public_key, meter=meter)
        )
    genesis_text = render_genesis(
        name=chain_name,
        consensus=consensus or ConsensusRules(),
        market=market,
        validators=[ValidatorEntry(name=m.name, role=m.role, key=m.key) for m in members],
        accounts=seated(
            [*(_account(m, standing.get(m.name), balance) for m in members), *accounts],
            {m.name for m in members if m.role is Role.OPERATOR},
            grid,
        ),
        meters=[
            *(MeterEntry(key=m.meter, account=m.name) for m in members if m.meter is not None),
            *meters,
        ],
        ledger=ledger or LedgerRules(),
        grid=grid,
    )
    # Read back before it is written: a testnet never hands out a file that no node would start on.
    genesis = parse_genesis(genesis_text.encode(), out / "genesis.toml")
    peers = Peers(
        chain_name=chain_name,
        genesis_digest=genesis.digest,
        peers=tuple(Peer(name=m.name, key=m.key, addr=m.addr) for m in members),
    )
    peers_text = render_peers(
        chain_name=chain_name, genesis_digest=genesis.digest, peers=peers.peers
    )
    for member, host in zip(members, _dealt(hosts, nodes), strict=True):
        (member.home / "genesis.toml").write_text(genesis_text)
        (member.home / "peers.toml").write_text(peers_text)
        (member.home / "node.toml").write_text(_node_text(member, host, transport))
    if transport == "tls":
        _write_certificates(out, chain_name, members, _dealt(hosts, nodes))
    asyncio.run(_create_stores(members, genesis))
    return Testnet(out=out, genesis=genesis, peers=peers, nodes=tuple(members))


def seated(
    accounts: list[AccountEntry], operators: Collection[str], grid: Grid | None
) -> list[AccountEntry]:
    """Every account on a bus of the grid; without one they stay where they are.

    Who sits on a bus other than the slack one stays there; operators are at the slack bus, and the
    others are dealt to the rest in the order of the file.
    """
    if grid is None:
        return accounts
    places = [bus.id for bus in grid.buses if bus.id != grid.slack] or [grid.slack]
    dealt = 0
    entries = []
    for account in accounts:
        bus = account.bus
        if account.name in operators:
            bus = grid.slack
        elif bus == grid.slack or bus not in places:
            bus = places[dealt % len(places)]
            dealt += 1
        entries.append(msgspec.structs.replace(account, bus=bus))
    return entries


def read_grid(path: Path) -> Grid:
    """The ``[grid]`` of a file, to be that of a plant.

    Raises:
        ConfigError: as :func:`~vppd.config.grid_file.load_grid`; E540, it contradicts itself.
    """
    grid, _ = load_grid(read_bytes(path, hint="config/grid.toml is one"), path)
    if found := list(defects(grid)):
        raise contradictory(found, path)
    return grid


def _account(member: Member, seat: Seat | None, balance: Micro) -> AccountEntry:
    seat = seat or Seat(member.name, member.role)
    return AccountEntry(
        name=member.name, key=member.key, balance=balance, credit=seat.credit, bus=seat.bus
    )


def _rehearse(
    out: Path,
    names: Sequence[tuple[str, Role]],
    consensus: ConsensusRules,
    market: MarketRulesSection,
    balance: Micro,
    chain_name: str,
) -> None:
    """Whether these numbers make files that a node starts on, before there is a single one."""
    keys = {name: hashlib.sha256(name.encode()).digest() for name, _ in names}
    text = render_genesis(
        name=chain_name,
        consensus=consensus,
        market=market,
        validators=[ValidatorEntry(name=name, role=role, key=keys[name]) for name, role in names],
        accounts=[AccountEntry(name=name, key=keys[name], balance=balance) for name, _ in names],
    )
    try:
        parse_genesis(text.encode(), out / "genesis.toml")
    except ConfigError as err:
        said = [err.what, *(f"{label}: {said}" for label, said in err.facts.items())]
        raise _no_plant("; ".join(line for line in said if not line.startswith("file:"))) from err
    for name, _ in names:
        default_node(out / name)  # a path too long for its socket


def _rehearse_certificates(chain_name: str, hosts: Sequence[str]) -> None:
    """Whether certificates can be issued here, and for these hosts."""
    from vppd.net import pki

    with TemporaryDirectory(prefix="vppd-") as scrap:
        folder = Path(scrap)
        pki.init_ca(folder / "ca", chain_name)
        pki.issue(folder / "ca", "rehearsal", folder / "node", CERTIFICATE_DAYS, hosts)


async def _create_stores(members: Sequence[Member], genesis: Genesis) -> None:
    from vppd.store.chain import ChainStore

    for member in members:
        await ChainStore.create(member.home / "chain.db", genesis.digest)


def _write_certificates(
    out: Path, chain_name: str, members: Sequence[Member], hosts: Sequence[str]
) -> None:
    from vppd.net import pki

    pki.init_ca(out / "ca", chain_name)
    for member, host in zip(members, hosts, strict=True):
        pki.issue(out / "ca", member.name, member.home, CERTIFICATE_DAYS, (host,))


def _names(
    nodes: int, operators: int, hosts: Sequence[str], base_port: int, chain_name: str
) -> list[tuple[str, Role]]:
    """Name and role of each node, once the numbers make sense."""
    per_host = -(-nodes // max(len(hosts), 1))
    for wrong, why in (
        (nodes < 1, f"a plant has at least one node, not {nodes}"),
        (not 1 <= operators <= max(nodes, 1), f"{operators} of {nodes} nodes cannot be operators"),
        (not hosts, "there is no host to run on"),
        (len({host.lower() for host in hosts}) < len(hosts), "a host is listed twice"),
        (len(hosts) > nodes, f"{len(hosts)} hosts for {nodes} nodes: some would have none"),
        (
            len(hosts) > 1 and any(map(is_loopback, hosts)),
            "127.0.0.1 and localhost are another machine to each host that reads them",
        ),
        (
            not 1 <= base_port <= 65_535 - PORT_STEP * per_host,
            f"{per_host} nodes on a host do not fit the ports from {base_port} on",
        ),
    ):
        if wrong:
            raise _no_plant(why)
    try:
        parse_name(chain_name)
        for host in hosts:
            _check_host(host)
    except ValueError as err:
        raise _no_plant(str(err)) from err
    return [
        (f"op-{i}", Role.OPERATOR) if i < operators else (f"der-{i}", Role.DER)
        for i in range(nodes)
    ]


def _check_host(host: str) -> None:
    """That others can dial it.

    Raises:
        ValueError: neither an IP address of one machine nor a host name.
    """
    if ":" in host or re.fullmatch(r"[0-9.]+", host):
        if ipaddress.ip_address(host).is_unspecified:  # it raises ValueError for what is none
            raise ValueError(f"{host!r} is every address of a machine, and nobody can dial it")
    elif _HOST.fullmatch(host) is None:
        raise ValueError(f"{host!r} is neither an IP address nor a host name")


def _no_plant(why: str) -> UserError:
    return UserError(
        "E117",
        "these numbers make no plant",
        facts={"why": why},
        hint="vppd testnet -n 5 --operators 1 --out plant",
        exit_code=Exit.USAGE,
    )


def _make_empty(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        taken = next(out.iterdir(), None)
    except OSError as err:
        raise UserError(
            "E120",
            "the folder cannot be used",
            facts={"folder": str(out), "why": err.strerror or str(err)},
            hint="--out names a folder that is new or empty",
        ) from err
    if taken is not None:
        raise UserError(
            "E114",
            "the folder is not empty, and keys are never overwritten",
            facts={"folder": str(out), "holds": taken.name},
            hint="--out names a folder that is new or empty",
        )


def _dealt(hosts: Sequence[str], nodes: int) -> list[str]:
    return [hosts[i % len(hosts)] for i in range(nodes)]


def _addresses(nodes: int, hosts: Sequence[str], base_port: int) -> list[str]:
    used: Counter[str] = Counter()
    addresses = []
    for host in _dealt(hosts, nodes):
        addresses.append(format_address(host, base_port + PORT_STEP * used[host]))
        used[host] += 1
    return addresses


def _node_text(member: Member, host: str, transport: Transport) -> str:
    port = member.addr.rpartition(":")[2]
    listen = member.addr if is_loopback(host) else f"0.0.0.0:{port}"
    return render_node(role=member.role, name=member.name, listen=listen, transport=transport)


def _seed(seed: int | None, name: str, what: str) -> bytes | None:
    """A key seed of its own for each node and purpose; ``None`` asks for a random one."""
    if seed is None:
        return None
    return hashlib.sha256(f"vppd testnet {seed} {name} {what}".encode()).digest()
