"""The plant under load: written and started for the run, or one that runs already."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

from msgspec.structs import replace

from vppd.agent.line import unix_ms
from vppd.bench.faults import Faults
from vppd.bench.plan import MOST_ORDERS, Plan, has_orders
from vppd.bench.wire import Entry
from vppd.bench.workload import Kind, Slots, slots_during
from vppd.cli.testnet import Testnet, scaled_market, write_testnet
from vppd.client.client import Client, RequestFailed, connect, connect_port
from vppd.config.genesis import AccountEntry, ConsensusRules, Genesis, LedgerRules, MeterEntry
from vppd.config.genesis_file import load_genesis
from vppd.config.keys import create_key, load_key
from vppd.config.node import is_loopback
from vppd.config.peers import Peers, check_peers, load_peers
from vppd.config.values import parse_address
from vppd.consensus.profile import founding_validators
from vppd.crypto import SigningKey, key_text
from vppd.day.nodes import NodeProcess, all_answer
from vppd.day.run import free_base_port
from vppd.errors import Exit, UserError
from vppd.net.tls import Tls, load_tls
from vppd.simulate.plant import NO_ELECTION
from vppd.types import Micro, ReplicaIndex

P = ParamSpec("P")
T = TypeVar("T")
START_S = 60.0
PROGRAM = ("vppd.bench.daemon",)
BALANCE: Micro = 10**12
"""Of each sender: a million, which no run spends."""
LIFETIME = 10_000_000
"""Heights; no transaction of a run expires."""
BLOCK_BYTES = {"market": ConsensusRules().max_block_bytes, "null": 900_000}
"""A null ledger executes nothing, so its blocks may be as large as a frame takes."""
METERED = 7
"""One sender in so many is a meter, in the market ledger: that of the account before it."""
SLOT_MINUTES = 15


class Seat(NamedTuple):
    """One node, as the bench meets it."""

    name: str
    addr: str
    home: Path | None
    """Its folder; ``None``: it is not ours."""


class Senders(NamedTuple):
    """Who can send what."""

    keys: tuple[Path, ...]
    kinds: tuple[Kind, ...]
    slots: Slots

    @property
    def words(self) -> str:
        """What the load consists of."""
        counts = {kind: self.kinds.count(kind) for kind in dict.fromkeys(self.kinds)}
        return " + ".join(f"{kind}s of {count} senders" for kind, count in counts.items())


class Plant:
    """A plant that answers.

    Args:
        genesis: of it.
        genesis_file: where that is.
        seats: its nodes, in the order of their index.
        tls: for a port; ``None``: plain.
        certificate: folder with the files of ``tls``.
        senders: who sends.
        nodes: our own processes; none for a plant that is not ours.
    """

    def __init__(
        self,
        genesis: Genesis,
        genesis_file: Path,
        seats: Sequence[Seat],
        senders: Senders,
        *,
        tls: Tls | None = None,
        certificate: Path | None = None,
        nodes: Sequence[NodeProcess] = (),
    ) -> None:
        self.genesis = genesis
        self.genesis_file = genesis_file
        self.seats = tuple(seats)
        self.senders = senders
        self.nodes = tuple(nodes)
        self._tls = tls
        self._certificate = certificate
        self._signer = SigningKey(os.urandom(32))
        self.killed: list[ReplicaIndex] = []
        """Nodes killed on purpose, in order."""

    @property
    def ours(self) -> bool:
        """Whether it is of this run, so that its stores can be read."""
        return bool(self.nodes)

    @property
    def ahead_ns(self) -> Sequence[int]:
        """Each node's monotonic clock against this machine's; see :attr:`clocks_known`."""
        return [0] * len(self.seats)

    @property
    def clocks_known(self) -> bool:
        """Whether :attr:`ahead_ns` was measured, or is nothing by nature."""
        return self.one_machine

    @property
    def one_machine(self) -> bool:
        """Whether all nodes share one machine, and its monotonic clock."""
        return all(is_loopback(parse_address(seat.addr)[0]) for seat in self.seats)

    def entry(self, index: ReplicaIndex, kind: str) -> Entry:
        """How a load client gets to a node."""
        seat = self.seats[index]
        if kind == "socket" and seat.home is not None:
            return Entry(kind="socket", where=str(seat.home / "vppd.sock"))
        folder = None if self._tls is None else str(self._certificate)
        return Entry(kind="port", where=seat.addr, certificate=folder)

    def connect(self, index: ReplicaIndex) -> AbstractAsyncContextManager[Client]:
        """A client of one node, for questions."""
        seat = self.seats[index]
        if seat.home is not None:
            return connect(seat.home / "vppd.sock")
        return connect_port(seat.addr, self._signer, self.genesis, self._tls)

    def kill(self, index: ReplicaIndex) -> None:
        """SIGKILL for one of our nodes; it starts again after two seconds."""
        self.killed.append(index)
        self.nodes[index].kill()

    def deaths(self) -> dict[str, str]:
        """Nodes that have died although nobody killed them, and how often."""
        died = {
            node.name: node.restarts - self.killed.count(index)
            for index, node in enumerate(self.nodes)
        }
        return {
            name: "once" if count == 1 else f"{count} times"
            for name, count in died.items()
            if count > 0
        }


# ---------------------------------------------------------------- one of our own


@asynccontextmanager
async def started(plan: Plan, disk: Path, say: Callable[[str], None]) -> AsyncIterator[Plant]:
    """Write a plant, start its daemons, and afterwards leave nothing of them.

    Args:
        plan: what it is to be.
        disk: folder in which its files lie meanwhile.
        say: where news for the person watching goes.

    Raises:
        UserError: E436, a node does not come up.
    """
    folder = Path(tempfile.mkdtemp(prefix="vppd-bench-", dir=disk))
    nodes: list[NodeProcess] = []
    try:
        testnet, senders = await _to_its_end(write_plant, folder / "plant", plan)
        nodes += [NodeProcess(m.name, m.home, say, PROGRAM) for m in testnet.nodes]
        for node in nodes:
            await node.start()
        await _all_up(testnet, nodes)
        seats = [Seat(m.name, m.addr, m.home) for m in testnet.nodes]
        tls = certificate = None
        if plan.transport == "tls":
            certificate = testnet.nodes[
                0
            ].home  # any of the plant's; the hello has a key of its own
            tls = load_tls(
                certificate / "ca.pem", certificate / "node.pem", certificate / "node-tls.key"
            )
        genesis_file = testnet.nodes[0].home / "genesis.toml"
        yield Plant(
            testnet.genesis, genesis_file, seats, senders,
            tls=tls, certificate=certificate, nodes=nodes,
        )  # fmt: skip
    finally:
        await asyncio.gather(*(node.stop() for node in nodes), return_exceptions=True)
        shutil.rmtree(folder, ignore_errors=True)


async def _to_its_end(work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """On a thread; cancelled only when the thread is done, so that it writes nothing afterwards."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **named))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


