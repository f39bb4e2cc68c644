"""``vppd market bill`` and ``payouts``: what a day cost, with a proof that needs no node."""

from __future__ import annotations

import csv
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
import typer

from vppd.cli.online import HomeOption, genesis_of, with_client
from vppd.cli.output import Row, print_json, table
from vppd.client.bill import Contradiction, Line
from vppd.client.bill_fetch import Days, fetch_bill, fetch_payouts
from vppd.client.bill_page import bill_page, check_file
from vppd.client.bill_proof import BadBill, Bill
from vppd.client.client import Client
from vppd.client.days import day_name, day_named
from vppd.config.genesis import Genesis
from vppd.config.genesis_file import load_genesis
from vppd.crypto import parse_key
from vppd.errors import ConfigError, Exit, UserError
from vppd.market.money import format_micro
from vppd.types import PublicKey


class BillForm(StrEnum):
    """Forms of a bill."""

    TABLE = "table"
    JSON = "json"
    HTML = "html"


class PayoutForm(StrEnum):
    """Forms of a list of payouts."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


DayOption: TypeAlias = Annotated[
    str, typer.Option("--day", help="Number of the day or, in world time, its date.")
]


def bill(
    member: Annotated[
        str, typer.Argument(metavar="MEMBER|verify", help="A name, a key; or verify FILE.")
    ],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="With verify: the bill to check.")
    ] = None,
    day: Annotated[
        str, typer.Option("--day", help="Number of the day or, in world time, its date.")
    ] = "",
    genesis: Annotated[
        Path | None, typer.Option(help="With verify: the plant's genesis.toml.")
    ] = None,
    home: HomeOption = Path(),
    output: Annotated[
        BillForm, typer.Option("-o", "--output", help="Form of the bill on stdout.")
    ] = BillForm.TABLE,
) -> None:
    """Print a member's bill for a day with its proof, or check one without a node.

    Raises:
        UserError: E530–E536.
    """
    if member == "verify":
        _verify(_given(file), genesis or home / "genesis.toml", output)
        return
    if file is not None or not day:
        raise UserError(
            "E534",
            "a bill is a member's and a day's",
            facts={"member": member, "day": day or "none given"},
            hint="vppd market bill der-1 --day 3, or vppd market bill verify bill.json",
            exit_code=Exit.USAGE,
        )
    plant = genesis_of(home)
    number = _day(plant, day)
    key = member_key(plant, member)

    async def work(client: Client) -> Bill:
        return await fetch_bill(client, plant, key, await _days(client, number))

    try:
        made = with_client(home, work)
    except Contradiction as err:
        raise UserError(
            "E533",
            f"this node's receipts do not fit together: {err}",
            hint="vppd block verify re-checks its store; ask another node",
        ) from err
    _print(made, plant, output)


def _print(made: Bill, plant: Genesis, output: BillForm) -> None:
    body = made.bill
    if output is BillForm.JSON:
        print_json(msgspec.to_builtins(made))
        return
    name = day_name(plant.market, body.day)
    if output is BillForm.HTML:
        sys.stdout.write(bill_page(made, name))
        return
    print(f"{body.member}, day {name}, slots {body.first_slot} to {body.end_slot - 1}")
    if body.opening is not None and body.closing is not None:
        opening, closing = body.opening.funds_micro, body.closing.funds_micro
        print(f"had {format_micro(opening, 6)}, has {format_micro(closing, 6)} {body.currency}")
    else:
        print("no balance is stated for this day yet: what has settled for its slots")
    print()
    rows = [_row(line) for line in body.lines]
    print("\n".join(table(rows)) if rows else "nothing has moved this member's money")
    print(f"\ntotal {body.total} {body.currency}")


def _row(line: Line) -> Row:
    what = line.kind if line.version in (None, 1) else f"{line.kind} v{line.version}"
    return {
        "what": f"{what} (estimated)" if line.estimated else what,
        "slot": line.slot,
        "with": line.counterparty,
        "wh": line.quantity_wh,
        "per_kwh": None if line.price_micro is None else format_micro(line.price_micro, 6),
        "amount": line.amount,
        "proof": f"{line.height}/{line.receipt}/{line.event}",
    }


def _given(file: Path | None) -> Path:
    if file is None:
        raise UserError(
            "E534",
            "verify needs FILE, the bill to check",
            facts={"missing": "FILE"},
            hint="vppd market bill verify bill.json --genesis genesis.toml",
            exit_code=Exit.USAGE,
        )
    return file


def _verify(file: Path, genesis: Path, output: BillForm) -> None:
    try:
        data = file.read_bytes()
    except OSError as err:
        raise UserError(
            "E535",
            "the bill cannot be read",
            facts={"file": str(file), "found": err.strerror or str(err)},
            hint="the JSON or HTML that vppd market bill has printed",
        ) from err
    try:
        plant = load_genesis(genesis)
    except ConfigError as err:
        if not genesis.exists():
            err.hint = "--genesis genesis.toml of the plant, from somebody you trust: the proof "
            err.hint += "begins there"
        raise
    try:
        report = check_file(data, plant)
    except BadBill as err:
        err.facts = {"file": str(file), **err.facts}
        raise
    if output is BillForm.JSON:
        print_json(report)
        return
    print(
        f"the bill of {report['member']} for day {report['day']} holds: {report['lines']} lines "
        f"from {report['receipts']} receipts in {report['blocks']} certified blocks"
    )
    print(_money(report))
    if report["form"] == "html":
        print("the page shows this bill and nothing else")
    for sentence in report["unproven"]:
        print(f"not proved: {sentence}")


def _money(report: dict[str, Any]) -> str:
    total = f"total {format_micro(report['total_micro'], 6)} {report['currency']}"
    if report["closing_micro"] is None:
        return f"{total}; no opening or closing balance is stated"
    opening, closing = (format_micro(report[f"{at}_micro"], 6) for at in ("opening", "closing"))
    return f"{total}; opening balance {opening}, closing balance {closing}, bids included"


def payouts(
    day: DayOption,
    home: HomeOption = Path(),
    output: Annotated[
        PayoutForm, typer.Option("-o", "--output", help="Form of the list on stdout.")
    ] = PayoutForm.TABLE,
) -> None:
    """Print what each member has gained or lost by the end of a day, for a payment system.

    Raises:
        UserError: E531, E533, E536.
    """
    plant = genesis_of(home)
    number = _day(plant, day)

    async def work(client: Client) -> list[dict[str, Any]]:
        return await fetch_payouts(client, plant, await _days(client, number))

    rows = with_client(home, work)
    if output is PayoutForm.JSON:
        print_json(rows)
    elif output is PayoutForm.CSV:
        writer = csv.DictWriter(sys.stdout, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        print("\n".join(table(rows)) if rows else "no members")


def member_key(plant: Genesis, member: str) -> PublicKey:
    """Whom a person means.

    Raises:
        UserError: E536.
    """
    for account in plant.accounts:
        if account.name == member:
            return account.key
    try:
        return parse_key(member)
    except ValueError as err:
        raise UserError(
            "E536",
            f"there is no member {member!r}",
            facts={"members": ", ".join(account.name for account in plant.accounts[:20])},
            hint="a name in genesis.toml, or a key: ed25519:…",
            exit_code=Exit.USAGE,
        ) from err


def _day(plant: Genesis, text: str) -> int:
    try:
        return day_named(plant.market, text)
    except ValueError as err:
        raise UserError(
            "E537",
            "this is no day of the plant",
            facts={"given": text, "why": str(err)},
            hint="--day 3, or --day 2027-03-28",
            exit_code=Exit.USAGE,
        ) from err


async def _days(client: Client, day: int) -> Days:
    said = await client.view("day", str(day))
    return Days(**{name: said[name] for name in Days._fields})
