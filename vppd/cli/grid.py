"""``vppd grid check``: a grid model, its voltages and loadings, and what trades it carries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from msgspec.structs import replace

from vppd.cli.output import Output, OutputOption, Row, print_json, table
from vppd.config.grid import Grid
from vppd.config.grid_file import contradictory, load_grid
from vppd.config.toml import read_bytes
from vppd.errors import Exit, UserError
from vppd.market.grid.flow import Feeder, Flow
from vppd.market.grid.routing import Paths
from vppd.market.grid.security import Check, Deal
from vppd.market.money import div_half_even, format_micro
from vppd.types import PPM

_MOST = 2**50
"""W or Wh."""


class TradeIn(msgspec.Struct, forbid_unknown_fields=True):
    """A trade to try, as written."""

    seller_bus: int
    buyer_bus: int
    quantity_wh: Annotated[int, msgspec.Meta(ge=1, le=_MOST)]


def check(
    file: Annotated[Path, typer.Argument(help="A genesis.toml, or a TOML file of a [grid] alone.")],
    load: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BUS=W",
            help="Power taken at a bus besides the model's own loads, negative if given; repeat "
            "it for more.",
        ),
    ] = None,
    trades: Annotated[
        Path | None,
        typer.Option(help="JSON list of trades to try: seller_bus, buyer_bus, quantity_wh."),
    ] = None,
    minutes: Annotated[
        int, typer.Option(min=1, max=1_440, help="How long the trades' slot lasts in the market.")
    ] = 15,
    output: OutputOption = Output.TABLE,
) -> None:
    """Check a grid model, and print its voltages, its loadings and which trades it carries.

    Raises:
        UserError: E540–E544; a model that contradicts itself, or loads and trades that cannot be.
        Exit: 1; a limit does not hold.
    """
    grid, found = load_grid(read_bytes(file, hint="a genesis.toml with a [grid]"), file)
    if found:
        raise contradictory(found, file)
    feeder = Feeder(_loaded(grid, load or []))
    document = _document(feeder, _deals(trades, grid), minutes)
    if output is Output.JSON:
        print_json(document)
    else:
        _print(document)
    if not document["holds"]:
        raise typer.Exit(Exit.FAILED)


def _loaded(grid: Grid, loads: list[str]) -> Grid:
    """The grid with more load on some buses."""
    more: dict[int, int] = {}
    for text in loads:
        left, _, right = text.partition("=")
        try:
            bus, watt = int(left), int(right)
        except ValueError as err:
            raise _bad_load(text, "not a bus, = and whole watts") from err
        if not grid.has_bus(bus):
            raise _bad_load(text, f"the grid has no bus {bus}")
        if abs(watt) > _MOST:
            raise _bad_load(text, f"at most {_MOST} W either way")
        more[bus] = more.get(bus, 0) + watt
    buses = tuple(replace(bus, load_w=bus.load_w + more.get(bus.id, 0)) for bus in grid.buses)
    return replace(grid, buses=buses)


def _bad_load(text: str, why: str) -> UserError:
    return UserError(
        "E542",
        "a load cannot be put on the grid",
        facts={"given": text, "why": why},
        hint="--load 17=2500 takes 2.5 kW at bus 17, --load 17=-2500 gives them",
        exit_code=Exit.USAGE,
    )


def _deals(file: Path | None, grid: Grid) -> list[Deal]:
    if file is None:
        return []
    try:
        entries = msgspec.json.decode(file.read_bytes(), type=list[TradeIn])
    except OSError as err:
        raise _bad_trades(file, err.strerror or str(err)) from err
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise _bad_trades(file, str(err)) from err
    for i, entry in enumerate(entries):
        for bus in (entry.seller_bus, entry.buyer_bus):
            if not grid.has_bus(bus):
                raise _bad_trades(file, f"[{i}]: the grid has no bus {bus}")
    return [Deal(entry.seller_bus, entry.buyer_bus, entry.quantity_wh) for entry in entries]


def _bad_trades(file: Path, why: str) -> UserError:
    return UserError(
        "E543",
        "a file of trades cannot be used",
        facts={"file": str(file), "why": why},
        hint='[{"seller_bus": 17, "buyer_bus": 3, "quantity_wh": 1500}]',
    )


def _document(feeder: Feeder, deals: list[Deal], minutes: int) -> dict[str, Any]:
    """Everything the command prints."""
    check_ = Check(feeder, minutes)
    kept = check_.admit_all(deals)
    flow = check_.flow()
    violations = feeder.violations(flow)
    return {
        "holds": not violations,
        "loss_w": None if flow is None else div_half_even(flow.loss_mw, 1_000),
        "sweeps": None if flow is None else flow.sweeps,
        "buses": [
            {
                "bus": bus.id,
                "name": bus.name,
                "load_w": bus.load_w,
                "voltage_ppm": None if flow is None else feeder.voltage_ppm(flow.v[i]),
            }
            for i, bus in enumerate(feeder.grid.buses)
        ],
        "lines": [_line(feeder, flow, number) for number in range(len(feeder.grid.lines))],
        "violations": [
            {
                "limit": violation.limit.name.lower(),
                "where": violation.where,
                "value_ppm": violation.value,
            }
            for violation in violations
        ],
        "trades": [
            _trade(feeder, deal, taken, minutes) for deal, taken in zip(deals, kept, strict=True)
        ],
    }


def _line(feeder: Feeder, flow: Flow | None, number: int) -> dict[str, Any]:
    line = feeder.grid.lines[number]
    known: dict[str, Any] = dict.fromkeys(("power_w", "reactive_var", "loss_w", "loading_ppm"))
    if flow is not None:
        p, q = feeder.entering(flow, number)
        known = {
            "power_w": div_half_even(p, 1_000),
            "reactive_var": div_half_even(q, 1_000),
            "loss_w": div_half_even(flow.p[number] - flow.p_end[number], 1_000),
            "loading_ppm": feeder.loading_ppm(flow, number),
        }
    return {"line": number, "from": line.start, "to": line.end, "open": line.open, **known}


def _trade(feeder: Feeder, deal: Deal, kept: int, minutes: int) -> dict[str, Any]:
    route = Paths(feeder.grid).route(0, deal.seller_bus, deal.buyer_bus, kept, minutes)
    return {
        "seller_bus": deal.seller_bus,
        "buyer_bus": deal.buyer_bus,
        "quantity_wh": deal.quantity_wh,
        "kept_wh": kept,
        "lines": None if route is None else list(route.lines),
        "loss_mwh": None if route is None else route.loss_mwh,
    }


def _print(document: dict[str, Any]) -> None:
    buses: list[Row] = [
        {
            "bus": bus["bus"],
            "name": bus["name"] or None,
            "load_w": bus["load_w"],
            "voltage": _share(bus["voltage_ppm"]),
        }
        for bus in document["buses"]
    ]
    lines: list[Row] = [
        {
            "line": line["line"],
            "from": line["from"],
            "to": line["to"],
            "power_w": line["power_w"],
            "reactive_var": line["reactive_var"],
            "loss_w": line["loss_w"],
            "loading": "open" if line["open"] else _share(line["loading_ppm"]),
        }
        for line in document["lines"]
    ]
    trades: list[Row] = [
        {
            "seller_bus": trade["seller_bus"],
            "buyer_bus": trade["buyer_bus"],
            "quantity_wh": trade["quantity_wh"],
            "kept_wh": trade["kept_wh"],
            "lines": " ".join(map(str, trade["lines"])) or "-",
            "loss_wh": format_micro(trade["loss_mwh"] * 1_000, 3),
        }
        for trade in document["trades"]
    ]
    for title, rows in (
        ("buses, voltage per unit of nominal", buses),
        ("lines, loading per unit of rating", lines),
        ("trades and what the grid carries of them", trades),
    ):
        if rows:
            print("\n".join([title, *table(rows)]))
            print()
    if document["loss_w"] is not None:
        print(f"all lines together lose {document['loss_w']} W")
    for violation in document["violations"]:
        print(_broken(violation))
    if document["holds"]:
        print("every limit holds")


def _broken(violation: dict[str, Any]) -> str:
    where, value = violation["where"], _share(violation["value_ppm"])
    match violation["limit"]:
        case "collapse":
            return "no voltages carry this load"
        case "too_low":
            return f"the voltage of bus {where} is too low: {value} of nominal"
        case "too_high":
            return f"the voltage of bus {where} is too high: {value} of nominal"
        case _:
            return f"line {where} is overloaded: {value} of its rating"


def _share(ppm: int | None) -> str | None:
    """Parts per million as a plain number with five decimals."""
    return None if ppm is None else f"{ppm // PPM}.{ppm % PPM * 100_000 // PPM:05d}"
