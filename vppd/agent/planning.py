"""When to charge, discharge and run what may wait, against the grid's tariffs: one linear program.

Minimise Σ retail·import − feed-in·export over the horizon, where import and export are what the
member's one meter sees of everything behind it, within each asset's limits (:mod:`vppd.assets`).
A load that must run through has a yes or no for each moment it could begin, which makes it a
mixed-integer program; HiGHS solves both. Money that trades inside the plant may bring on top is not
counted: it is not known yet, and lies between the two prices.

The solver computes in floats, and its answer is only advice: each setpoint is rounded to whole Wh
and moved into the span that the asset's model gives at that moment, so what leaves here is feasible
to the Wh, whatever the solver says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vppd.assets.base import Asset, Flow, energy_wh
from vppd.assets.flexible import FlexibleLoad
from vppd.assets.storage import Battery, Vehicle, kept_wh
from vppd.errors import UserError
from vppd.market.money import amount_micro
from vppd.market.quotes import Prices
from vppd.types import PPM, Micro, Ppm, Slot, Wh

if TYPE_CHECKING:
    from highspy import Highs
    from highspy.highs import highs_linear_expression

WEAR = 1.0
"""Micro-currency per kWh moved through a store: nothing is moved for nothing."""
_PATIENCE_S = 10.0


class Placed(NamedTuple):
    """An asset and where it stands at the start of the horizon; its slot 0 is the horizon's."""

    asset: Asset
    level_wh: Wh


class Plan(NamedTuple):
    """What every asset does in every slot of the horizon."""

    flows: tuple[tuple[Flow, ...], ...]
    """Of each asset, in the order given, one per slot."""
    levels: tuple[tuple[Wh, ...], ...]
    """Of each asset, at the end of each slot."""

    def net_wh(self, slot: Slot) -> Wh:
        """What the meter sees in a slot of the horizon: import positive."""
        return sum(flows[slot].net_wh for flows in self.flows)

    def cost(self, prices: Sequence[Prices]) -> Micro:
        """What the grid would charge for all of it; negative: pay."""
        total = 0
        for slot, price in enumerate(prices):
            net = self.net_wh(slot)
            total += amount_micro(net, price.retail if net > 0 else price.feed_in)
        return total


def make_plan(placed: Sequence[Placed], prices: Sequence[Prices]) -> Plan:
    """The cheapest plan of all assets against the grid's prices.

    Args:
        placed: everything behind the member's meter.
        prices: the grid's, one pair for each slot of the horizon.

    Raises:
        UserError: E554, no solver is installed and something could be planned; E555, the solver
            found nothing.
        IndexError: the series of an asset ends before the horizon does.
    """
    wishes: list[Callable[[Slot], float] | None]
    if prices and any(_is_movable(place.asset) for place in placed):
        wishes = _solve(placed, prices)
    else:
        wishes = [None] * len(placed)
    flows, levels = [], []
    for place, wish in zip(placed, wishes, strict=True):
        walked = _walk(place, wish, len(prices))
        flows.append(tuple(flow for flow, _ in walked))
        levels.append(tuple(level for _, level in walked))
    return Plan(tuple(flows), tuple(levels))


def _walk(place: Placed, wish: Callable[[Slot], float] | None, slots: int) -> list[tuple[Flow, Wh]]:
    """The wishes as the asset can follow them; without a wish, what it does by itself."""
    asset, level = place
    walked = []
    for slot in range(slots):
        span = asset.span(level, slot)
        net = span.least_wh if wish is None else span.nearest(round(wish(slot)))
        if isinstance(asset, FlexibleLoad) and not asset.interruptible:
            net = span.most_wh if 2 * net > span.most_wh else span.least_wh
        step = asset.step(level, slot, net)
        level = step.level_wh
        walked.append((step.flow, level))
    return walked


def _is_movable(asset: Asset) -> bool:
    return isinstance(asset, Battery | Vehicle | FlexibleLoad)


class _Stretch(NamedTuple):
    """Slots in which a store is there, from ``begins`` to before ``ends``."""

    begins: Slot
    ends: Slot
    level_wh: Wh
    wanted_wh: Wh


