"""Measured runs on other machines, from keys to clean-up; what comes of one is as of any run."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from vppd.bench.limits import Limits
from vppd.bench.load import Client, Listen, jobs
from vppd.bench.plan import Plan
from vppd.bench.plant import Plant, Seat, Senders, write_plant
from vppd.bench.remote import wheels
from vppd.bench.remote.agent import SILENCE_S
from vppd.bench.remote.host import Clock, Remote
from vppd.bench.remote.inventory import Host, Inventory
from vppd.bench.remote.load import HOME, SENDERS, RemoteClient, there
from vppd.bench.run import Run, Site, Voice, run_at
from vppd.bench.stores import Store, Stores, together
from vppd.cli.testnet import BASE_PORT, Testnet
from vppd.config.node import is_loopback
from vppd.errors import UserError
from vppd.types import ReplicaIndex

READY_S = 90.0
LIMITS_S = 120.0
STORES_S = 600.0
"""To execute a long chain again on a slow machine."""
HEAD_START_S = 2.0
"""Between the word to go and the beginning: it has to reach every host."""
WORST_CLOCK_MS = 500.0
"""Beyond this the plant itself would refuse blocks; the run is stamped invalid."""
NODE = "node"


class Ways(NamedTuple):
    """How it is brought onto the machines."""

    base_port: int = BASE_PORT
    """Of the nodes."""
    wheel: Path | None = None
    """Of vppd; ``None``: built here."""
    wheels: Path | None = None
    """A folder with every wheel the hosts need, vppd's among them."""
    silence_s: float = SILENCE_S


class Found(NamedTuple):
    """What runs on the machines have come to."""

    runs: list[Run]
    hosts: dict[str, dict[str, Any]]
    """By name: its facts, limits, both clocks, and whether it was left as it was."""
    logs: dict[str, bytes]
    """What each node said, in all runs."""


class RemotePlant(Plant):
    """A plant with a node on each host, met through tunnels.

    Args:
        made: its files.
        seats: nodes, with the folders of the tunnels' ends here.
        senders: who sends.
        clocks: of the hosts.
    """

    def __init__(
        self, made: Testnet, seats: Sequence[Seat], senders: Senders, clocks: Sequence[Clock]
    ) -> None:
        super().__init__(made.genesis, made.nodes[0].home / "genesis.toml", seats, senders)
        self._clocks = tuple(clocks)
        self.dead: dict[str, str] = {}
        """Nodes that have ended by themselves, and how."""

    @property
    def ours(self) -> bool:
        """It is of this run."""
        return True

    @property
    def ahead_ns(self) -> Sequence[int]:
        """As measured before the run."""
        return [clock.monotonic_ns for clock in self._clocks]

    @property
    def clocks_known(self) -> bool:
        """They were measured."""
        return True

    def deaths(self) -> dict[str, str]:
        """Nodes that have died; none was killed."""
        return self.dead


class RemoteSite(Site):
    """Machines with a node and load processes on each.

    Args:
        plan: of the run.
        plant: that answers.
        remotes: the machines, in the order of its nodes.
        clocks: of them, before.
        in_memory: whether the stores of one lie there.
    """

    head_start_s = HEAD_START_S

    def __init__(
        self, plan: Plan, plant: RemotePlant, remotes: Sequence[Remote], clocks: Sequence[Clock],
        *, in_memory: bool,
    ) -> None:  # fmt: skip
        super().__init__(plan, plant, Path())
        self._plant = plant
        self._remotes = remotes
        self._clocks = clocks
        self._in_memory = in_memory

    @asynccontextmanager
    async def clients(
        self, leader: ReplicaIndex, listen: Listen
    ) -> AsyncIterator[Sequence[Client]]:
        """Load processes on the hosts; the agents end them with everything else."""
        yield [
            RemoteClient(c, there(job, c), *self._at(c), listen)
            for c, job in enumerate(jobs(self.plan, self.plant, Path(), leader))
        ]

    def _at(self, client: int) -> tuple[Remote, int]:
        where = client % len(self._remotes)
        return self._remotes[where], self._clocks[where].monotonic_ns

    async def stores(self) -> Stores:
        """Stop the nodes, and have each host check what its own has stored."""
        await _all(self._remotes, lambda r: r.ask("stop", name=NODE))
        proofs = [] if self.plan.unsafe else ["verified"]
        first = self._remotes[0]

        async def one(remote: Remote) -> Store:
            whole = ["whole"] if remote is first else []
            argv = ["-m", "vppd.bench.stores", HOME, *proofs, *whole]
            return msgspec.json.decode(await _result(remote, "stores", argv, STORES_S), type=Store)

        return together([seat.name for seat in self.plant.seats], await _all(self._remotes, one))

    @property
    def in_memory(self) -> bool:
        """Whether nothing that is synced reaches a disk on one of them."""
        return self._in_memory

    async def reasons(self) -> Sequence[str]:
        """A node that has ended, and a clock that is off, before or after."""
        said = await _all(self._remotes, lambda r: r.ask("poll", name=NODE))
        for seat, node in zip(self.plant.seats, said, strict=True):
            if node["code"] is not None:
                self._plant.dead[seat.name] = f"with exit code {node['code']}"
        after = await _all(self._remotes, Remote.clock)
        return wrong_clocks([r.host.name for r in self._remotes], [*self._clocks, *after])


