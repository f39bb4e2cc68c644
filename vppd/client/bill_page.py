"""A bill as a page to print: one HTML file with nothing around it, and the proof inside."""

from __future__ import annotations

import json
from html import escape
from typing import Any

import msgspec

from vppd.client.bill import Line
from vppd.client.bill_proof import OPENS, BadBill, Bill, check_bill, read_bill
from vppd.client.days import day_name
from vppd.config.genesis import Genesis
from vppd.market.money import format_micro

_STYLE = """
body{font:14px/1.4 sans-serif;margin:2em auto;max-width:60em;color:#111}
table{border-collapse:collapse;width:100%;margin:1em 0}
th,td{padding:.25em .6em;border-bottom:1px solid #ccc;text-align:left;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
tr.sum td{border-top:2px solid #111;font-weight:bold}
@media print{body{margin:0}thead{display:table-header-group}tr{break-inside:avoid}}
"""
_KINDS = {
    "sale": "Sold",
    "purchase": "Bought",
    "imbalance": "Imbalance",
    "correction": "Correction",
    "grid_fee": "Grid fee",
    "levy": "Levy",
    "reward": "Reward for a block",
    "transfer": "Transfer",
}
_HEAD = ("What", "Slot", "With", "Wh", "per kWh", "Amount", "Proved by")

_AROUND = 24
"""Bytes shown before and after the place where a page is not what its bill makes."""


def check_file(data: bytes, genesis: Genesis) -> dict[str, Any]:
    """Prove a bill from a file; of a page also that it shows the bill it holds, and nothing else.

    Returns:
        What :func:`~.bill_proof.check_bill` does, and in ``form`` ``json`` or ``html``.

    Raises:
        BadBill: the bill does not hold, or the page is not what is printed of it.
        ConfigError: as in ``check_bill``.
    """
    document = read_bill(data)
    report = check_bill(document, genesis)
    if OPENS not in data:
        return {**report, "form": "json"}
    right = bill_page(document, day_name(genesis.market, document.bill.day)).encode()
    if data != right:
        at = next(
            (i for i, (one, other) in enumerate(zip(data, right, strict=False)) if one != other),
            min(len(data), len(right)),
        )
        raise BadBill(
            "the page does not say what its bill says",
            f"byte {at}",
            facts={"page": _around(data, at), "bill": _around(right, at)},
            hint="believe nothing on this page: ask for vppd market bill MEMBER --day D -o json; "
            "a page is checked by the release that has printed it",
        )
    return {**report, "form": "html"}


def _around(text: bytes, at: int) -> str:
    return ascii(text[max(0, at - _AROUND) : at + _AROUND].decode(errors="replace"))


def bill_page(bill: Bill, name_of_day: str) -> str:
    """The page; ``vppd market bill verify`` takes it as well as the JSON.

    Args:
        bill: as fetched.
        name_of_day: a date, or a number.
    """
    body = bill.bill
    rows = "".join(_row(line) for line in body.lines)
    stated = ""
    for name, at in (("Opening", body.opening), ("Closing", body.closing)):
        if at is not None:
            amount = format_micro(at.balance_micro, 6)
            stated += (
                f"<tr><td>{name} balance, by {at.by}, height {at.height}</td>"
                f'<td class="n">{amount}</td><td class="n">{format_micro(at.escrow_micro, 6)}</td>'
                "</tr>"
            )
    table = (
        f'<table><tr><th></th><th class="n">Balance</th><th class="n">Set aside for bids</th></tr>'
        f"{stated}</table>"
        if stated
        else "<p>No balance is stated on chain for this day: these are the settlements of its "
        "slots, which may not be all that moved money.</p>"
    )
    heads = "".join(f"<th>{name}</th>" for name in _HEAD)
    document = json.dumps(msgspec.to_builtins(bill)).replace("<", "\\u003c")
    title = escape(f"Bill of {body.member}, day {name_of_day}")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{title}</h1><p>{escape(body.plant)}, slots {body.first_slot} to "
        f"{body.end_slot - 1}; {escape(body.key)}; amounts in {escape(body.currency)}, above zero: "
        f"to the member.</p>{table}<table><thead><tr>{heads}</tr></thead><tbody>{rows}"
        f'<tr class="sum"><td colspan="5">Total</td><td class="n">{body.total}</td><td></td></tr>'
        "</tbody></table><p>Every line is an event in a receipt, given as height, receipt and "
        "event. <code>vppd market bill verify FILE --genesis genesis.toml</code> checks this "
        "file without a node.</p>"
        f'<script type="application/json" id="bill">{document}</script></body></html>\n'
    )


def _row(line: Line) -> str:
    what = _KINDS.get(line.kind, line.kind.replace("_", " "))
    if line.version is not None and line.version > 1:
        what += f", version {line.version}"
    if line.estimated:
        what += " (estimated)"
    price = "" if line.price_micro is None else format_micro(line.price_micro, 6)
    cells = [what, _text(line.slot), line.counterparty or ""]
    numbers = [_text(line.quantity_wh), price, line.amount]
    place = f"{line.height}/{line.receipt}/{line.event}"
    return (
        "<tr>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "".join(f'<td class="n">{escape(cell)}</td>' for cell in numbers)
        + f"<td>{place}</td></tr>"
    )


def _text(value: int | None) -> str:
    return "" if value is None else str(value)
