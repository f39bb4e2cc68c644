"""``make mutants``: every mutant of the catalogue, what killed it, how long that took."""

from __future__ import annotations

import argparse
import sys
import time

from tests.mutants.catalogue import MUTANTS, SURVIVORS
from tests.mutants.page import PAGE, Row, merged, page
from tests.mutants.run import STAGES, Bench, patched


def main() -> None:
    """Print the table; fail on a survivor that nobody has explained."""
    parser = argparse.ArgumentParser(description="Mutants of the consensus core and of the gate.")
    parser.add_argument("--only", default="", help="names, or beginnings, comma-separated")
    parser.add_argument("--n", type=int, default=len(MUTANTS), help="the first so many")
    parser.add_argument("--write", action="store_true", help="into docs/mutants.md")
    chosen = parser.parse_args()
    words = tuple(word for word in chosen.only.split(",") if word)
    mutants = [m for m in MUTANTS if not words or m.name.startswith(words)][: chosen.n]
    if not mutants:
        sys.exit("no mutant is called that")
    try:
        for mutant in mutants:
            patched(mutant)
    except ValueError as err:
        sys.exit(str(err))
    started = time.monotonic()
    rows: list[Row] = []
    with Bench() as bench:
        if bench.home_of_vppd() != bench.folder / "vppd":
            sys.exit(f"the tests would run on {bench.home_of_vppd()}, not on the copy")
        likely = sorted({test for mutant in mutants for test in mutant.likely.split()})
        for tests in (*STAGES, likely):
            failure = bench.first_failure(tests)
            if failure:
                sys.exit(f"the source without any mutant fails {failure}")
        for mutant in mutants:
            killer, seconds = bench.try_mutant(mutant)
            rows.append(Row(mutant, killer))
            why = SURVIVORS.get(mutant.name)
            said = killer or (f"SURVIVED, explained: {why}" if why else "SURVIVED")
            print(f"{mutant.name:<34} {mutant.path:<28} {seconds:6.1f} s  {said}", flush=True)  # noqa: T201
    alive = [row.mutant.name for row in rows if not row.killer]
    unexplained = [name for name in alive if name not in SURVIVORS]
    minutes = (time.monotonic() - started) / 60
    print(f"{summary(rows)}, {minutes:.1f} min")  # noqa: T201
    if chosen.write:
        whole = len(rows) == len(MUTANTS)
        every = rows if whole else merged(rows, MUTANTS)
        when = f"{minutes:.1f} min" if whole else f"{len(rows)} of them tried again lately"
        PAGE.write_text(page(every, f"{summary(every)}, {when}"), encoding="utf-8")
    dead = [name for name in SURVIVORS if name in {row.mutant.name for row in rows} - set(alive)]
    if dead:
        sys.exit(f"listed as survivors, but killed: {', '.join(dead)}")
    if unexplained:
        sys.exit(f"nobody noticed {', '.join(unexplained)}")


def summary(rows: list[Row]) -> str:
    """How many there are, and how they fared."""
    alive = [row.mutant.name for row in rows if not row.killer]
    unexplained = [name for name in alive if name not in SURVIVORS]
    return (
        f"{len(rows)} mutants, {len(rows) - len(alive)} killed, {len(alive)} survived "
        f"({len(unexplained)} unexplained)"
    )


if __name__ == "__main__":
    main()
