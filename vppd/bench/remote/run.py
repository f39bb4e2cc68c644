"""A measured run on other machines, from keys to clean-up."""

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

from vppd import __version__
from vppd.bench.remote import load, wheels
from vppd.bench.remote.agent import SILENCE_S
from vppd.bench.remote.host import Clock, Remote
from vppd.bench.remote.inventory import Host, Inventory
from vppd.bench.remote.load import LoadResult
from vppd.cli.testnet import BASE_PORT, Testnet, write_testnet
from vppd.config.genesis import ConsensusRules, Engine, PathSetting
from vppd.config.node import is_loopback
from vppd.errors import UserError
from vppd.stats import percentile

READY_S = 90.0
SPARE_S = 60.0
"""Beyond what a load should take on a slow machine."""
WORST_CLOCK_MS = 500.0
"""Beyond this the plant itself would refuse blocks; the run is stamped invalid."""
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
NODE, HOME = "node", "home"


class Plan(NamedTuple):
    """What to measure."""

    engine: Engine
    path: PathSetting
    rate: float
    """Transactions per second of all hosts together."""
    seconds: float
    warm_up: float
    base_port: int = BASE_PORT
    wheel: Path | None = None
    """Of vppd; ``None``: built here."""
    wheels: Path | None = None
    """A folder with every wheel the hosts need, vppd's among them."""
    silence_s: float = SILENCE_S


Say = Callable[[str], None]


async def measure(inventory: Inventory, plan: Plan, out: Path, say: Say) -> dict[str, Any]:
    """Run a plant on the hosts and put it under load; the summary, also written to ``out``.

    Whatever happens, every host is asked to clean up before this returns, and one that cannot be
    asked does so by itself.

    Args:
        inventory: the machines, a node on each.
        plan: what to measure.
        out: a new folder.
        say: progress, for people.

    Raises:
        UserError: E430, E451, E455…E459.
    """
    hosts = inventory.host
    _make_folder(out)
    async with _connected(hosts, plan.silence_s, say) as remotes:
        with tempfile.TemporaryDirectory(prefix="vppd-remote-") as scrap:
            made = await _plant(hosts, plan, Path(scrap) / "plant")
            say("sending packages and keys")
            await _push(remotes, made, plan, Path(scrap))
        before = await _all(remotes, Remote.clock)
        say("starting the nodes")
        await _all(remotes, lambda r: r.ask("start", name=NODE, argv=_node("start")))
        await _all(remotes, _ready)
        say(f"load: {plan.rate:g}/s for {plan.warm_up:g} + {plan.seconds:g} s")
        share = plan.rate / len(hosts)
        argv = load.command(HOME, share, plan.seconds, plan.warm_up)
        patience = plan.warm_up + plan.seconds + load.GRACE_S + SPARE_S
        loads = await _all(remotes, lambda r: _load(r, argv, patience))
        say("collecting")
        after = await _all(remotes, Remote.clock)
        nodes = await _all(remotes, _look)
        logs = await _all(remotes, lambda r: r.read(f"{NODE}.err"))
        await _all(remotes, lambda r: r.ask("stop", name=NODE))
    removed = {r.host.name: r.removed for r in remotes}
    summary = _summary(plan, loads, nodes, [*before, *after], removed)
    clocks = {
        h.name: {"before": b._asdict(), "after": a._asdict()}
        for h, b, a in zip(hosts, before, after, strict=True)
    }
    files = {
        "summary.json": summary,
        "clocks.json": clocks,
        "nodes.json": {h.name: node for h, node in zip(hosts, nodes, strict=True)},
        "env.json": {"vppd": __version__, "hosts": {r.host.name: r.facts for r in remotes}},
        "loads.json": {
            h.name: msgspec.to_builtins(result) for h, result in zip(hosts, loads, strict=True)
        },
    }
    for name, content in files.items():
        (out / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for host, log in zip(hosts, logs, strict=True):
        (out / f"{host.name}.log").write_bytes(log)
    return summary


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True)
    except OSError as err:
        raise UserError(
            "E451",
            "the results cannot be written",
            facts={"folder": str(out), "why": err.strerror or str(err)},
            hint="--out FOLDER, one that does not exist yet",
        ) from err


# ---------------------------------------------------------------- hosts


