"""Store files damaged in every way: ``python -m tests.store.torn --n 500 --seed 1``.

A real chain is written as a replica writes it, and the files are kept as they were after each
promise. Then one moment is taken, its files are cut, flipped, blanked, removed or replaced by older
ones, and the store is opened. It may open with exactly what was promised, open as an observer, or
refuse by name. It must never vote on an older or another safety record.

One kind of case is given more room: ``power``, where the guard is an older one, since it is not
synced and the power failed, *and* the log is damaged as well. The log alone tells then, and it
cannot tell whether its last transaction was synced (docs/adr/0009).
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import structlog

from tests.store import real_chain as real
from vppd.consensus.boundary import (
    DecisionRecord,
    EvidenceRecord,
    NewViewRecord,
    ObserverRecord,
    PreparedRecord,
    ProposalRecord,
    Record,
    ViewChangeRecord,
    ViewRecord,
    VoteRecord,
)
from vppd.consensus.messages import (
    CertificateKind,
    Claim,
    Equivocation,
    NewView,
    Round,
    Standing,
    ViewChange,
)
from vppd.errors import LocalFault, UserError
from vppd.store.chain import ChainStore, Resume
from vppd.store.verify import verify_chain
from vppd.types import Height, Mode

HEIGHTS = 8
NAMES = ("chain.db", "chain.db-wal", "chain.db-guard")
MAIN, LOG, GUARD = NAMES
PAGE, FRAME, LOG_HEADER = 4096, 4096 + 24, 32


class Files(NamedTuple):
    """A store's files at one moment; ``None``: not there."""

    main: bytes | None
    log: bytes | None
    guard: bytes | None


class Moment(NamedTuple):
    """What was durable after one promise, and the files that held it."""

    resume: Resume
    files: Files


class Outcome(NamedTuple):
    """What became of damaged files."""

    name: str
    violation: str = ""


# ---------------------------------------------------------------- a life


def files_of(path: Path) -> Files:
    def read(name: str) -> bytes | None:
        file = path.with_name(name)
        return file.read_bytes() if file.exists() else None

    return Files(*map(read, NAMES))


async def live(folder: Path) -> tuple[list[Moment], real.Maker]:
    """A replica's store from its first promise to its orderly end."""
    maker = real.Maker()
    maker.add_typical(HEIGHTS)
    path = folder / MAIN
    moments: list[Moment] = []
    await ChainStore.create(path, real.GENESIS.digest)
    store = await ChainStore.open(path, real.GENESIS.digest)
    await store.seed_state(maker.genesis_state)
    for block in maker.blocks:
        for records in promises(block):
            await store.persist(records)
            moments.append(Moment(await store.resume(), files_of(path)))
        store.put_execution(block.row)
        if block.header.height % 3 == 0:  # the log begins again, over its own old frames
            await store._writing.run(lambda c: c.execute("PRAGMA wal_checkpoint").fetchall())
    await store.close()
    async with await ChainStore.open(path, real.GENESIS.digest) as store:
        last = await store.resume()
    moments.append(Moment(last, files_of(path)))
    return moments, maker


def promises(block: real.Block) -> list[list[Record]]:
    """One height, as a replica goes through it that has to change the view on its way."""
    body, height = block.body, block.header.height
    prepared = real.certify(CertificateKind.PREPARED, height, body.digest)
    standing = Standing(
        0, height, 1, height - 1, block.header.parent, Claim(0, body.digest), None, bytes(64)
    )
    lie = Equivocation(
        Round.VOTE, 0, 0, height, 3, body.digest, bytes(64), bytes([height]) * 32, bytes(64)
    )
    opened = NewView(0, height, height, body.digest, (standing,) * 3, None, prepared, bytes(64))
    return [
        [
            body,
            ProposalRecord(0, body.view, height, body.digest),
            VoteRecord(0, body.view, height, body.digest),
        ],
        [ViewRecord(0, height, Mode.CHANGING), ViewChangeRecord(ViewChange(standing, None, None))],
        [ViewRecord(0, height, Mode.NORMAL), NewViewRecord(opened)],
        [EvidenceRecord(lie)],
        [PreparedRecord(prepared)],
        [DecisionRecord(height, body.digest, block.certificate)],
    ]


# ---------------------------------------------------------------- damage

Chance = random.Random


def cut(data: bytes, chance: Chance) -> bytes:
    """Lose the end, from any byte on."""
    return data[: chance.randrange(len(data))]


