"""What the nodes' own stores say after a run: equal blocks, sound chains, nothing that failed."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from vppd.bench.plant import Plant
from vppd.codec import Decoder
from vppd.ledger.receipts import Status, decode_receipt
from vppd.store.connection import uri
from vppd.types import Digest, Height

LAST = 20
"""Heights that ``vppd block verify`` reports on; those before are executed all the same."""
_decode_list = Decoder(tuple[bytes, ...])


class StoredBlock(NamedTuple):
    """One decided height."""

    txs: int
    bytes: int
    """Of its transactions."""


class Stores(NamedTuple):
    """All nodes' stores together."""

    blocks: dict[Height, StoredBlock]
    """By the first node's store."""
    failed: int
    """Transactions in it whose receipt says failed or refused."""
    forks: tuple[str, ...]
    faults: tuple[str, ...]
    heads: dict[str, str]
    """Digest of each node's last block."""


async def inspect(plant: Plant, *, verified: bool = True) -> Stores:
    """Read and check the stores of a plant that is stopped.

    Args:
        plant: one of our own.
        verified: whether its decisions prove something, so that proofs are checked.
    """
    homes = [seat.home for seat in plant.seats if seat.home is not None]
    chains = [await asyncio.to_thread(digests, home / "chain.db") for home in homes]
    names = [seat.name for seat in plant.seats]
    heads = [max(chain, default=0) for chain in chains]
    blocks, failed = await asyncio.to_thread(contents, homes[0] / "chain.db")
    return Stores(
        blocks,
        failed,
        forks(names, chains),
        await _verify(names, homes, heads) if verified else (),
        {n: c[max(c)].hex() if c else "" for n, c in zip(names, chains, strict=True)},
    )


def digests(store: Path) -> dict[Height, Digest]:
    """Digest of every decided block."""
    with closing(sqlite3.connect(uri(store, "ro"), uri=True)) as connection:
        return dict(connection.execute("SELECT height, digest FROM decisions").fetchall())


def contents(store: Path) -> tuple[dict[Height, StoredBlock], int]:
    """Size of every block, and how many transactions failed in all."""
    blocks: dict[Height, StoredBlock] = {}
    failed = 0
    with closing(sqlite3.connect(uri(store, "ro"), uri=True)) as connection:
        rows = connection.execute(
            "SELECT d.height, b.txs, e.receipts FROM decisions d JOIN bodies b USING (digest) "
            "LEFT JOIN executions e ON e.height = d.height"
        )
        for height, txs, receipts in rows:
            raws = _decode_list(txs)
            blocks[height] = StoredBlock(len(raws), sum(map(len, raws)))
            for receipt in _decode_list(receipts)[1:] if receipts else ():
                failed += decode_receipt(receipt).status != Status.OK
    return blocks, failed


def forks(names: Sequence[str], chains: Sequence[dict[Height, Digest]]) -> tuple[str, ...]:
    """Heights at which two nodes have different blocks; a shorter chain is none."""
    found = []
    for height in sorted({height for chain in chains for height in chain}):
        said = {name: chain[height] for name, chain in zip(names, chains, strict=True)
                if height in chain}  # fmt: skip
        if len(set(said.values())) > 1:
            shown = ", ".join(f"{name} {digest.hex()[:8]}" for name, digest in said.items())
            found.append(f"height {height}: {shown}")
    return tuple(found)


async def _verify(
    names: Sequence[str], homes: Sequence[Path], heads: Sequence[Height]
) -> tuple[str, ...]:
    """``vppd block verify`` on every store, as many at once as there are cores."""
    cores = asyncio.Semaphore(os.cpu_count() or 1)

    async def one(name: str, home: Path, head: Height) -> str | None:
        words = [f"{max(1, head - LAST + 1)}..{head}"] if head else []
        async with cores:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "vppd", "block", "verify", *words, "--home", str(home),
                "--store", str(home / "chain.db"), "-o", "json",
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            try:
                out, err = await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
        if process.returncode == 0 and json.loads(out)["ok"]:
            return None
        said = err.decode(errors="replace").strip().splitlines() or [f"exit {process.returncode}"]
        return f"the store of {name} does not hold: {said[0]}"

    rows = zip(names, homes, heads, strict=True)
    found = await asyncio.gather(*(one(*row) for row in rows))
    return tuple(reason for reason in found if reason is not None)