async def stop(plant: Plant) -> None:
    """Stop our own daemons; their stores stay for now."""
    await asyncio.gather(*(node.stop() for node in plant.nodes))


def write_plant(
    out: Path, plan: Plan, hosts: Sequence[str] = (), base_port: int = 0
) -> tuple[Testnet, Senders]:
    """The files of a plant for a plan: homes, and keys of the senders in ``senders`` beside them.

    Args:
        out: folder for the homes.
        plan: what it is to be.
        hosts: where its nodes run; none: here, with the faults of the plan.
        base_port: of those.
    """
    market = replace(scaled_market(SLOT_MINUTES * 60_000, SLOT_MINUTES), max_orders=MOST_ORDERS)
    rules = ConsensusRules(
        engine=plan.engine, path=plan.path, max_tx_lifetime=LIFETIME,
        max_block_bytes=BLOCK_BYTES[plan.ledger],
    )  # fmt: skip
    if plan.core == "majority":
        rules = replace(rules, epoch_blocks=NO_ELECTION)  # its text has no epochs
    slots = slots_during(market, unix_ms(), round(1_000 * (plan.total_s + plan.grace_s)))
    keys = out.parent / "senders"
    keys.mkdir()
    accounts: list[AccountEntry] = []
    meters: list[MeterEntry] = []
    kinds: list[Kind] = []
    paths: list[Path] = []
    ordering = has_orders(plan)
    for i in range(plan.accounts):
        name = f"load-{i}"
        path = keys / f"{name}.key"
        seed = hashlib.sha256(f"vppd bench {plan.seed} {name}".encode()).digest()
        key = create_key(path, seed).public_key
        paths.append(path)
        if ordering and i % METERED == METERED - 1:
            meters.append(MeterEntry(key=key, account=f"load-{i - 1}", first_slot=slots.metered))
            kinds.append("reading")
            continue
        accounts.append(AccountEntry(name=name, key=key, balance=BALANCE))
        kinds.append("opaque" if plan.ledger == "null" else "order" if ordering else "transfer")
    testnet = write_testnet(
        out, plan.nodes, hosts=hosts or ("127.0.0.1",),
        base_port=base_port if hosts else free_base_port(plan.nodes), seed=plan.seed,
        chain_name="vppd-bench", consensus=rules, market=market, transport=plan.transport,
        accounts=accounts, meters=meters,
        ledger=LedgerRules(kind=plan.ledger, signed=not plan.unsigned),
    )  # fmt: skip
    for index, member in enumerate(testnet.nodes):
        faults = Faults(
            own=index, delay_us=plan.delay_us, fail=plan.fail, seed=plan.seed, core=plan.core
        )
        if not hosts:
            faults.write(member.home)
        node_file = member.home / "node.toml"
        text = node_file.read_text()
        node_file.write_text(text.replace('synchronous = "full"', f'synchronous = "{plan.sync}"'))
    return testnet, Senders(tuple(paths), tuple(kinds), slots)


