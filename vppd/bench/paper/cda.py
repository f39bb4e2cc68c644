"""P3, Tables 6 and 7: two slots of six aggregators, cleared by the rules of ``vppd market clear``.

``data/p3_tables.json`` has the tables' figures: orders as ``[id, price, reserve, kWh, credit]``
(Tables 2 to 5), printed matches as ``[seller, buyer, kWh, price, round]`` (Tables 6 and 7), and the
order in which the orders are taken to have arrived.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, Final

from vppd.bench.paper.figure import Experiment, Result, ratio
from vppd.bench.plots import MUTED, SERIES, legend, plain
from vppd.market.clearing_file import ClearingOut, clear_file
from vppd.market.money import amount_micro, parse_decimal_micro

RULES: Final = ("paper003", "literal003")
ASSUMED: Final = [
    "The paper states no order of arrival. S1, B6, B4, B3, B5, S2 for t = 2 and B4, S6, S2, S1, "
    "S5, B3 for t = 13 give its tables, row by row; 52 and 12 of 720 orders do.",
    "The book is continuous: an arriving order meets the best resting one. One sort of the whole "
    "queue, as the text has it, fits only one of the two tables.",
    "An offer may lie up to 0.002 above a bid: the table trades 2-3 and 2-5 at an offer of 0.320 "
    "and a bid of 0.318, which equation (3) rules out.",
    "In round 2 only buyers move to their reserve price, as the table does; the text says both.",
    "Equation (4) swaps its indices; ξ is the seller's share of both credits and weighs the "
    "buyer's price, as the table computes it.",
    "literal003 takes the text at its word instead: one sorted call, no tolerance, both concede.",
    "The paper prints no money; seller income and buyer cost are worked out from either's rows "
    "and the grid's prices for what is left.",
]


def tables() -> dict[str, Any]:
    """The paper's figures, by slot."""
    file = resources.files("vppd.bench.paper").joinpath("data", "p3_tables.json")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def simulated() -> Experiment:
    """Both slots under both readings of the paper."""
    paper: dict[str, Any] = {}
    ours: dict[str, Any] = {"mode": "sim"}
    ratios: dict[str, float | None] = {}
    rows: list[tuple[str, str, str]] = []
    same = every = 0
    for name, case in tables().items():
        cleared = {rules: clear_file(document(case, rules), rules, source=name) for rules in RULES}
        paper[name] = {"matches": [_named(row) for row in case["printed"]],
                       "residual": case["residual"]}  # fmt: skip
        ours[name] = {
            rules: {
                "matches": [_named(row) for row in _matches(made)],
                "residuals": [_residual(r) for r in made["residuals"]],
                "money": money(case, made),
            }
            for rules, made in cleared.items()
        }
        mine = _matches(cleared["paper003"])
        for i, printed in enumerate(case["printed"]):
            got = mine[i] if i < len(mine) else None
            every += 1
            same += got == printed
            pair = f"{printed[0][1:]}-{printed[1][1:]}"
            if got is not None and got[:2] == printed[:2]:
                ratios[f"{name}_{pair}_price"] = ratio(float(got[3]), float(printed[3]))
            rows.append((f"{name}: {pair}", _said(printed), "–" if got is None else _said(got)))
        left = [_residual(r) for r in cleared["paper003"]["residuals"]]
        every += 1
        same += left == [case["residual"]]
        rows.append((f"{name}: left for the grid", " ".join(case["residual"]),
                     "; ".join(" ".join(r) for r in left)))  # fmt: skip
    ours["rows_alike"], ours["rows"] = same, every
    ratios["rows_alike"] = ratio(same, every)
    result = Result(figure="cda", paper=paper, ours=ours, ratios=ratios, assumptions=ASSUMED)
    return Experiment(result, "P3, Tables 6 and 7: the continuous double auction",
                      lambda figure: _draw(figure, paper, ours), (8, 3.2), rows)  # fmt: skip


