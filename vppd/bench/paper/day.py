"""P4's economics: a day of four PV sellers and three buyers, against "surplus to grid" (§4.1).

The grid pays 0.45 and charges 0.67 in every hour; members trade first in the two-stage auction.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any, Final, NamedTuple

from vppd.bench.paper.figure import Experiment, Result, Say, ratio
from vppd.bench.paper.live import did_not_run
from vppd.bench.plots import MUTED, SERIES, legend, plain
from vppd.config.genesis import Tariff
from vppd.day.profiles import HOURS_PER_DAY, Column, Kind, Profiles
from vppd.day.result import DayResult, result_of
from vppd.day.run import DayOptions, Watcher, play
from vppd.day.strategy import quote
from vppd.errors import Exit, UserError
from vppd.market.auction import RULES, Book, Order, Side
from vppd.market.money import amount_micro
from vppd.types import Micro

SELLERS: Final = 4
BUYERS: Final = 3
TARIFF: Final = Tariff(
    start_minute=0, end_minute=1_440, retail_price=670_000, feed_in_price=450_000
)
PAPER: Final = {"seller_income_change_percent": 16.7, "buyer_cost_change_percent": -7.6}
_CREDIT: Final = 800_000
ASSUMED: Final = [
    "The paper does not say how its members quote. Here: prices and reserve prices drawn between "
    "the grid's two, sellers from 40 to 65 % of the way with reserves at 10 to 35 %, buyers from "
    "35 to 60 % with reserves at 65 to 90 %.",
    "The paper does not say what a member does with the mean price in stage 2. Here a seller "
    "stands at min(own, max(reserve, mean)), a buyer at max(own, min(reserve, mean)).",
    "The paper's profiles (three loads, four PV plants, one day) are not printed, so the amounts "
    "depend on how much load falls into the hours of sun: compare signs, not sizes. Its +16.7 % "
    "implies a mean price of at least 0.525 even if all PV energy is sold inside.",
    "The first four PV columns and the first three loads of the profiles take part.",
]


class Economics(NamedTuple):
    """A day's money in micro-currency, and energy in Wh."""

    seller_income: Micro
    seller_grid_only: Micro
    buyer_cost: Micro
    buyer_grid_only: Micro
    traded_wh: int
    generated_wh: int

    @property
    def income_change(self) -> float:
        """Percent."""
        return 100 * (self.seller_income / self.seller_grid_only - 1)

    @property
    def cost_change(self) -> float:
        """Percent."""
        return 100 * (self.buyer_cost / self.buyer_grid_only - 1)


def members_of(profiles: Profiles) -> tuple[Column, ...]:
    """Four sellers and three buyers.

    Raises:
        UserError: E449, the profiles have fewer, or a side has no energy.
    """
    sellers = profiles.of(Kind.PV)[:SELLERS]
    buyers = profiles.of(Kind.LOAD)[:BUYERS]
    nothing = not all(sum(sum(c.wh[:HOURS_PER_DAY]) for c in side) for side in (sellers, buyers))
    if len(sellers) < SELLERS or len(buyers) < BUYERS or nothing:
        raise UserError(
            "E449",
            "these profiles are not enough for the experiment",
            facts={
                "file": profiles.source,
                "has": f"{len(sellers)} PV columns, {len(buyers)} loads"
                + (", a side without any energy" if nothing else ""),
                "needs": f"{SELLERS} PV columns, {BUYERS} loads",
            },
            hint="leave --profiles out for the packaged day",
            exit_code=Exit.USAGE,
        )
    return (*sellers, *buyers)


def trade(members: Sequence[Column], seed: int) -> Economics:
    """One day on the market's own book; what is ordered is what is delivered."""
    inside: Micro = 0
    traded = 0
    left = {Side.OFFER: 0, Side.BID: 0}
    whole = dict(left)
    for hour in range(HOURS_PER_DAY):
        rng = Random(f"{seed}/{hour}")  # noqa: S311  # reproducible chance is the point
        book: Book[str] = Book(RULES["two-stage"])
        for arrival, column in enumerate(rng.sample(members, len(members))):
            side = Side.OFFER if column.kind is Kind.PV else Side.BID
            energy = column.wh[hour]
            whole[side] += energy
            if energy:
                asked = quote(side, TARIFF.retail_price, TARIFF.feed_in_price, rng)
                order = Order(arrival, column.name, side, energy, *asked, _CREDIT, arrival)
                book.submit(order)
        clearing = book.close(TARIFF.retail_price, TARIFF.feed_in_price)
        inside += sum(made.amount for made in clearing.trades)
        traded += sum(made.quantity_wh for made in clearing.trades)
        for residual in clearing.residuals:
            left[residual.side] += residual.quantity_wh
    return Economics(
        inside + amount_micro(left[Side.OFFER], TARIFF.feed_in_price),
        amount_micro(whole[Side.OFFER], TARIFF.feed_in_price),
        inside + amount_micro(left[Side.BID], TARIFF.retail_price),
        amount_micro(whole[Side.BID], TARIFF.retail_price),
        traded,
        whole[Side.OFFER],
    )


def simulated(profiles: Profiles, seeds: int) -> Experiment:
    """On the auction alone, quotes drawn anew with each seed.

    Raises:
        UserError: E449.
    """
    members = members_of(profiles)
    days = [trade(members, seed) for seed in range(1, seeds + 1)]
    assumed = [*ASSUMED, "What is ordered is what is delivered, as the paper's hourly data is used "
               "as the transaction data.", f"Mean of {seeds} seeds."]  # fmt: skip
    return _experiment({"mode": "sim", "seeds": seeds}, days, assumed)


