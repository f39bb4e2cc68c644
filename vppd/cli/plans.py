"""``vppd market plan``, ``forecast``, ``resource`` and ``resources``: what is meant to happen."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from vppd.cli.market import KeyOption, SlotOption, WaitOption
from vppd.cli.online import HomeOption, account_of, genesis_of, node_config, submit, with_client
from vppd.cli.output import Output, OutputOption, print_json, print_rows
from vppd.cli.tx import print_state, require_success
from vppd.client.client import Client
from vppd.config.keys import load_key
from vppd.errors import Exit, UserError
from vppd.ledger.plan_ops import MOST_AT_ONCE, Forecast, Plan, RegisterResource, RetireResource
from vppd.ledger.resources import MOST_RESOURCES, ResourceKind
from vppd.ledger.transaction import Op, make_transaction
from vppd.net.requests import TxState
from vppd.types import PPM, Digest, Slot, Wh

LIFETIME_BLOCKS = 1_000
MOST = 2**63 - 1

WattsOption: TypeAlias = Annotated[int, typer.Option(min=0, max=MOST, help="Limit of power in W.")]
EnergyOption: TypeAlias = Annotated[
    int, typer.Option(min=0, max=MOST, help="Of a store, energy in Wh.")
]
ShareOption: TypeAlias = Annotated[
    int, typer.Option(min=1, max=PPM, help="Of a store, parts per million.")
]
EnergiesOption: TypeAlias = Annotated[
    str | None, typer.Option(help="Wh in the slot and those after it, with commas.")
]


class Kind(StrEnum):
    """Kinds of resources, as typed."""

    PV = "pv"
    WIND = "wind"
    LOAD = "load"
    FLEXIBLE = "flexible"
    BATTERY = "battery"
    VEHICLE = "vehicle"


def plan(
    imports: Annotated[
        str | None,
        typer.Option("--import", help="Wh to take in the slot and those after it, with commas."),
    ] = None,
    exports: Annotated[
        str | None,
        typer.Option("--export", help="Wh to give in the slot and those after it, with commas."),
    ] = None,
    resource: Annotated[
        int, typer.Option(min=0, max=MOST_RESOURCES, help="Its number; 0: the member as a whole.")
    ] = 0,
    slot: SlotOption = None,
    key: KeyOption = None,
    wait: WaitOption = False,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Print what is planned and forecast for a slot; with energies, plan it.

    Raises:
        UserError: E552, energies that make no plan.
    """
    if imports is None and exports is None:
        _print_plans(slot, home, output)
        return
    taken, given = _pair(imports, exports, "--import", "--export")
    _send(lambda first: Plan(resource, first, taken, given), slot, key, wait, home, output)