def document(case: dict[str, Any], rules: str) -> bytes:
    """A slot as a file of orders, in fitted order of arrival; as listed for the literal text."""
    listed = {entry[0]: entry for entry in case["orders"]}
    arrival = case["arrival"] if rules == "paper003" else list(listed)
    orders = [
        {
            "id": id_, "agent": f"Agg{id_[1:]}", "side": "offer" if id_[0] == "S" else "bid",
            "quantity_wh": _wh(kwh), "price": price, "reserve_price": reserve, "credit": credit,
        }
        for id_, price, reserve, kwh, credit in (listed[name] for name in arrival)
    ]  # fmt: skip
    tariff = {"retail_price": case["retail"], "feed_in_price": case["feed_in"]}
    return json.dumps({"tariff": tariff, "orders": orders}).encode()


def money(case: dict[str, Any], made: ClearingOut) -> dict[str, float]:
    """Yuan: what sellers get and buyers pay, with the market and with the grid alone."""
    retail, feed_in = (parse_decimal_micro(case[name]) for name in ("retail", "feed_in"))
    inside = sum(amount_micro(t["quantity_wh"], t["price_micro"]) for t in made["trades"])
    left = {"offer": 0, "bid": 0}
    for residual in made["residuals"]:
        left[residual["side"]] += residual["quantity_wh"]
    listed = {"S": 0, "B": 0}
    for id_, _, _, kwh, _ in case["orders"]:
        listed[id_[0]] += _wh(kwh)
    micro = {
        "seller_income": inside + amount_micro(left["offer"], feed_in),
        "buyer_cost": inside + amount_micro(left["bid"], retail),
        "seller_income_grid_only": amount_micro(listed["S"], feed_in),
        "buyer_cost_grid_only": amount_micro(listed["B"], retail),
    }
    return {name: round(value / 1e6, 2) for name, value in micro.items()}


def _matches(made: ClearingOut) -> list[list[Any]]:
    return [
        [t["offer_id"], t["bid_id"], _kwh(t["quantity_wh"]), t["price"], t["round"]]
        for t in made["trades"]
    ]


def _named(row: list[Any]) -> dict[str, Any]:
    return dict(zip(("seller", "buyer", "kwh", "price", "round"), row, strict=True))


def _residual(residual: Any) -> list[str]:
    price = f"{float(residual['price']):.3f}"
    return [residual["order_id"], _kwh(residual["quantity_wh"]), price]


def _said(row: list[Any]) -> str:
    _, _, kwh, price, round_ = row
    return f"{kwh} kWh at {price}, round {round_}"


def _wh(kwh: str) -> int:
    return parse_decimal_micro(kwh) // 1_000


def _kwh(wh: int) -> str:
    return f"{wh // 1_000}.{wh % 1_000:03}".rstrip("0").rstrip(".")


def _draw(figure: Any, paper: dict[str, Any], ours: dict[str, Any]) -> None:
    for axes, name in zip(figure.subplots(1, 2), paper, strict=True):
        printed, mine = paper[name]["matches"], ours[name]["paper003"]["matches"]
        at = range(len(printed))
        axes.plot(at, [float(m["price"]) for m in printed], "o", mfc="none", ms=9, mew=1.4,
                  color=SERIES[1], label="printed")  # fmt: skip
        axes.plot(range(len(mine)), [float(m["price"]) for m in mine], "x", ms=6, mew=1.6,
                  color=SERIES[0], label="ours")  # fmt: skip
        axes.set_xticks(at, [f"{m['seller'][1:]}-{m['buyer'][1:]}" for m in printed])
        for i, m in enumerate(printed):
            if i < len(mine) and mine[i]["price"] != m["price"]:
                axes.annotate(f"{m['price']} / {mine[i]['price']}", (i, float(m["price"])),
                              xytext=(0, 9), textcoords="offset points", fontsize=8,
                              ha="center" if i else "left",
                              color=MUTED)  # fmt: skip
        axes.margins(0.12, 0.2)
        plain(axes, x=f"{name}: seller-buyer", y="price, yuan/kWh")
        legend(axes)
