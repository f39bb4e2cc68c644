"""Latency of a lone transaction on an idle plant, and what it is made of.

    python bench/lone.py [-n 5] [--count 300] [--transport tls|plain]
                         [--engine bncm|pbft] [--path auto|collect|broadcast]

Starts n real daemons on loopback, sends one transfer at a time at the leader's node, and takes the
time from handing it to the node until the node pushes the decided block. Shares are stated for what
lies in sequence on the way that most transactions took. Two rounds, at n = 5: four synced writes
(proposal, vote, lock, decision), nine signature checks, four signatures, five hops. One round:
neither the lock nor the hop of the commits with its three checks and its signature, but the fourth
vote's check. With more daemons than cores, a stage that n−1 replicas go through at once takes
(n−1)/cores as long; the remainder, Python and waiting for a core, says so.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from vppd.bench.limits import crypto_us, fsync_ms, loopback_us
from vppd.cli.engine import ENGINE, PATH, parse_engine, parse_path
from vppd.cli.loop import run_async
from vppd.cli.testnet import Testnet, write_testnet
from vppd.client.client import connect
from vppd.config.genesis import ConsensusRules
from vppd.config.keys import load_key
from vppd.crypto import key_text
from vppd.day.nodes import NodeProcess, all_answer
from vppd.day.run import free_base_port
from vppd.ledger.transaction import Transfer, make_transaction


class Stages(NamedTuple):
    """What lies in sequence."""

    writes: int
    checks: int
    signatures: int
    hops: int


TWO_ROUNDS = Stages(4, 9, 4, 5)
ONE_ROUND = Stages(3, 7, 3, 4)
PAUSE_S = 0.01


def persist_ms(testnet: Testnet) -> float:
    """Mean synced write of the leader in this run, from its /metrics."""
    port = int(testnet.nodes[0].addr.rpartition(":")[2]) + 1
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:  # ours
        rows = dict(line.rsplit(" ", 1) for line in page.read().decode().splitlines())
    total, count = rows["vppd_persist_seconds_sum"], rows["vppd_persist_seconds_count"]
    return float(total) / float(count) * 1e3


def cpu_s(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def run(folder: Path, n: int, count: int, transport: str, rules: ConsensusRules) -> None:
    """Measure and print."""
    testnet = await asyncio.to_thread(
        write_testnet, folder / "plant", n, base_port=free_base_port(n),
        consensus=rules, transport="tls" if transport == "tls" else "plain",
    )  # fmt: skip
    nodes = [NodeProcess(m.name, m.home, print) for m in testnet.nodes]
    try:
        for node in nodes:
            await node.start()
        await all_answer(nodes, lambda status: status["voting"], 30)
        key = load_key(testnet.nodes[-1].home / "node.key")
        samples = []
        async with connect(nodes[0].socket) as client:
            await client.subscribe()
            nonce = (await client.view("account", key_text(key.public_key)))["nonce"]
            before = [cpu_s(node.pid or 0) for node in nodes]
            for i in range(count):
                transfer = Transfer(testnet.nodes[0].key, 1)
                raw = make_transaction(key, testnet.genesis.digest, nonce + i, 9_000, (transfer,))
                started = time.perf_counter()
                tx_id = await client.submit(raw)
                async for block in client.pushes():
                    if tx_id in block.tx_ids:
                        break
                samples.append((time.perf_counter() - started) * 1e3)
                await asyncio.sleep(PAUSE_S)
            spent = [cpu_s(node.pid or 0) - b for node, b in zip(nodes, before, strict=True)]
            rtt_us = await asyncio.to_thread(loopback_us)
            status = await client.view("status")
        written = await asyncio.to_thread(persist_ms, testnet)
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))
    samples.sort()
    p50, p99 = samples[count // 2], samples[int(count * 0.99)]
    disk_p50, disk_p99 = fsync_ms(folder)
    check_us, sign_us = crypto_us()
    decisions: dict[str, int] = status["decisions"]
    fast = decisions.get("fast", 0) + decisions.get("fast_exit", 0)
    stages = ONE_ROUND if fast > decisions.get("slow", 0) else TWO_ROUNDS
    writes = stages.writes * written
    crypto = (stages.checks * check_us + stages.signatures * sign_us) / 1e3
    network = stages.hops * rtt_us / 2 / 1e3
    cpu_ms = sum(spent) / count * 1e3
    print(f"n={n} {transport} {rules.engine} {rules.path}, {count} lone transactions: "
          f"p50 {p50:.2f} ms, p99 {p99:.2f} ms")  # fmt: skip
    print("decided at the leader: " + ", ".join(f"{w} {c}" for w, c in decisions.items()))
    if rules.engine != "pbft":
        print(
            "costs by its measure, ms: "
            + ", ".join(f"{w} {c}" for w, c in status["costs_ms"].items())
        )
    print(f"target 3 x fsync p50 + 4 ms = {3 * disk_p50 + 4:.2f} ms")
    print(f"limits: fsync p50 {disk_p50:.3f} p99 {disk_p99:.3f} ms; check {check_us:.0f} us, "
          f"signature {sign_us:.0f} us; loopback round trip {rtt_us:.0f} us")  # fmt: skip
    print(f"CPU, all {n} daemons: {cpu_ms:.2f} ms per transaction on {os.cpu_count()} cores, "
          f"that is at least {cpu_ms / (os.cpu_count() or 1):.2f} ms of wall time")  # fmt: skip
    for name, part in (
        (f"{stages.writes} synced writes of {written:.2f} ms", writes),
        (f"{stages.checks} checks and {stages.signatures} signatures", crypto),
        (f"{stages.hops} hops", network),
        ("Python, TLS and waiting for a core", p50 - writes - crypto - network),
    ):
        print(f"  {part:6.2f} ms  {100 * part / p50:4.0f} %  {name}")


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=5)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--transport", choices=("tls", "plain"), default="tls")
    parser.add_argument("--engine", default=ENGINE)
    parser.add_argument("--path", default=PATH)
    options = parser.parse_args()
    engine = parse_engine(options.engine)
    rules = ConsensusRules(engine=engine, path=parse_path(options.path, engine))
    folder = Path(tempfile.mkdtemp(prefix="vppd-lone-"))
    try:
        run_async(run(folder, options.n, options.count, options.transport, rules))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