async def _all_up(testnet: Testnet, nodes: Sequence[NodeProcess]) -> None:
    voters = {member.name for member in founding_validators(testnet.genesis).members}

    def is_up(status: dict[str, object]) -> bool:
        return bool(status["voting"]) or status["name"] not in voters

    try:
        if await all_answer(nodes, is_up, START_S) is not None:
            return
        words = "\n".join(f"{node.name}: {node.last_words()}" for node in nodes)
    except UserError as err:
        words = str(err)
    raise UserError(
        "E436", "not every node of the plant came up", facts={"last words": words},
        hint="free ports and memory; a shorter TMPDIR",
    )  # fmt: skip


# ---------------------------------------------------------------- one that runs


def effective(plan: Plan) -> Plan:
    """The plan with what a plant that runs already has decided for itself.

    Raises:
        UserError: E437, there is no folder of keys.
        ConfigError: its files are missing or wrong.
    """
    if plan.peers is None or plan.keys is None:
        return plan
    if not Path(plan.keys).is_dir():
        raise _too_few("there is no such folder of keys", Path(plan.keys), plan.clients)
    genesis, peers = _files(Path(plan.peers))
    return replace(
        plan,
        engine=genesis.consensus.engine,
        ledger=genesis.ledger.kind,
        unsigned=not genesis.ledger.signed,
        path=genesis.consensus.path,
        nodes=len(peers.peers),
        entry="port",
        accounts=len(_key_files(Path(plan.keys))),
    )


def _files(peers_file: Path) -> tuple[Genesis, Peers]:
    peers = load_peers(peers_file)
    genesis = load_genesis(peers_file.parent / "genesis.toml")
    check_peers(peers, genesis, peers_file)
    return genesis, peers


@asynccontextmanager
async def attached(plan: Plan) -> AsyncIterator[Plant]:
    """A plant that runs already, by its peers.toml; genesis.toml lies beside that.

    Raises:
        UserError: E437, no keys, or none that the plant knows.
        ConfigError: a file is missing or wrong.
    """
    peers_file, keys = Path(plan.peers or ""), Path(plan.keys or "")
    genesis, peers = _files(peers_file)
    tls = None
    own = (keys / "node.pem").exists()
    certificate = keys if own else peers_file.parent  # that of a node, if it is its peers.toml
    if plan.transport == "tls":
        tls = load_tls(*(certificate / name for name in ("ca.pem", "node.pem", "node-tls.key")))
    seats = [Seat(peer.name, peer.addr, None) for peer in peers.peers]
    files = await asyncio.to_thread(_key_files, keys)
    nobody = Senders((), (), Slots(0, 0, 0))
    plant = Plant(
        genesis,
        peers_file.parent / "genesis.toml",
        seats,
        nobody,
        tls=tls,
        certificate=certificate,
    )
    plant.senders = await _known(plant, plan, files)
    yield plant


def _too_few(found: str, folder: Path, clients: int) -> UserError:
    return UserError(
        "E437",
        found,
        facts={"folder": str(folder), "clients": str(clients)},
        hint="--keys names a folder with a NAME.key for each sender, one per client at least",
        exit_code=Exit.USAGE,
    )


def _key_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.key") if file.name != "node-tls.key")


async def _known(plant: Plant, plan: Plan, files: Sequence[Path]) -> Senders:
    """Which of these keys the plant knows, and as what."""
    market = plant.genesis.market
    slots = slots_during(market, unix_ms(), round(1_000 * (plan.total_s + plan.grace_s)))
    per_sender = plan.supply_per_s * plan.total_s * plan.ops / max(1, len(files))
    ordering = per_sender < market.max_orders * slots.count
    kind: Kind = "order" if ordering else "transfer"
    if plant.genesis.ledger.kind == "null":
        kind = "opaque"
    paths: list[Path] = []
    kinds: list[Kind] = []
    async with plant.connect(0) as client:
        for path in files:
            with suppress(RequestFailed):
                account = await client.view("account", key_text(load_key(path).public_key))
                if account["kind"] == "account":
                    paths.append(path)
                    kinds.append(kind)
    if len(paths) < plan.clients:
        found = f"{len(paths)} of {len(files)} keys are those of accounts of this chain"
        raise _too_few(found, Path(plan.keys or ""), plan.clients)
    return Senders(tuple(paths), tuple(kinds), slots)
