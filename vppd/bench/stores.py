"""What the nodes' own stores say after a run: equal blocks, sound chains, nothing that failed."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec

from vppd.bench.plant import Plant
from vppd.codec import Decoder
from vppd.ledger.codes import Status
from vppd.ledger.receipts import decode_receipt
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


class Store(msgspec.Struct, frozen=True):
    """What one node's store says."""

    digests: dict[Height, str]
    """Of every decided block, in hexadecimal."""
    blocks: dict[Height, tuple[int, int]]
    """Transactions and bytes of each; empty if nobody asked."""
    failed: int
    """Transactions whose receipt says failed or refused."""
    fault: str | None
    """Why it does not hold, as ``vppd block verify`` says."""


async def inspect(plant: Plant, *, verified: bool = True) -> Stores:
    """Read and check the stores of a plant that is stopped, as many at once as there are cores.

    Args:
        plant: one of our own.
        verified: whether its decisions prove something, so that proofs are checked.
    """
    cores = asyncio.Semaphore(os.cpu_count() or 1)
    homes = [seat.home for seat in plant.seats if seat.home is not None]

    async def one(index: int) -> Store:
        async with cores:
            return await read_store(homes[index], whole=index == 0, verified=verified)

    stores = await asyncio.gather(*(one(index) for index in range(len(homes))))
    return together([seat.name for seat in plant.seats], stores)


async def read_store(home: Path, *, whole: bool, verified: bool) -> Store:
    """Read one store, and check it.

    Args:
        home: of its node, which is stopped.
        whole: the blocks as well.
        verified: run ``vppd block verify``.
    """
    found = await asyncio.to_thread(digests, home / "chain.db")
    blocks: dict[Height, tuple[int, int]] = {}
    failed = 0
    if whole:
        blocks, failed = await asyncio.to_thread(contents, home / "chain.db")
    fault = await _verify(home, max(found, default=0)) if verified else None
    return Store({h: digest.hex() for h, digest in found.items()}, blocks, failed, fault)


def together(names: Sequence[str], stores: Sequence[Store]) -> Stores:
    """The stores of all nodes, compared height by height."""
    rows = list(zip(names, stores, strict=True))
    return Stores(
        {height: StoredBlock(*size) for height, size in stores[0].blocks.items()},
        stores[0].failed,
        forks(names, [store.digests for store in stores]),
        tuple(f"the store of {n} does not hold: {s.fault}" for n, s in rows if s.fault),
        {n: s.digests[max(s.digests)] if s.digests else "" for n, s in rows},
    )


def digests(store: Path) -> dict[Height, Digest]:
    """Digest of every decided block."""
    with closing(sqlite3.connect(uri(store, "ro"), uri=True)) as connection:
        return dict(connection.execute("SELECT height, digest FROM decisions").fetchall())


def contents(store: Path) -> tuple[dict[Height, tuple[int, int]], int]:
    """Transactions and bytes of every block, and how many transactions failed in all."""
    blocks: dict[Height, tuple[int, int]] = {}
    failed = 0
    with closing(sqlite3.connect(uri(store, "ro"), uri=True)) as connection:
        rows = connection.execute(
            "SELECT d.height, b.txs, e.receipts FROM decisions d JOIN bodies b USING (digest) "
            "LEFT JOIN executions e ON e.height = d.height"
        )
        for height, txs, receipts in rows:
            raws = _decode_list(txs)
            blocks[height] = len(raws), sum(map(len, raws))
            for receipt in _decode_list(receipts)[1:] if receipts else ():
                failed += decode_receipt(receipt).status != Status.OK
    return blocks, failed


def forks(names: Sequence[str], chains: Sequence[Mapping[Height, str]]) -> tuple[str, ...]:
    """Heights at which two nodes have different blocks; a shorter chain is none.

    Args:
        names: of the nodes.
        chains: digest by height of each, in hexadecimal.
    """
    found = []
    for height in sorted({height for chain in chains for height in chain}):
        said = {name: chain[height] for name, chain in zip(names, chains, strict=True)
                if height in chain}  # fmt: skip
        if len(set(said.values())) > 1:
            shown = ", ".join(f"{name} {digest[:8]}" for name, digest in said.items())
            found.append(f"height {height}: {shown}")
    return tuple(found)


async def _verify(home: Path, head: Height) -> str | None:
    """``vppd block verify``: why the store does not hold."""
    words = [f"{max(1, head - LAST + 1)}..{head}"] if head else []
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
    return said[0]


def main(words: Sequence[str]) -> None:
    """``python -m vppd.bench.stores HOME [whole] [verified]``: a :class:`Store` as JSON."""
    home, *asked = words
    found = asyncio.run(
        read_store(Path(home), whole="whole" in asked, verified="verified" in asked)
    )
    sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
