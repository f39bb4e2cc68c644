"""``vppd market permissions | grant | revoke | intervene``: duties, and the operators' quorum."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from vppd.cli.acting import KeyOption, MemberArgument, ReasonOption, key_of, show
from vppd.cli.governance import latest_era, outcome, print_outcome, send_op
from vppd.cli.online import HomeOption, with_client
from vppd.cli.output import Output, OutputOption
from vppd.client.client import Client
from vppd.errors import Exit, UserError
from vppd.ledger.changes import Bar, Change, Configure, Grant, ReleaseContract, Revoke, VoidOrders
from vppd.ledger.registration.records import Duty


class DutyName(StrEnum):
    """Duties, as typed."""

    COMMERCIAL = "commercial"
    TECHNICAL = "technical"
    REGISTRAR = "registrar"
    AGGREGATOR = "aggregator"


class Step(StrEnum):
    """Interventions, as typed."""

    BAR = "bar"
    UNBAR = "unbar"
    VOID = "void"
    RELEASE = "release"


DutyArgument: TypeAlias = Annotated[DutyName, typer.Argument(metavar="DUTY", help="Which.")]


def permissions(home: HomeOption = Path(), output: OutputOption = Output.TABLE) -> None:
    """Print who has which duty."""
    show(home, "permissions", output, "nobody has a duty", ("duty", "account", "granted"))


def grant(
    who: MemberArgument,
    duty: DutyArgument,
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Propose to give a member a duty, or approve it."""

    async def make(client: Client) -> Change:
        return Grant(await key_of(client, who), Duty[duty.name])

    _propose(home, key, output, make)


def revoke(
    who: MemberArgument,
    duty: DutyArgument,
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Propose to take a duty away from a member, or approve it."""

    async def make(client: Client) -> Change:
        return Revoke(await key_of(client, who), Duty[duty.name])

    _propose(home, key, output, make)


def intervene(
    step: Annotated[Step, typer.Argument(help="What is to be done.")],
    target: Annotated[str, typer.Argument(help="Name or key; number of the slot or contract.")],
    reason: ReasonOption,
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Propose to bar or unbar a member, void a slot's orders, release a contract; or approve it."""

    async def make(client: Client) -> Change:
        match step:
            case Step.BAR | Step.UNBAR:
                return Bar(await key_of(client, target), step is Step.BAR, reason)
            case Step.VOID:
                return VoidOrders(_number(target), reason)
            case Step.RELEASE:
                return ReleaseContract(_number(target), reason)

    _propose(home, key, output, make)


def _propose(
    home: Path,
    key: Path | None,
    output: Output,
    make: Callable[[Client], Awaitable[Change]],
) -> None:
    change = with_client(home, make)
    sent = send_op(home, key, lambda view: Configure(latest_era(view)["epoch"], (change,)))
    print_outcome(outcome(sent), output)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise UserError(
            "E582",
            "this is no number of a slot or contract",
            facts={"given": text},
            hint="vppd market contracts shows both",
            exit_code=Exit.USAGE,
        )
    return int(text)
