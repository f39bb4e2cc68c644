"""``python -m spec``: run every model, print the table, fail unless all found what they must.

``--write`` puts the table and the shortest counter-examples into spec/README.md;
``--only WORD`` runs the models or rules whose name contains the word. The environment variable
``SPIN=skip`` leaves Spin out.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from spec.jobs import Row, jobs
from spec.rules import BROKEN, Rule
from spec.spin import SpinMissing, ensure

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- written by python -m spec --write -->\n", "<!-- end -->\n"
_HEAD = ("model", "plant", "rule", "states", "verdict", "seconds")
_WIDTHS = (8, 30, 20, 13, 34, 8)


def line(cells: tuple[str, ...]) -> str:
    """One line of the printed table."""
    return "  ".join(
        f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)
    ).rstrip()


def cells(row: Row) -> tuple[str, ...]:
    """What the table shows of a run."""
    return (*row[:5], f"{row.seconds:.1f}")


def catches(rows: list[Row]) -> list[tuple[str, str]]:
    """For each broken rule, the models that caught it."""
    return [
        (
            rule.slug,
            ", ".join(sorted({row.model for row in rows if row.rule == rule.slug and row.caught})),
        )
        for rule in BROKEN
    ]


def page(rows: list[Row]) -> str:
    """The part of the page that a run writes."""
    out = ["## Last run\n", "| " + " | ".join(_HEAD) + " |", "|---|---|---|---|---|---|"]
    out += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    out += ["", "## Which model catches what\n", "| broken rule | what differs | caught by |"]
    out += ["|---|---|---|"]
    words = {rule.slug: rule.words for rule in Rule}
    out += [f"| `{slug}` | {words[slug]} | {by} |" for slug, by in catches(rows)]
    out += ["", "## Shortest counter-examples\n"]
    out += [
        "`d1@0` is block d of height 1 in view 0; Z is Byzantine. Found by `explore`, breadth "
        "first; the last one by `sync`."
    ]
    told = set()
    for row in rows:
        wanted = row.model == "explore" or row.rule == "count_exactly_v"
        if row.tale and wanted and row.rule not in told:
            told.add(row.rule)
            out += ["", f"### `{row.rule}`: {words.get(row.rule, 'T_vc counts only v′')}\n"]
            out += [f"{row.plant}.\n"]
            out += [f"{i}. {step}" for i, step in enumerate(row.tale, 1)]
    return "\n".join(out) + "\n"


def write(rows: list[Row]) -> None:
    """Replace that part of spec/README.md."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n{page(rows)}\n{END}{after}", encoding="utf-8")


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m spec", description=__doc__)
    parser.add_argument("--only", default="", metavar="WORD")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.write and options.only:
        parser.error("--write needs a whole run")
    with_spin = os.environ.get("SPIN") != "skip"
    if with_spin:
        try:
            ensure()
        except SpinMissing as missing:
            print(f"make model: {missing}", file=sys.stderr)
            return 1
    else:
        print("SPIN=skip: spec/bncm.pml is not run")
    began = time.perf_counter()
    rows: list[Row] = []
    print(line(_HEAD))
    for job in jobs(with_spin=with_spin):
        slug = job.rule.slug if job.rule else "view synchronisation"
        if options.only not in f"{job.model} {slug}":
            continue
        row = job.run()
        rows.append(row)
        print(line(cells(row)) + ("" if row.good else "  WRONG"), flush=True)
    if not rows:
        parser.error(f"nothing is called {options.only!r}")
    wrong = [row for row in rows if not row.good]
    survivors = [slug for slug, by in catches(rows) if not by] if not options.only else []
    broken = len({rule.slug for rule in BROKEN} & {row.rule for row in rows})
    print(f"{len(rows)} runs, {broken} broken rules, {time.perf_counter() - began:.0f} s")
    for row in wrong:
        print(f"WRONG: {row.model}, {row.plant}, {row.rule}: {row.verdict}")
        for step in row.tale:
            print(f"    {step}")
    for slug in survivors:
        print(f"WRONG: no model catches {slug}")
    if options.write and not wrong:
        write(rows)
    return 1 if wrong or survivors else 0


if __name__ == "__main__":
    sys.exit(main())