def wrong_clocks(names: Sequence[str], clocks: Sequence[Clock]) -> tuple[str, ...]:
    """Hosts whose clock was off by too much, at any time that it was looked at."""
    worst: dict[str, float] = {}
    for i, clock in enumerate(clocks):
        name = names[i % len(names)]
        worst[name] = max(worst.get(name, 0.0), abs(clock.offset_ms))
    return tuple(
        f"the clock of {name} is {off:.0f} ms off"
        for name, off in worst.items()
        if off > WORST_CLOCK_MS
    )


async def measure(inventory: Inventory, plan: Plan, ways: Ways, voice: Voice) -> Found:
    """Run plants on the hosts and put them under load.

    Whatever happens, every host is asked to clean up before this returns, and one that cannot be
    asked does so by itself.

    Args:
        inventory: the machines, a node on each.
        plan: what to measure; of as many nodes.
        ways: how it gets there.
        voice: progress, for people.

    Raises:
        UserError: E430, E455…E459.
    """
    hosts, say = inventory.host, voice.say
    runs: list[Run] = []
    logs: dict[str, bytes] = dict.fromkeys((host.name for host in hosts), b"")
    async with _connected(hosts, ways.silence_s, say) as remotes:
        with tempfile.TemporaryDirectory(prefix="vppd-remote-") as scrap:
            say("sending packages")
            await _push(remotes, ways, Path(scrap))
            before = await _all(remotes, Remote.clock)
            say("measuring the machines")
            asked = await _all(remotes, _limits)
            for i in range(plan.runs):
                say(f"run {i + 1} of {plan.runs}")
                place = Path(scrap) / f"run-{i}"
                place.mkdir()
                async with _started(hosts, remotes, plan, ways, place, voice) as (plant, clocks):
                    still = any(row["in_memory"] for row in asked)
                    site = RemoteSite(plan, plant, remotes, clocks, in_memory=still)
                    runs.append(await run_at(site, slowest(asked), voice))
                    for remote in remotes:
                        logs[remote.host.name] += await remote.read(f"{NODE}.err")
            after = await _all(remotes, Remote.clock)
    rows = zip(remotes, asked, before, after, strict=True)
    return Found(
        runs,
        {
            r.host.name: {
                **r.facts,
                "limits": limits,
                "clock_before": b._asdict(),
                "clock_after": a._asdict(),
                "removed": r.removed,
            }
            for r, limits, b, a in rows
        },
        logs,
    )


def slowest(measured: Sequence[dict[str, Any]]) -> Limits:
    """What the machines can do together: each checks every signature, so the slowest one decides.

    They measure at the same time, so that machines which are one share what it has.
    """
    rate = min(row["verify_per_s"] for row in measured)
    worst = {name: max(row[name] for row in measured) for name in Limits._fields}
    return Limits(**worst | {"verify_per_s": rate * len(measured)})


async def _limits(remote: Remote) -> dict[str, Any]:
    argv = ["-m", "vppd.bench.limits", "all", "."]
    limits: dict[str, Any] = json.loads(await _result(remote, "limits", argv, LIMITS_S))
    return limits


async def _result(remote: Remote, name: str, argv: Sequence[str], seconds: float) -> bytes:
    """What a program printed.

    Raises:
        UserError: E458, it failed; E459.
    """
    code, out, err = await remote.finish(name, list(argv), seconds)
    if code:
        raise UserError(
            "E458",
            f"{name} could not be read on {remote.host.name}",
            facts={"exit code": str(code), "last words": err.decode(errors="replace")[-400:]},
            hint="is there room on its disk?",
        )
    return out


# ---------------------------------------------------------------- hosts


@asynccontextmanager
async def _connected(
    hosts: Sequence[Host], silence_s: float, say: Callable[[str], None]
) -> AsyncIterator[list[Remote]]:
    """Sessions with all of them; all are closed, and with them everything there, at the end."""
    say(f"connecting to {', '.join(host.name for host in hosts)}")
    tried = await asyncio.gather(
        *(Remote.open(host, silence_s) for host in hosts), return_exceptions=True
    )
    remotes = [remote for remote in tried if isinstance(remote, Remote)]
    heart = asyncio.create_task(_heartbeat(remotes, silence_s / 4))
    try:
        for failure in tried:
            if isinstance(failure, BaseException):
                raise failure
        yield remotes
    finally:
        heart.cancel()
        say("cleaning up")
        # Shielded: a second Ctrl-C does not keep the machines from being asked.
        await asyncio.shield(asyncio.gather(*(remote.close() for remote in remotes)))
        left = [remote.host.name for remote in remotes if not remote.removed]
        if left:
            say(f"{', '.join(left)} did not answer any more and cleans up alone within a minute")