def cut_evenly(data: bytes, chance: Chance) -> bytes:
    """Lose the end from where a page or frame begins: nothing looks torn."""
    step, start = (FRAME, LOG_HEADER) if len(data) % PAGE else (PAGE, 0)
    return data[: start + step * chance.randrange(1 + (len(data) - start) // step)]


def flip(data: bytes, chance: Chance) -> bytes:
    """One to four bits, anywhere."""
    turned = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        turned[chance.randrange(len(turned))] ^= 1 << chance.randrange(8)
    return bytes(turned)


def blank(data: bytes, chance: Chance) -> bytes:
    """A sector or a page of zeros: never written."""
    size = chance.choice([512, PAGE])
    at = chance.randrange(len(data)) // size * size
    return data[:at] + bytes(min(size, len(data) - at)) + data[at + size :]


DAMAGES: Mapping[str, Callable[[bytes, Chance], bytes]] = {
    "cut": cut, "cut evenly": cut_evenly, "flipped": flip, "blanked": blank,
}  # fmt: skip


def damaged(moments: list[Moment], now: int, chance: Chance) -> tuple[str, Files]:
    """The files of a moment with something done to them; what, and what is left."""
    files = moments[now].files
    older = moments[chance.randrange(now)].files if now else files
    what = chance.choice(["main", "log", "main", "log", "both", "guard", "gone", "image", "power"])
    how = chance.choice(sorted(DAMAGES))
    damage = DAMAGES[how]
    if what == "gone":
        which = chance.choice(files._fields)
        return f"{which} gone", files._replace(**{which: None})
    if what == "image":
        parts = chance.choice([("main",), ("log",), ("main", "log")])
        return f"older {' and '.join(parts)}", files._replace(
            **{part: getattr(older, part) for part in parts}
        )
    if what == "power":
        how = "flipped" if how.startswith("cut") else how
        left = files._replace(guard=older.guard, log=_hit(files.log, DAMAGES[how], chance))
        return f"power, log {how}", left
    parts = ("main", "log") if what == "both" else (what,)
    hit = {part: _hit(getattr(files, part), damage, chance) for part in parts}
    return f"{what} {how}", files._replace(**hit)


def _hit(
    data: bytes | None, damage: Callable[[bytes, Chance], bytes], chance: Chance
) -> bytes | None:
    return damage(data, chance) if data else data


# ---------------------------------------------------------------- judging


async def reopen(path: Path) -> Resume | UserError:
    try:
        async with await ChainStore.open(path, real.GENESIS.digest) as store:
            return await store.resume()
    except UserError as err:
        return err


async def judge(
    path: Path, moments: list[Moment], maker: real.Maker, now: int, what: str
) -> Outcome:
    """Open what is left, and compare it with what was promised."""
    found = await reopen(path)
    if isinstance(found, UserError):
        named = found.code in ("E250", "E251", "E252", "E253", "E256")
        return Outcome(f"refused {found.code}", "" if named else f"not a refusal: {found}")
    if any(isinstance(record, ObserverRecord) for record in found.log):
        return Outcome("observer")
    promised = moments[now].resume
    if (found.log, found.decided) == (promised.log, promised.decided):
        return await compare_blocks(path, maker, found.decided)
    if what.startswith("power"):
        logs = [(moment.resume.log, moment.resume.decided) for moment in moments]
        mine = (found.log, found.decided)
        if mine in logs and now - logs.index(mine) <= 2:
            return Outcome("older by the last transaction, the guard lost with the power")
    return Outcome("voter", f"votes on another record than was promised at moment {now}")


async def compare_blocks(path: Path, maker: real.Maker, decided: Height) -> Outcome:
    """Every block is what it was, or damage that is found by name."""
    try:
        sound = verify_chain(path, real.GENESIS).ok
    except UserError as err:
        sound = err.code != "E253"
    if not sound:
        return Outcome("opened, verify names the damage")
    async with await ChainStore.open(path, real.GENESIS.digest) as store:
        for block in maker.blocks[:decided]:
            height = block.header.height
            try:
                held = await store.block(height)
            except LocalFault as err:
                return Outcome("opened", f"verify finds nothing, reading {height} fails: {err}")
            want = (block.header.encode(), block.txs, block.certificate)
            if held is None or (held.header, held.txs, held.certificate) != want:
                return Outcome("opened", f"block {height} is another one, and verify says nothing")
    return Outcome("opened, exactly as promised")


def restore(folder: Path, files: Files) -> Path:
    folder.mkdir()
    for name, content in zip(NAMES, files, strict=True):
        if content is not None:
            (folder / name).write_bytes(content)
    return folder / MAIN


async def run(folder: Path, n: int, seed: int) -> tuple[Counter[tuple[str, str]], list[str]]:
    """So many damaged stores; outcomes by damage, and violations with what reproduces them."""
    (folder / "life").mkdir(parents=True)
    moments, maker = await live(folder / "life")
    outcomes: Counter[tuple[str, str]] = Counter()
    violations = []
    for case in range(n):
        chance = random.Random(f"{seed} {case}")
        now = chance.randrange(len(moments))
        what, files = damaged(moments, now, chance)
        place = folder / f"case-{case}"
        outcome = await judge(restore(place, files), moments, maker, now, what)
        outcomes[what, outcome.name] += 1
        if outcome.violation:
            violations.append(f"seed {seed} case {case} ({what}): {outcome.violation}")
        else:
            shutil.rmtree(place)
    return outcomes, violations


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    structlog.configure(processors=[_silent])
    with tempfile.TemporaryDirectory() as folder:
        outcomes, violations = asyncio.run(run(Path(folder) / "torn", options.n, options.seed))
    lines = [
        f"{count:6}  {what:20}  {outcome}" for (what, outcome), count in sorted(outcomes.items())
    ]
    total = f"{options.n:6}  in all, seed {options.seed}; violations: {len(violations)}"
    sys.stdout.write("\n".join([*lines, total, *violations]) + "\n")
    return 1 if violations else 0


def _silent(*_: object) -> structlog.types.EventDict:
    raise structlog.DropEvent


if __name__ == "__main__":
    sys.exit(main())
