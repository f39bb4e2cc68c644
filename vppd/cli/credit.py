"""``vppd market credit``: what deliveries make of credit, in a file or on the chain."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from vppd.cli.bill import member_key
from vppd.cli.online import HomeOption, genesis_of, with_client
from vppd.cli.output import Output, OutputOption, Row, print_json, print_rows
from vppd.client.client import Client
from vppd.client.credit_history import credit_history
from vppd.crypto import key_text
from vppd.errors import UserError
from vppd.market.credit_file import RULES, credit_file
from vppd.market.money import format_micro

_STDIN = "-"


def credit(
    which: Annotated[
        str,
        typer.Argument(
            metavar="FILE|MEMBER",
            help="JSON file of deliveries, - for standard input; or a member of the plant.",
        ),
    ],
    rules: Annotated[
        str | None,
        typer.Option("--rules", help=f"With FILE, credit rules: {', '.join(RULES)}."),
    ] = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Replay a file of delivery records to credit values, or print a member's history.

    Raises:
        UserError: E520–E526, E536.
        BadParameter: rules for a member, whose credit follows the chain's.
    """
    if not _is_file(which) and (home / "genesis.toml").exists():
        if rules is not None:
            raise typer.BadParameter(
                f"--rules ({', '.join(RULES)}) is for a FILE of deliveries; the credit of {which} "
                "follows the chain's: vppd market rules"
            )
        _history(which, home, output)
        return
    source = "standard input" if which == _STDIN else which
    replayed = credit_file(_read(which), rules or "default", source=source)
    if output is Output.JSON:
        print_json(replayed)
        return
    rows: list[Row] = [
        {
            "agent": agent,
            "day": day["day"],
            "slots": day["slots"],
            "missing": day["missing"],
            "score": format_micro(day["score_ppm"], 6),
            "credit": format_micro(day["credit_ppm"], 6),
            "change": f"{day['change_ppm']:+d} ppm",
            "reason": day["reason"],
        }
        for agent, days in replayed["credit"].items()
        for day in days
    ]
    if rows:
        print_rows(rows, output)
    else:
        print("no deliveries")


def _is_file(which: str) -> bool:
    return which == _STDIN or which.endswith(".json") or Path(which).is_file()


def _history(member: str, home: Path, output: Output) -> None:
    key = member_key(genesis_of(home), member)

    async def work(client: Client) -> dict[str, Any]:
        standing: dict[str, Any] = await client.view("credit", key_text(key))
        history = await credit_history(client, key, standing["last_review_height"])
        return {**standing, "history": history}

    document = with_client(home, work)
    if output is Output.JSON:
        print_json(document)
        return
    grade = document["grade"] or "not rated yet"
    print(f"{document['name']}: credit {format_micro(document['credit_ppm'], 6)}, {grade}")
    rows: list[Row] = [
        {
            "day": row["day"],
            "credit": format_micro(row["credit_ppm"], 6),
            "change": f"{row['change_ppm']:+d} ppm",
            "grade": row["grade"],
            "height": row["height"],
            "reason": row["reason"],
        }
        for row in document["history"]
    ]
    if rows:
        print()
        print_rows(rows, output)


def _read(file: str) -> bytes:
    if file == _STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as err:
        raise UserError(
            "E526",
            "the file of deliveries cannot be read",
            facts={"file": file, "found": err.strerror or str(err)},
            hint="the path of a JSON file of deliveries, or - for standard input",
        ) from err