def forecast(
    load: EnergiesOption = None,
    generation: EnergiesOption = None,
    slot: SlotOption = None,
    key: KeyOption = None,
    wait: WaitOption = False,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Publish an operator's forecast of the plant's load and generation.

    Raises:
        UserError: E552, energies that make no forecast.
    """
    used, made = _pair(load, generation, "--load", "--generation")
    _send(lambda first: Forecast(first, used, made), slot, key, wait, home, output)


def resource(
    number: Annotated[
        int, typer.Argument(min=1, max=MOST_RESOURCES, help="Of your choice; replaces what has it.")
    ],
    kind: Annotated[Kind | None, typer.Argument(help="What it is.")] = None,
    max_import_w: WattsOption = 0,
    max_export_w: WattsOption = 0,
    capacity_wh: EnergyOption = 0,
    level_wh: EnergyOption = 0,
    import_efficiency_ppm: ShareOption = PPM,
    export_efficiency_ppm: ShareOption = PPM,
    retire: Annotated[bool, typer.Option("--retire", help="You no longer have it.")] = False,
    key: KeyOption = None,
    wait: WaitOption = False,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Say what a member owns, so that its plans are held against the limits.

    Raises:
        UserError: E553, neither a kind nor --retire.
    """
    if retire == (kind is not None):
        raise UserError(
            "E553",
            "a resource has a kind, or is retired",
            hint="vppd market resource 1 battery --capacity-wh 8000 --max-import-w 3000 "
            "--max-export-w 3000, or vppd market resource 1 --retire",
            exit_code=Exit.USAGE,
        )
    op: Op = RetireResource(number)
    if kind is not None:
        op = RegisterResource(
            number,
            ResourceKind[kind.name],
            max_import_w,
            max_export_w,
            capacity_wh,
            level_wh,
            import_efficiency_ppm,
            export_efficiency_ppm,
        )
    _send(lambda _: op, 0, key, wait, home, output)


def resources(home: HomeOption = Path(), output: OutputOption = Output.TABLE) -> None:
    """Print what members say they own."""

    async def work(client: Client) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await client.view("resources")
        return found

    rows = with_client(home, work)
    if rows or output is Output.JSON:
        print_rows(rows, output)
    else:
        print("no resources")


def _print_plans(slot: Slot | None, home: Path, output: Output) -> None:
    async def work(client: Client) -> dict[str, Any]:
        target = slot if slot is not None else (await client.view("market"))["open_slot"]
        found: dict[str, Any] = await client.view("plan", str(target))
        return found

    view = with_client(home, work)
    if output is Output.JSON:
        print_json(view)
        return
    rows = [
        {
            "who": plan["account"],
            "what": "plan",
            "side": plan["side"],
            "import_wh": plan["import_wh"],
            "export_wh": plan["export_wh"],
            "version": plan["version"],
        }
        for plan in view["plans"]
    ]
    rows += [
        {
            "who": plan["account"],
            "what": f"resource {flow['resource']}",
            "side": None,
            "import_wh": flow["import_wh"],
            "export_wh": flow["export_wh"],
            "version": None,
        }
        for plan in view["plans"]
        for flow in plan["resources"]
    ]
    rows += [
        {
            "who": forecast["operator"],
            "what": "forecast",
            "side": None,
            "import_wh": forecast["load_wh"],
            "export_wh": forecast["generation_wh"],
            "version": forecast["version"],
        }
        for forecast in view["forecasts"]
    ]
    if rows:
        print_rows(rows, output)
    else:
        print(f"nothing is planned for slot {view['slot']}")


def _send(
    made: Callable[[Slot], Op],
    slot: Slot | None,
    key: Path | None,
    wait: bool,
    home: Path,
    output: Output,
) -> None:
    genesis = genesis_of(home)
    signer = load_key(key or node_config(home).key_file)

    async def work(client: Client) -> tuple[Digest, TxState | None]:
        account = await account_of(client, signer.public_key)
        first = slot if slot is not None else (await client.view("market"))["open_slot"]
        expiry = account["height"] + LIFETIME_BLOCKS
        raw = make_transaction(signer, genesis.digest, account["nonce"], expiry, (made(first),))
        tx_id = await submit(client, raw)
        return tx_id, await client.wait(tx_id, raw) if wait else None

    tx_id, state = with_client(home, work)
    print_state(tx_id, state, output)
    require_success(state)


def _pair(
    one: str | None, other: str | None, name: str, other_name: str
) -> tuple[tuple[Wh, ...], tuple[Wh, ...]]:
    """Two lists of energies of one length; one that is left out is all zeros."""
    first, second = _energies(one, name), _energies(other, other_name)
    if not first and not second:
        raise _no_plan(f"neither {name} nor {other_name}")
    first = first or (0,) * len(second)
    second = second or (0,) * len(first)
    if len(first) != len(second):
        raise _no_plan(f"{len(first)} slots in {name}, {len(second)} in {other_name}")
    if len(first) > MOST_AT_ONCE:
        raise _no_plan(f"{len(first)} slots at once, at most {MOST_AT_ONCE}")
    return first, second


def _energies(text: str | None, name: str) -> tuple[Wh, ...]:
    if text is None:
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and int(part) <= MOST for part in parts):
        raise _no_plan(f"{text!r} in {name} are not whole numbers of Wh")
    return tuple(map(int, parts))


def _no_plan(why: str) -> UserError:
    return UserError(
        "E552",
        "these energies make no plan",
        facts={"why": why},
        hint="vppd market plan --import 500,0,0 --export 0,0,700",
        exit_code=Exit.USAGE,
    )
