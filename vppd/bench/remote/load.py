"""The load on one host: signed transfers at a steady rate, each with its own latency.

The interface between a remote run and whatever makes the load is small: a command line
(:func:`command`) that is run on the host in the pushed environment, and one JSON object on its
standard output at the end (:class:`LoadResult`). Open loop: a transaction is due at its time
whether or not the ones before have been decided, and its latency counts from then.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from vppd.client.client import Client, RequestFailed, connect
from vppd.config.keys import load_key
from vppd.crypto import SigningKey, key_text, sha256
from vppd.ledger.transaction import Transfer, make_transaction, open_envelope
from vppd.types import Digest

GRACE_S = 10.0
"""After the last one was sent."""
LIFETIME = 5_000
MODULE = "vppd.bench.remote.load"


class LoadResult(msgspec.Struct, kw_only=True):
    """What one host's load came to."""

    sent: int
    """Handed to the node and accepted."""
    rejected: int
    dropped: int
    """Not even tried in their second: this host was too slow."""
    committed: int
    timeouts: int
    """Accepted and not decided when the grace was over."""
    begun_unix_ns: int
    latency_us: list[int]
    """From when each was due until this node pushed its block, in the order of decision."""
    blocks: dict[int, str]
    """Height to digest, of every block this node decided meanwhile."""


def command(home: str, rate: float, seconds: float, warm_up: float) -> list[str]:
    """Arguments after the interpreter.

    Args:
        home: of the node on this host.
        rate: transactions per second.
        seconds: that count.
        warm_up: seconds before.
    """
    numbers = (rate, seconds, warm_up)
    return ["-m", MODULE, "--home", home, *map(str, numbers)]


async def run_load(home: Path, rate: float, seconds: float, warm_up: float) -> LoadResult:
    """Send from the account of the node at ``home``, and wait for what becomes of it.

    Raises:
        UserError: E351, the node does not answer.
    """
    key = load_key(home / "node.key")
    result = LoadResult(
        sent=0,
        rejected=0,
        dropped=0,
        committed=0,
        timeouts=0,
        begun_unix_ns=0,
        latency_us=[],
        blocks={},
    )
    due: dict[Digest, tuple[float, bool]] = {}
    async with connect(home / "vppd.sock") as client:
        await client.subscribe()
        listening = asyncio.create_task(_listen(client, due, result))
        try:
            await _send(client, key, due, result, (rate, seconds, warm_up))
            end = time.perf_counter() + GRACE_S
            while due and time.perf_counter() < end and not listening.done():
                await asyncio.wait({listening}, timeout=0.05)
        finally:
            listening.cancel()
            await asyncio.wait({listening})
    result.timeouts = sum(counts for _, counts in due.values())
    return result


async def _send(
    client: Client, key: SigningKey, due: dict[Digest, tuple[float, bool]], result: LoadResult,
    plan: tuple[float, float, float],
) -> None:  # fmt: skip
    rate, seconds, warm_up = plan
    status = await client.view("status")
    chain_id = bytes.fromhex(status["chain_id"])
    account = await client.view("account", key_text(key.public_key))
    nonce: int = account["nonce"]
    expiry = int(status["height"]) + LIFETIME
    begun = time.perf_counter()
    result.begun_unix_ns = time.time_ns()
    for number in range(round(rate * (warm_up + seconds))):
        at = begun + number / rate
        counts = at - begun >= warm_up
        now = time.perf_counter()
        if now < at:
            await asyncio.sleep(at - now)
        elif now - at > 1.0:
            result.dropped += counts
            continue
        raw = make_transaction(key, chain_id, nonce, expiry, [Transfer(key.public_key, 1)])
        tx_id = sha256(open_envelope(raw).body)
        due[tx_id] = (at, counts)
        try:
            await client.submit(raw)
        except RequestFailed:
            del due[tx_id]
            result.rejected += counts
        else:
            nonce += 1
            result.sent += counts


async def _listen(
    client: Client, due: dict[Digest, tuple[float, bool]], result: LoadResult
) -> None:
    async for block in client.pushes():
        now = time.perf_counter()
        result.blocks[block.height] = block.digest.hex()
        for tx_id in block.tx_ids:
            at, counts = due.pop(tx_id, (now, False))
            if counts:
                result.committed += 1
                result.latency_us.append(round((now - at) * 1e6))


def main(arguments: Sequence[str] | None = None) -> None:
    """On the host, started by its agent."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    for name in ("rate", "seconds", "warm_up"):
        parser.add_argument(name, type=float)
    asked = parser.parse_args(arguments)
    result = asyncio.run(run_load(asked.home, asked.rate, asked.seconds, asked.warm_up))
    sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")


if __name__ == "__main__":
    main()
