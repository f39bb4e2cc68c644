"""``vppd project`` and ``vppd event``: demand response (docs/events.md)."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from vppd.cli.acting import (
    MOST,
    FromOption,
    KeyOption,
    NumberArgument,
    ReasonOption,
    act,
    key_of,
    show,
    simply,
)
from vppd.cli.online import HomeOption, with_client
from vppd.cli.output import Output, OutputOption, print_json, print_rows
from vppd.client.client import Client
from vppd.codec import encode
from vppd.config.values import parse_decimal
from vppd.errors import Exit, UserError
from vppd.ledger.contracts.ops import CallContract, OpenContract
from vppd.ledger.kinds.event import CANCEL, RESPOND, Cancel, Respond
from vppd.ledger.kinds.project import DELETE, JOIN, LEAVE, RELEASE, UPDATE, Join
from vppd.ledger.response.calls import EVENT, ORDER_PRIORITY, PROJECT, EventTerms, ProjectTerms
from vppd.ledger.transaction import Op
from vppd.market.response import Signal

Document = dict[str, Any]

TitleArgument: TypeAlias = Annotated[str, typer.Argument(metavar="TITLE", help="What to call it.")]
PriceOption: TypeAlias = Annotated[str, typer.Option(help="Paid per kWh of effect, e.g. 0.20.")]
CapacityOption: TypeAlias = Annotated[
    int, typer.Option(min=1, max=MOST, help="The most one member can commit, in W.")
]
DaysOption: TypeAlias = Annotated[
    int, typer.Option(min=1, max=10, help="Days whose mean is the baseline; 1: the day before.")
]
NoticeOption: TypeAlias = Annotated[
    int, typer.Option(min=0, max=10_000, help="Slots between the issue of an event and its first.")
]
PurposeOption: TypeAlias = Annotated[str, typer.Option(help="What it is for.")]


class SignalName(StrEnum):
    """What an event asks for, as typed."""

    REDUCE = "reduce"
    INCREASE = "increase"
    LIMIT = "limit"


class Answered(StrEnum):
    """What a called member says, as typed."""

    IN = "in"
    OUT = "out"


# ---------------------------------------------------------------- projects


def list_projects(home: HomeOption = Path(), output: OutputOption = Output.TABLE) -> None:
    """Print projects: their terms and members."""
    columns = (
        "project", "title", "phase", "version", "price_micro", "capacity_w", "baseline_days",
        "notice_slots", "owner", "members",
    )  # fmt: skip
    show(home, "projects", output, "no project", columns)


def build(
    title: TitleArgument,
    price: PriceOption,
    capacity_w: CapacityOption,
    baseline_days: DaysOption = 5,
    notice_slots: NoticeOption = 4,
    purpose: PurposeOption = "",
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Build a project for demand response, as a draft."""
    terms = ProjectTerms(title, _price(price), capacity_w, baseline_days, notice_slots, purpose)
    act(home, key, output, simply(OpenContract(PROJECT, encode(terms))))