async def _heartbeat(remotes: Sequence[Remote], every_s: float) -> None:
    """Nobody is to take a controller that is busy elsewhere for gone."""
    while True:
        await asyncio.sleep(every_s)
        await asyncio.gather(*(r.ask("clock") for r in remotes), return_exceptions=True)


async def _all(remotes: Sequence[Remote], do: Callable[[Remote], Any]) -> list[Any]:
    """The same on every host at once; the first failure ends the others."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(do(remote)) for remote in remotes]
    return [task.result() for task in tasks]


# ---------------------------------------------------------------- the plant


@asynccontextmanager
async def _started(
    hosts: Sequence[Host], remotes: Sequence[Remote], plan: Plan, ways: Ways, place: Path,
    voice: Voice,
) -> AsyncIterator[tuple[RemotePlant, list[Clock]]]:  # fmt: skip
    """A new plant on the hosts, with tunnels to its nodes; its files stay until the next one."""
    addresses = [host.node_address for host in hosts]
    if all(map(is_loopback, addresses)):
        addresses = ["127.0.0.1"]  # one machine with several ports
    made, senders = await asyncio.to_thread(
        write_plant, place / "plant", plan, addresses, ways.base_port
    )
    voice.say("sending keys")
    keys = await asyncio.to_thread(keys_by_host, senders, plan, len(hosts), place)
    async with asyncio.TaskGroup() as group:
        for remote, member, packed in zip(remotes, made.nodes, keys, strict=True):
            home = wheels.pack_folder(member.home)
            group.create_task(_lay_out(remote, {HOME: home, SENDERS: packed}))
    voice.say("starting the nodes")
    await _all(remotes, lambda r: r.ask("start", name=NODE, argv=_node("start")))
    try:
        await _all(remotes, _ready)
        seats = []
        for i, (remote, member) in enumerate(zip(remotes, made.nodes, strict=True)):
            end = place / str(i)
            end.mkdir()
            await remote.tunnel(end / "vppd.sock", f"{HOME}/vppd.sock")
            seats.append(Seat(member.name, member.addr, end))
        clocks: list[Clock] = await _all(remotes, Remote.clock)
        yield RemotePlant(made, seats, senders, clocks), clocks
    finally:
        await asyncio.gather(
            *(remote.ask("stop", name=NODE) for remote in remotes), return_exceptions=True
        )


def keys_by_host(senders: Senders, plan: Plan, hosts: int, place: Path) -> list[bytes]:
    """An archive for each host: keys of the senders whose load process runs there, no others.

    Args:
        senders: their files are moved.
        plan: has so many load processes; client c runs on host c mod ``hosts``.
        hosts: how many.
        place: folder to put them in.
    """
    packed = []
    for where in range(hosts):
        folder = place / f"senders-{where}"
        folder.mkdir()
        for i, path in enumerate(senders.keys):
            if i % plan.clients % hosts == where:
                path.rename(folder / path.name)
        packed.append(wheels.pack_folder(folder))
    return packed


async def _lay_out(remote: Remote, archives: dict[str, bytes]) -> None:
    for into, archive in archives.items():
        await remote.ask("drop", name=into)
        await remote.unpack(into, archive)


async def _push(remotes: Sequence[Remote], ways: Ways, scrap: Path) -> None:
    sites: dict[str, bytes] = {}
    wheel = ways.wheel
    for remote in remotes:
        facts = remote.facts
        if _kind(facts) in sites:
            continue
        folder = scrap / f"wheels-{len(sites)}"
        folder.mkdir()
        if ways.wheels is not None:
            found = sorted(ways.wheels.glob("*.whl"))
            sites[_kind(facts)] = await asyncio.to_thread(wheels.site, found, [])
            continue
        if wheel is None:
            wheel = await asyncio.to_thread(wheels.make_wheel, scrap)
        if wheels.same_kind(facts):
            packed = await asyncio.to_thread(wheels.site, [wheel], wheels.needed())
        else:
            others = await asyncio.to_thread(wheels.download, facts, wheel, folder)
            packed = await asyncio.to_thread(wheels.site, [wheel, *others], [])
        sites[_kind(facts)] = packed
    await _all(remotes, lambda r: r.unpack("site", sites[_kind(r.facts)]))


def _kind(facts: dict[str, Any]) -> str:
    return json.dumps([facts[k] for k in ("python", "machine", "libc", "implementation")])


def _node(*words: str) -> list[str]:
    return ["-m", "vppd", *words, "--home", HOME]


async def _ready(remote: Remote) -> None:
    """Until its node says that the plant can decide.

    Raises:
        UserError: E458, its node has ended, or is not ready in time.
    """
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        node = await remote.ask("poll", name=NODE)
        if node["code"] is not None:
            break
        code, _, _ = await remote.finish("status", _node("status"), READY_S)
        if code == 0:
            return
        await asyncio.sleep(0.3)
    said = (await remote.read(f"{NODE}.err")).decode(errors="replace").splitlines()
    raise UserError(
        "E458",
        f"the node on {remote.host.name} does not take part",
        facts={"host": remote.host.address, "last words": "\n".join(said[-5:]) or "(none)"},
        hint="the hosts must reach each other on the plant's ports, 7440 unless said otherwise",
    )
