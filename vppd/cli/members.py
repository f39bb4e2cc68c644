"""``vppd member`` and ``vppd meter enrol | control | retire`` (docs/members.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vppd.cli.acting import (
    MOST,
    FromOption,
    KeyOption,
    MemberArgument,
    ReasonOption,
    act,
    key_of,
    new_key,
    parse_pairs,
    show,
)
from vppd.cli.online import HomeOption, with_client
from vppd.cli.output import Output, OutputOption, print_json
from vppd.client.client import Client
from vppd.errors import Exit, UserError
from vppd.ledger.registration.meters import PAUSED, RETIRED, TAKEN
from vppd.ledger.registration.ops import (
    RegisterMember,
    RegisterMeter,
    SetAcquisition,
    SetParameters,
    SetStanding,
)
from vppd.ledger.registration.records import Standing
from vppd.ledger.transaction import Op


def list_members(home: HomeOption = Path(), output: OutputOption = Output.TABLE) -> None:
    """Print members: whom each belongs to, its standing, duties and meters."""
    columns = ("name", "aggregator", "standing", "duties", "meters", "key")
    show(home, "members", output, "this plant has no members", columns)


def register(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    new: Annotated[str, typer.Argument(metavar="KEY", help="Its public key, ed25519:…")],
    bus: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Where in the grid.")] = 0,
    aggregator: Annotated[str | None, typer.Option(help="The account it belongs to.")] = None,
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Register a new member: an account without money."""
    public = new_key(new)

    async def make(client: Client) -> Op:
        above = None if aggregator is None else await key_of(client, aggregator)
        return RegisterMember(public, name, bus, above)

    act(home, key, output, make)


def suspend(
    who: MemberArgument,
    reason: ReasonOption,
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Suspend a member: it sends nothing any more."""
    _stand(who, Standing.SUSPENDED, reason, key, home, output)


def restore(
    who: MemberArgument,
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a suspended or closed member act again."""
    _stand(who, Standing(0), "", key, home, output)


def close(
    who: MemberArgument,
    reason: ReasonOption,
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Close the account of a member that leaves, without money, debts or meters in use."""
    _stand(who, Standing.CLOSED, reason, key, home, output)


def parameters(
    who: MemberArgument, home: HomeOption = Path(), output: OutputOption = Output.TABLE
) -> None:
    """Print parameters of a member or a meter, and who set them."""
    view: dict[str, Any] = with_client(home, lambda client: client.view("parameters", who))
    if output is Output.JSON:
        print_json(view)
        return
    print(f"version {view['version']}")
    for name, value in view["parameters"].items():
        print(f"  {name} = {value}")
    for change in view["changes"]:
        words = ", ".join(f"{name}={value}" for name, value in change["set"].items())
        print(f"  {change['version']}: {words}, by {change['by']} at height {change['height']}")


def set_parameters(
    who: MemberArgument,
    settings: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE…", help="NAME= takes it away.")
    ],
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Set parameters of a member or a meter: a new version of them."""
    pairs = parse_pairs(settings)

    async def make(client: Client) -> Op:
        return SetParameters(await key_of(client, who), pairs)

    act(home, key, output, make)


def enrol(
    meter: Annotated[str, typer.Argument(metavar="KEY", help="The meter's public key.")],
    who: MemberArgument,
    first_slot: FromOption,
    import_wh: Annotated[int, typer.Option(min=0, max=MOST, help="Import register then.")] = 0,
    export_wh: Annotated[int, typer.Option(min=0, max=MOST, help="Export register then.")] = 0,
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Register a new meter for a member."""
    public = new_key(meter)

    async def make(client: Client) -> Op:
        owner = await key_of(client, who)
        return RegisterMeter(public, owner, first_slot, import_wh, export_wh)

    act(home, key, output, make)


def control(
    meter: Annotated[str, typer.Argument(metavar="KEY", help="The meter's public key.")],
    first_slot: FromOption,
    pause: Annotated[bool, typer.Option("--pause", help="No readings from there on.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Readings again.")] = False,
    every: Annotated[
        int, typer.Option(min=1, max=2**31, help="It reports the end of every so many slots.")
    ] = 1,
    reason: ReasonOption = "",
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Pause a meter's readings, take them again, or say how often it reports.

    Raises:
        UserError: E578, both at once.
    """
    if pause and resume:
        raise UserError(
            "E578",
            "a meter is paused or resumed, not both",
            hint="--pause, --resume, or neither with --every",
            exit_code=Exit.USAGE,
        )
    _control(meter, first_slot, PAUSED if pause else TAKEN, every, reason, key, home, output)


def retire(
    meter: Annotated[str, typer.Argument(metavar="KEY", help="The meter's public key.")],
    reason: ReasonOption,
    last_slot: Annotated[
        int, typer.Option("--last", min=0, max=MOST, help="The last slot it measures.")
    ],
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Retire a meter after a slot."""
    _control(meter, last_slot, RETIRED, 1, reason, key, home, output)


def _stand(
    who: str, standing: Standing, reason: str, key: Path | None, home: Path, output: Output
) -> None:
    async def make(client: Client) -> Op:
        return SetStanding(await key_of(client, who), standing, reason)

    act(home, key, output, make)


def _control(
    meter: str,
    slot: int,
    mode: int,
    every: int,
    reason: str,
    key: Path | None,
    home: Path,
    output: Output,
) -> None:
    public = new_key(meter)

    async def make(_: Client) -> Op:
        return SetAcquisition(public, slot, mode, every, reason)

    act(home, key, output, make)