def _solve(
    placed: Sequence[Placed], prices: Sequence[Prices]
) -> list[Callable[[Slot], float] | None]:
    """What each asset should do, in Wh; ``None`` for what nobody decides about."""
    highs = _solver()
    slots = len(prices)
    net: list[Any] = [0] * slots
    bound = 0
    readers: list[Callable[[Slot], Any] | None] = []
    for asset, level in placed:
        if not _is_movable(asset):
            for slot in range(slots):
                fixed = asset.span(level, slot).least_wh
                net[slot] = net[slot] + fixed
                bound += abs(fixed)
            readers.append(None)
            continue
        if isinstance(asset, FlexibleLoad):
            parts, most = _flexible(highs, asset, level, slots)
        else:
            parts, most = _store(highs, asset, level, slots)
        bound += most * slots
        for slot, part in parts.items():
            net[slot] = net[slot] + part
        readers.append(parts.get)
    for slot, price in enumerate(prices):
        bought = highs.addVariable(0, bound, price.retail / 1_000)
        sold = highs.addVariable(0, bound, -price.feed_in / 1_000)
        highs.addConstr(bought - sold == net[slot])
    highs.minimize()
    status = highs.modelStatusToString(highs.getModelStatus())
    if status != "Optimal":
        raise UserError(
            "E555",
            "no plan was found for the member's assets",
            facts={"solver": status, "assets": ", ".join(place.asset.name for place in placed)},
            hint="this should not happen: each asset can be run on its own; please report it",
        )
    return [None if reader is None else _value(highs, reader) for reader in readers]


def _value(highs: Highs, reader: Callable[[Slot], Any]) -> Callable[[Slot], float]:
    def wish(slot: Slot) -> float:
        part = reader(slot)
        return 0.0 if part is None else float(highs.val(part))

    return wish


def _store(
    highs: Highs, asset: Asset, level_wh: Wh, slots: int
) -> tuple[dict[Slot, highs_linear_expression], Wh]:
    """Net energy of a store in the slots in which it is there, and the most of one slot."""
    battery = asset.battery if isinstance(asset, Vehicle) else asset
    assert isinstance(battery, Battery)  # noqa: S101 - _is_movable says so
    into = energy_wh(battery.max_import_w, battery.slot_s)
    out = energy_wh(battery.max_export_w, battery.slot_s)
    gain, drain = _share(battery.import_efficiency), 1 / _share(battery.export_efficiency)
    parts: dict[Slot, highs_linear_expression] = {}
    for stretch in _stretches(asset, level_wh, slots):
        level: Any = stretch.level_wh
        for slot in range(stretch.begins, stretch.ends):
            charge = highs.addVariable(0, into, WEAR / 1_000)
            discharge = highs.addVariable(0, out, WEAR / 1_000)
            least = stretch.wanted_wh if slot == stretch.ends - 1 else 0
            after = highs.addVariable(least, battery.capacity_wh)
            highs.addConstr(after == level + gain * charge - drain * discharge)
            level = after
            parts[slot] = charge - discharge
    return parts, into + out


def _stretches(asset: Asset, level_wh: Wh, slots: int) -> list[_Stretch]:
    if not isinstance(asset, Vehicle):
        return [_Stretch(0, slots, level_wh, 0)]
    battery = asset.battery
    most = kept_wh(energy_wh(battery.max_import_w, battery.slot_s), battery.import_efficiency)
    return [
        _Stretch(
            stay.arrives,
            min(stay.departs, slots),
            stay.level_wh,
            max(0, stay.wanted_wh - most * max(0, stay.departs - slots)),
        )
        for stay in asset.stays
        if stay.arrives < slots
    ]


def _flexible(
    highs: Highs, load: FlexibleLoad, level_wh: Wh, slots: int
) -> tuple[dict[Slot, highs_linear_expression], Wh]:
    """What a load that may wait takes in each slot of its window."""
    most, ends = load.slot_most_wh, min(load.deadline, slots)
    if level_wh == 0 or load.first_slot >= slots:
        return {}, 0
    later = most * (load.deadline - ends)
    if load.interruptible:
        parts: dict[Slot, Any] = {
            slot: 1 * highs.addVariable(0, most) for slot in range(load.first_slot, ends)
        }
        highs.addConstr(sum(parts.values()) <= level_wh)
        highs.addConstr(sum(parts.values()) >= max(0, level_wh - later))
        return parts, most
    run = -(-level_wh // most)
    begins = [(slot, highs.addBinary()) for slot in range(load.first_slot, load.deadline - run + 1)]
    highs.addConstr(sum(begin for _, begin in begins) == 1)
    parts = {}
    for slot, begin in begins:
        for k in range(run):
            energy = most if k < run - 1 else level_wh - most * (run - 1)
            if slot + k < slots:
                parts[slot + k] = parts.get(slot + k, 0) + energy * begin
    return parts, most


def _share(share: Ppm) -> float:
    return share / PPM


def _solver() -> Highs:
    try:
        from highspy import Highs
    except ImportError as err:
        raise UserError(
            "E554",
            "planning needs a solver, and none is installed",
            facts={"missing": "highspy"},
            hint="pip install 'vppd[agent]', or leave batteries, vehicles and flexible loads out",
        ) from err
    highs = Highs()  # type: ignore[no-untyped-call]  # it is theirs
    highs.silent()
    highs.setOptionValue("threads", 1)
    highs.setOptionValue("time_limit", _PATIENCE_S)
    return highs