def update(
    number: NumberArgument,
    title: TitleArgument,
    price: PriceOption,
    capacity_w: CapacityOption,
    baseline_days: DaysOption = 5,
    notice_slots: NoticeOption = 4,
    purpose: PurposeOption = "",
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Give a project other terms; its members agree to them by joining anew."""
    terms = ProjectTerms(title, _price(price), capacity_w, baseline_days, notice_slots, purpose)
    act(home, key, output, simply(CallContract(number, UPDATE, encode(terms))))


def release(
    number: NumberArgument,
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Release a project: members may join."""
    act(home, key, output, simply(CallContract(number, RELEASE, b"")))


def delete(
    number: NumberArgument,
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Delete a project of which no event is left."""
    act(home, key, output, simply(CallContract(number, DELETE, b"")))


def join(
    number: NumberArgument,
    capacity_w: Annotated[
        int, typer.Option(min=1, max=MOST, help="What you can change your power by, in W.")
    ],
    auto: Annotated[
        bool, typer.Option("--auto", help="Opt in to every event without being asked.")
    ] = False,
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Join a project, or agree to its terms as they are now."""

    async def make(client: Client) -> Op:
        found = _find(await client.view("projects"), "project", number)
        return CallContract(number, JOIN, encode(Join(capacity_w, found["version"], auto)))

    act(home, key, output, make)


def leave(
    number: NumberArgument,
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Leave a project."""
    act(home, key, output, simply(CallContract(number, LEAVE, b"")))


# ---------------------------------------------------------------- events


def list_events(home: HomeOption = Path(), output: OutputOption = Output.TABLE) -> None:
    """Print events and orders that are not over."""
    columns = (
        "event", "project", "signal", "first_slot", "last_slot", "target_w", "priority", "phase",
        "binding", "issuer", "members",
    )  # fmt: skip
    show(home, "events", output, "no event", columns)


def show_event(
    number: NumberArgument, home: HomeOption = Path(), output: OutputOption = Output.TABLE
) -> None:
    """Print one event, and where each called member stands."""
    rows: list[Document] = with_client(home, lambda client: client.view("events"))
    found = _find(rows, "event", number)
    if output is Output.JSON:
        print_json(found)
        return
    members = found.pop("members")
    width = max(map(len, found))
    print("\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in found.items()))
    print()
    print_rows(members, output)


def issue(
    first_slot: FromOption,
    project: Annotated[
        int | None, typer.Option(min=0, max=MOST, help="Whose members it calls.")
    ] = None,
    order: Annotated[
        bool, typer.Option("--order", help="A binding order of the operator, without a project.")
    ] = False,
    slots: Annotated[int, typer.Option(min=1, max=96, help="How many.")] = 1,
    signal: Annotated[SignalName, typer.Option(help="What it asks for.")] = SignalName.REDUCE,
    power_w: Annotated[
        int, typer.Option(min=0, max=MOST, help="By how much; of a limit: at most so much.")
    ] = 0,
    priority: Annotated[
        int, typer.Option(min=0, max=254, help="Above it, other events call members away.")
    ] = 0,
    member: Annotated[
        list[str] | None, typer.Option(help="Call this one; default: all that agree.")
    ] = None,
    replaces: Annotated[
        int | None, typer.Option(min=0, max=MOST, help="Cancel that event.")
    ] = None,
    reason: ReasonOption = "",
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Issue an event to members of a project, or a binding order.

    Raises:
        UserError: E580, neither or both.
    """
    if order == (project is not None):
        raise UserError(
            "E580",
            "an event is of a project, or it is an order",
            hint="--project NUMBER, or --order with --member and --reason",
            exit_code=Exit.USAGE,
        )

    async def make(client: Client) -> Op:
        called = [await key_of(client, who) for who in member or ()]
        terms = EventTerms(
            project,
            Signal[signal.name],
            first_slot,
            first_slot + slots - 1,
            power_w,
            ORDER_PRIORITY if order else priority,
            tuple(sorted(set(called))),
            replaces,
            reason,
        )
        return OpenContract(EVENT, encode(terms))

    act(home, key, output, make)


def respond(
    number: NumberArgument,
    answer: Annotated[Answered, typer.Argument(help="in or out.")],
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Opt in to an event that calls you, or out of it."""
    said = Respond(answer is Answered.IN)
    act(home, key, output, simply(CallContract(number, RESPOND, encode(said))))


def cancel(
    number: NumberArgument,
    reason: ReasonOption,
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Cancel an event; one that runs ends with the slot under way."""
    act(home, key, output, simply(CallContract(number, CANCEL, encode(Cancel(reason)))))


def _price(text: str) -> int:
    try:
        return parse_decimal(text)
    except ValueError as err:
        raise UserError(
            "E581",
            "the price is not a decimal number per kWh",
            facts={"given": text, "why": str(err)},
            hint="0.20, or 0.205001: at most six decimals",
            exit_code=Exit.USAGE,
        ) from err


def _find(rows: list[Document], what: str, number: int) -> Document:
    found = next((row for row in rows if row[what] == number), None)
    if found is None:
        raise UserError(
            "E579",
            f"there is no {what} {number}, or not any more",
            facts={f"{what}s": " ".join(str(row[what]) for row in rows) or "none"},
            hint=f"vppd {what} list; what is over stands in the receipts",
            exit_code=Exit.USAGE,
        )
    return found