class _News(Watcher):
    def __init__(self, say: Say) -> None:
        self._tell = say

    def say(self, text: str) -> None:
        self._tell(text)

    def standing(self, text: str) -> None:
        self._tell(text)


async def real(profiles: Profiles, say: Say, slots: int = HOURS_PER_DAY) -> Experiment:
    """On eight daemons of this machine: an operator and seven members, an hour in two seconds.

    Raises:
        UserError: E448, a daemon died or the books do not balance; E449; E420…E422 as
            of ``vppd dev``.
    """
    members = members_of(profiles)
    folder = Path(tempfile.mkdtemp(prefix="vppd-paper-"))
    try:
        options = DayOptions(
            out=folder / "plant", columns=members, rules="two-stage", tariffs=(TARIFF,), slots=slots
        )
        played = await play(options, _News(say))
        result = result_of(options, played)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if result.restarts:
        raise did_not_run(f"daemons died {result.restarts} times")
    if result.findings:
        raise did_not_run(f"the audit objects: {result.findings[0]}")
    assumed = [*ASSUMED, "Real daemons: an operator and seven DERs with 200.00 each, two seconds "
               "of chain time an hour. Forecasts stray from the profile by up to 10 %, deliveries "
               "by up to 4 %, and imbalances settle with the grid."]  # fmt: skip
    ours = {"mode": "real", "slots": slots, "nodes": result.n, "blocks": result.blocks,
            "transactions": result.transactions}  # fmt: skip
    return _experiment(ours, [_of(result)], assumed)


def _of(result: DayResult) -> Economics:
    sellers = [m for m in result.members if m.side == "seller"]
    buyers = [m for m in result.members if m.side == "buyer"]
    return Economics(
        -sum(m.paid_micro for m in sellers), -sum(m.paid_grid_only_micro for m in sellers),
        sum(m.paid_micro for m in buyers), sum(m.paid_grid_only_micro for m in buyers),
        result.traded_wh, -sum(m.net_wh for m in sellers),
    )  # fmt: skip


def _experiment(ours: dict[str, Any], days: Sequence[Economics], assumed: list[str]) -> Experiment:
    income = fmean(day.income_change for day in days)
    cost = fmean(day.cost_change for day in days)
    mean = Economics(*(round(fmean(values)) for values in zip(*days, strict=True)))
    ours |= {
        "sellers": SELLERS, "buyers": BUYERS, "feed_in": 0.45, "retail": 0.67,
        "seller_income_change_percent": round(income, 2),
        "buyer_cost_change_percent": round(cost, 2),
        "least_seller_income_change_percent": round(min(d.income_change for d in days), 2),
        "most_buyer_cost_change_percent": round(max(d.cost_change for d in days), 2),
        "seller_income": round(mean.seller_income / 1e6, 2),
        "seller_income_surplus_to_grid": round(mean.seller_grid_only / 1e6, 2),
        "buyer_cost": round(mean.buyer_cost / 1e6, 2),
        "buyer_cost_surplus_to_grid": round(mean.buyer_grid_only / 1e6, 2),
        "traded_kwh": round(mean.traded_wh / 1e3, 2),
        "traded_share_of_pv": ratio(mean.traded_wh, mean.generated_wh),
    }  # fmt: skip
    paper = {"sellers": SELLERS, "buyers": BUYERS, "feed_in": 0.45, "retail": 0.67, **PAPER}
    names = {"seller_income_change_percent": "sellers' income against surplus to grid",
             "buyer_cost_change_percent": "buyers' cost against surplus to grid"}  # fmt: skip
    result = Result(
        figure="day",
        paper=paper,
        ours=ours,
        ratios={
            "seller_gain_over_paper": ratio(income, PAPER["seller_income_change_percent"]),
            "buyer_saving_over_paper": ratio(cost, PAPER["buyer_cost_change_percent"]),
        },
        assumptions=assumed,
    )
    table = [(said, f"{PAPER[name]:+} %", f"{ours[name]:+} %") for name, said in names.items()]
    inside = 100 * (ours["traded_share_of_pv"] or 0)
    table.append(("PV energy traded inside", "–", f"{inside:.0f} %"))
    return Experiment(result, "P4: the members' trade against surplus to grid",
                      lambda figure: _draw(figure, paper, ours, days), (6.5, 3), table)  # fmt: skip


def _draw(
    figure: Any, paper: dict[str, Any], ours: dict[str, Any], days: Sequence[Economics]
) -> None:
    axes = figure.subplots()
    for i, name in enumerate(PAPER):
        bars = axes.bar([i - 0.2, i + 0.2], [paper[name], ours[name]], 0.36,
                        color=["none", SERIES[0]], edgecolor=SERIES[0], hatch=["///", ""],
                        label=["paper", "ours"] if i == 0 else None)  # fmt: skip
        axes.bar_label(bars, [f"{paper[name]:+.1f} %", f"{ours[name]:+.1f} %"], padding=3)
        every = [d.income_change if i == 0 else d.cost_change for d in days]
        if len(every) > 1:
            axes.vlines(i + 0.44, min(every), max(every), color=MUTED, lw=2,
                        label="all seeds" if i == 0 else None)  # fmt: skip
    axes.axhline(0, color=MUTED, lw=0.8)
    axes.margins(y=0.2)
    axes.set_xticks((0, 1), ("sellers' income", "buyers' cost"))
    plain(axes, y="against surplus to grid, %")
    legend(axes)
