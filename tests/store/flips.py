"""Flipped bytes and cut files: ``db check`` names the damage, or nothing that is kept has changed.

``python -m tests.store.flips --n 2000 --seed 1``
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.store import real_chain as real
from vppd.consensus.boundary import DecisionRecord, VoteRecord
from vppd.errors import UserError
from vppd.store.chain import ChainStore
from vppd.store.check import check_store
from vppd.store.connection import uri

HEIGHTS = 6
REFUSED = {"E251", "E252"}
"""A flip in the chain id or version makes it the store of somebody else."""


def write_stopped(folder: Path) -> None:
    """The store of a node that was stopped."""
    maker = real.Maker()
    maker.add_typical(HEIGHTS)
    asyncio.run(real.write(folder / "chain.db", maker))


def write_killed(folder: Path) -> None:
    """The store of a node that was killed: its last blocks are in the log."""
    maker = real.Maker()
    maker.add_typical(HEIGHTS)
    living = folder / "living"
    living.mkdir()

    async def scenario() -> None:
        path = living / "chain.db"
        await ChainStore.create(path, real.GENESIS.digest)
        async with await ChainStore.open(path, real.GENESIS.digest) as store:
            await store.seed_state(maker.genesis_state)
            for block in maker.blocks:
                height, digest = block.header.height, block.body.digest
                vote = VoteRecord(0, block.body.view, height, digest)
                await store.persist([block.body, vote])
                await store.persist([DecisionRecord(height, digest, block.certificate)])
                store.put_execution(block.row)
            for name in ("chain.db", "chain.db-wal", "chain.db-guard"):
                shutil.copy(living / name, folder)

    asyncio.run(scenario())
    shutil.rmtree(living)


def content(path: Path) -> dict[str, Any]:
    """Every row that the store keeps."""
    with closing(sqlite3.connect(uri(path, "ro"), uri=True)) as connection:
        names = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return {
            name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr)  # noqa: S608
            for name in names
        }


def damage(folder: Path, chance: random.Random) -> str:
    """Flip or cut one file of a store; what was done."""
    files = [folder / name for name in ("chain.db", "chain.db-wal")]
    file = chance.choice([f for f in files if f.exists() and f.stat().st_size])
    size = file.stat().st_size
    at = chance.randrange(size)
    match chance.choice(["bit", "byte", "sector", "cut"]):
        case "cut":
            os.truncate(file, at)
            return f"{file.name} cut at {at} of {size}"
        case "sector":
            _overwrite(file, at - at % 512, chance.randbytes(512))
            return f"{file.name}: sector at {at - at % 512} of {size}"
        case "bit":
            with file.open("rb") as opened:
                opened.seek(at)
                old = opened.read(1)[0]
            _overwrite(file, at, bytes([old ^ (1 << chance.randrange(8))]))
            return f"{file.name}: a bit at {at} of {size}"
        case _:
            _overwrite(file, at, chance.randbytes(1))
            return f"{file.name}: a byte at {at} of {size}"


def _overwrite(file: Path, at: int, data: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(data[: max(0, file.stat().st_size - at)])


def run(base: Path, n: int, seed: int) -> Iterator[tuple[str, str]]:
    """Damage ``n`` stores one way each: (what was done and said, violation or empty)."""
    base.mkdir()
    kept: list[tuple[Path, dict[str, Any]]] = []
    for write in (write_stopped, write_killed):
        folder = base / write.__name__
        folder.mkdir()
        write(folder)
        probe = base / "probe"
        shutil.copytree(folder, probe)
        assert check_store(probe / "chain.db", real.GENESIS).problems == ()
        kept.append((folder, content(probe / "chain.db")))
        shutil.rmtree(probe)
    for case in range(n):
        chance = random.Random(f"{seed}/{case}")
        source, whole = chance.choice(kept)
        folder = base / "case"
        shutil.copytree(source, folder)
        what = f"seed {seed}, case {case}, {source.name}: {damage(folder, chance)}"
        said, violation = _judge(folder / "chain.db", whole)
        yield f"{what}: {said}", f"{what}: {violation}" if violation else ""
        shutil.rmtree(folder)


def _judge(path: Path, whole: dict[str, Any]) -> tuple[str, str]:
    try:
        report = check_store(path, real.GENESIS)
    except UserError as err:
        unknown = "" if err.code in REFUSED else f"refused with {err}"
        return f"refused {err.code}", unknown
    if report.problems:
        if not all(problem.where and problem.what for problem in report.problems):
            return "unnamed", f"damage without a place or a reason: {report.problems}"
        return f"named {report.problems[0].where}", ""
    if report.verified != HEIGHTS or content(path) != whole:
        return "sound", "said to be sound, and is not what was written"
    return "sound", ""


def main() -> int:
    """As a program: a summary, and exit code 1 after a violation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    kinds: Counter[str] = Counter()
    violations: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        for said, violation in run(Path(scratch) / "flips", chosen.n, chosen.seed):
            kinds[said.rpartition(": ")[2].split()[0]] += 1
            if violation:
                violations.append(violation)
    lines = [f"{count:6}  {kind}" for kind, count in sorted(kinds.items())]
    total = f"{chosen.n:6}  in all, seed {chosen.seed}; violations: {len(violations)}"
    sys.stdout.write("\n".join([*lines, total, *violations]) + "\n")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
