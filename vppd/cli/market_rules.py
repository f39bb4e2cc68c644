"""``vppd market contracts | rules | set``: what runs by itself on chain, and by which rules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vppd.cli.governance import Document, outcome, print_outcome, propose
from vppd.cli.online import HomeOption, genesis_of, with_client
from vppd.cli.output import Output, OutputOption, print_json, print_rows
from vppd.client.readings import moment_text
from vppd.errors import Exit, UserError
from vppd.ledger.changes import SetMarket
from vppd.ledger.contracts.registry import OWN
from vppd.market.calendar import TARIFFS, MarketCalendar, Settings, section_of
from vppd.market.money import format_micro

MOST_SLOT = 2**40 - 1


def contracts(
    kind: Annotated[str | None, typer.Option(help="Only contracts of this kind.")] = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Print the state machines on chain: where each stands and when it moves by itself.

    Raises:
        BadParameter: no contract of this chain is of that kind.
    """
    kinds = ["slot", *(kind.name for kind in OWN), *genesis_of(home).contracts.kinds]
    if kind is not None and kind not in kinds:
        known = ", ".join(kinds)
        raise typer.BadParameter(f"{kind!r} is none; there are {known}", param_hint="--kind")
    rows: list[Document] = with_client(home, lambda client: client.view("contracts"))
    rows = [row for row in rows if kind in (None, row["kind"])]
    if output is Output.JSON:
        print_json(rows)
    elif rows:
        print_rows([_contract(row) for row in rows], output)
    else:
        print("no contract" if kind is None else f"no contract of kind {kind}")


def rules(home: HomeOption = Path(), output: OutputOption = Output.TABLE) -> None:
    """Print the rules of the market: in force, and scheduled."""
    view: Document = with_client(home, lambda client: client.view("market"))
    if output is Output.JSON:
        print_json({"in_force": view["settings"], "changes": view["changes"]})
        return
    rows = [{"from_slot": "now", **_flat(view["settings"])}]
    rows += [{"from_slot": row["first_slot"], **_flat(row["rules"])} for row in view["changes"]]
    names = list(dict.fromkeys(name for row in rows for name in row))
    print_rows(
        [
            {"setting": name} | {f"{r['from_slot']}": r.get(name) for r in rows}
            for name in names[1:]
        ],
        output,
    )


def set_market(
    settings: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE…", help="As vppd market rules shows them.")
    ],
    first_slot: Annotated[
        int, typer.Option("--from", min=0, max=MOST_SLOT, help="First slot; not open yet.")
    ],
    key: Annotated[Path | None, typer.Option(help="The member's key; default: the node's.")] = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Propose other rules of the market from a slot on, or approve them."""
    change = SetMarket(first_slot, tuple(map(_setting, settings)))
    check_rules(with_client(home, lambda client: client.view("market")), change)
    print_outcome(outcome(propose(home, key, lambda _: (change,))), output)


def check_rules(view: Document, change: SetMarket) -> None:
    """What the ledger would refuse is refused here, with the reason in words.

    Raises:
        UserError: E502.
    """
    scheduled = view["changes"]
    latest = scheduled[-1]["rules"] if scheduled else view["settings"]
    settings: Settings = change.settings
    try:
        MarketCalendar(section_of(latest)).updated(0, settings)
    except ValueError as err:
        raise UserError(
            "E502",
            "these cannot be rules of the market",
            facts={"given": " ".join(f"{n}={v}" for n, v in settings), "why": str(err)},
            hint="vppd market rules shows names and units: micro-currency, milliseconds,\n"
            "tariffs as 23:00-07:00=380000/240000, …",
            exit_code=Exit.USAGE,
        ) from err


def _setting(word: str) -> tuple[str, int | str]:
    name, given, value = word.partition("=")
    if not (name and given and value):
        raise UserError(
            "E500",
            "this is no setting of the market",
            facts={"given": word},
            hint="NAME=VALUE, as gate_lead_ms=60000; vppd market rules shows the names",
            exit_code=Exit.USAGE,
        )
    if value in ("true", "false"):
        return name, int(value == "true")
    return name, int(value) if name != TARIFFS and value.isdecimal() else value


def _contract(row: Document) -> dict[str, Any]:
    due = row["next_ms"]
    return {
        "contract": row["contract"],
        "kind": row["kind"],
        "phase": row["phase"],
        "moves": "when called" if due is None else moment_text(due),
        "to": row["next"],
        "held": format_micro(row["held_micro"], 6),
        "owner": row["owner"],
        "terms": " ".join(f"{name}={value}" for name, value in row["terms"].items()),
    }


def _flat(settings: Document, prefix: str = "") -> Document:
    flat: Document = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