@asynccontextmanager
async def _connected(
    hosts: Sequence[Host], silence_s: float, say: Say
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


async def _plant(hosts: Sequence[Host], plan: Plan, out: Path) -> Testnet:
    """Keys and files. Hosts on loopback addresses are one machine with several ports."""
    addresses = [host.node_address for host in hosts]
    if all(map(is_loopback, addresses)):
        addresses = ["127.0.0.1"]
    return await asyncio.to_thread(
        write_testnet, out, len(hosts), hosts=addresses, base_port=plan.base_port,
        consensus=ConsensusRules(engine=plan.engine, path=plan.path), chain_name="remote",
    )  # fmt: skip


async def _push(remotes: Sequence[Remote], made: Testnet, plan: Plan, scrap: Path) -> None:
    sites: dict[str, bytes] = {}
    wheel = plan.wheel
    for remote in remotes:
        facts = remote.facts
        kind = json.dumps([facts[k] for k in ("python", "machine", "libc", "implementation")])
        if kind in sites:
            continue
        folder = scrap / f"wheels-{len(sites)}"
        folder.mkdir()
        if plan.wheels is not None:
            found = sorted(plan.wheels.glob("*.whl"))
            sites[kind] = await asyncio.to_thread(wheels.site, found, [])
            continue
        if wheel is None:
            wheel = await asyncio.to_thread(wheels.make_wheel, scrap)
        if wheels.same_kind(facts):
            sites[kind] = await asyncio.to_thread(wheels.site, [wheel], wheels.needed())
        else:
            others = await asyncio.to_thread(wheels.download, facts, wheel, folder)
            sites[kind] = await asyncio.to_thread(wheels.site, [wheel, *others], [])
    async with asyncio.TaskGroup() as group:
        for remote, member in zip(remotes, made.nodes, strict=True):
            facts = remote.facts
            kind = json.dumps([facts[k] for k in ("python", "machine", "libc", "implementation")])
            home = wheels.pack_folder(member.home)
            group.create_task(_send(remote, sites[kind], home))


async def _send(remote: Remote, site: bytes, home: bytes) -> None:
    await remote.unpack("site", site)
    await remote.unpack(HOME, home)


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


async def _load(remote: Remote, argv: list[str], patience_s: float) -> LoadResult:
    code, out, err = await remote.finish("load", argv, patience_s)
    if code:
        raise UserError(
            "E458",
            f"the load on {remote.host.name} has failed",
            facts={"exit code": str(code), "last words": err.decode(errors="replace")[-400:]},
            hint="the node's log is in the folder of the run, if it came so far",
        )
    return msgspec.json.decode(out, type=LoadResult)


async def _look(remote: Remote) -> dict[str, Any]:
    """Where its node stands and what it has used."""
    used = await remote.ask("poll", name=NODE)
    _, out, _ = await remote.finish("status", _node("status", "-o", "json"), READY_S)
    return {"height": json.loads(out)["height"], **used}


# ---------------------------------------------------------------- what came of it


def _summary(
    plan: Plan, loads: Sequence[LoadResult], nodes: Sequence[dict[str, Any]],
    clocks: Sequence[Clock], removed: dict[str, bool],
) -> dict[str, Any]:  # fmt: skip
    """The stable keys that a remote run can tell, and whether it counts."""
    samples = sorted(us for result in loads for us in result.latency_us)
    committed = sum(result.committed for result in loads)
    reasons = []
    worst = max(abs(clock.offset_ms) for clock in clocks)
    common = set.intersection(*(set(result.blocks) for result in loads))
    if any(len({result.blocks[height] for result in loads}) > 1 for height in common):
        reasons.append("nodes decided different blocks at one height")
    if not common:
        reasons.append("no height was compared between all nodes")
    if worst > WORST_CLOCK_MS:
        reasons.append(f"a host's clock is {worst:.0f} ms off")
    if any(result.dropped for result in loads):
        reasons.append("a host could not send as fast as it was asked to")
    if not samples:
        reasons.append("nothing was committed")
    goodput = round(committed / plan.seconds, 2)
    latency = {name: percentile(samples, p) / 1_000 if samples else None
               for name, p in PERCENTILES.items()}  # fmt: skip
    return {
        "engine": plan.engine,
        "path": plan.path,
        "n": len(loads),
        "ledger": "market",
        "signed": True,
        "ops_per_tx": 1,
        "sync": "full",
        "tls": True,
        "rate": plan.rate,
        "goodput_tx_s": goodput,
        "goodput_ops_s": goodput,
        "latency_ms": {**latency, "max": samples[-1] / 1_000 if samples else None},
        "dropped": sum(result.dropped for result in loads),
        "rejected": sum(result.rejected for result in loads),
        "timeouts": sum(result.timeouts for result in loads),
        "rss_mib": max(node.get("rss_max_mib", 0) for node in nodes),
        "clock_worst_ms": worst,
        "compared_heights": len(common),
        "cleaned_up": removed,
        "valid": not reasons,
        "invalid_reasons": reasons,
    }
