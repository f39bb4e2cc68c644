"""``vppd market paths``: what the security check made of a slot, and the path of each trade."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vppd.cli.market import SlotOption
from vppd.cli.online import HomeOption, with_client
from vppd.cli.output import Output, OutputOption, Row, print_json, table
from vppd.client.client import Client
from vppd.market.money import format_micro


def paths(
    slot: SlotOption = None, home: HomeOption = Path(), output: OutputOption = Output.TABLE
) -> None:
    """Print the path queue of a slot; default: the last one whose gate has closed."""

    async def work(client: Client) -> Any:
        last = (await client.view("market"))["open_slot"] - 1
        return await client.view("paths", str(max(0, last) if slot is None else slot))

    found: dict[str, Any] = with_client(home, work)
    if output is Output.JSON:
        print_json(found)
        return
    rows: list[Row] = [
        {
            "trade": trade["trade_id"],
            "seller": trade["seller"],
            "buyer": trade["buyer"],
            "quantity_wh": trade["quantity_wh"],
            "cut_wh": trade["cut_wh"],
            "round": trade["round"],
            "lines": " ".join(map(str, trade["lines"])) or None,
            "loss_wh": format_micro(trade["loss_mwh"] * 1_000, 3),
        }
        for trade in found["trades"]
    ]
    print("\n".join(table(rows)) if rows else f"no trades in slot {found['slot']}")
    print()
    print(f"paths  {found['paths']}")
    lowest, highest, fullest = (
        format_micro(found[name], 4) for name in ("lowest_ppm", "highest_ppm", "fullest_ppm")
    )
    print(
        f"grid   {lowest} to {highest} of nominal voltage, fullest line {fullest} of its rating, "
        f"losses {format_micro(found['loss_mw'] * 1_000, 3)} W"
    )
    if not found["base_holds"]:
        print("       its limits do not hold even without a trade")
    if not found["complete"]:
        print("       checking it all was too much work: some trades were cut unseen")
