"""The security check: what holds stays, what does not is cut as little as possible."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.market.grid.feeders import PLENTY, grid, line, street
from vppd.config.grid import Bus, Grid
from vppd.market.grid.flow import Bounds, Feeder, Flow
from vppd.market.grid.security import BaseLoad, Check, Deal

HOUR = 60


def taken(
    model: Grid, *deals: Deal, minutes: int = HOUR, base: tuple[BaseLoad, ...] = ()
) -> list[int]:
    return Check(Feeder(model), minutes, base).admit_all(deals)


def test_nothing_is_cut_when_nothing_violates() -> None:
    assert taken(street(10_000), Deal(0, 1, 4_000), Deal(0, 1, 5_000)) == [4_000, 5_000]
    assert taken(street(10_000)) == []


def test_a_trade_is_cut_back_to_the_largest_quantity_that_holds() -> None:
    # 10 kVA at the near end, which also carries what 0.1 Ω lose: about 62 W
    model = street(10_000)
    (quantity,) = taken(model, Deal(0, 1, 20_000))
    assert 9_930 < quantity < 9_940
    feeder = Feeder(model)
    assert feeder.holds([0, quantity * 1_000], [0, 0])
    assert not feeder.holds([0, (quantity + 1) * 1_000], [0, 0])


def test_energy_is_a_power_over_the_market_length_of_the_slot() -> None:
    (in_an_hour,) = taken(street(10_000), Deal(0, 1, 20_000))
    (in_a_quarter,) = taken(street(10_000), Deal(0, 1, 20_000), minutes=15)
    assert in_a_quarter == in_an_hour // 4


def test_what_comes_first_stays_and_what_comes_later_is_cut() -> None:
    first, second, third = taken(
        street(10_000), Deal(0, 1, 6_000), Deal(0, 1, 6_000), Deal(0, 1, 6_000)
    )
    assert (first, third) == (6_000, 0)
    assert 0 < second < 4_000


def test_a_trade_behind_one_that_was_cut_may_hold() -> None:
    # Bus 1 is served over a narrow line, bus 2 over a wide one of its own.
    fork = grid(range(3), [line(0, 1, rating_va=5_000), line(0, 2)])
    narrow, wide = taken(fork, Deal(0, 1, 9_000), Deal(0, 2, 9_000))
    assert 4_900 < narrow < 5_000
    assert wide == 9_000


def test_trades_that_relieve_each_other_hold_together() -> None:
    # Alone, either would overload the line; together nothing flows through it.
    model = grid(range(3), [line(0, 1, rating_va=1_000), line(1, 2)])
    assert taken(model, Deal(0, 2, 5_000), Deal(2, 0, 5_000)) == [5_000, 5_000]
    assert taken(model, Deal(1, 2, 5_000)) == [5_000]


def test_voltage_limits_cut_as_line_ratings_do() -> None:
    # 76 kW at the end of 0.1 Ω bring 400 V to 0.95 p.u. (test_flow)
    assert taken(street(PLENTY), Deal(0, 1, 100_000)) == [76_000]
    assert taken(street(PLENTY), Deal(1, 0, 100_000)) == [84_000]


def test_one_wh_that_does_not_hold_is_cut_to_nothing() -> None:
    assert taken(street(1), Deal(0, 1, 1), minutes=15) == [0]
    assert taken(street(1), Deal(0, 1, 2), minutes=15) == [0]


def test_loads_of_the_model_and_of_the_slot_take_their_share() -> None:
    loaded = grid([0, Bus(id=1, load_w=4_000)], [line(0, 1, rating_va=10_000)])
    (beside_4,) = taken(loaded, Deal(0, 1, 9_000))
    assert 5_930 < beside_4 < 5_940
    assert taken(street(10_000), Deal(0, 1, 9_000), base=(BaseLoad(1, 4_000),)) == [beside_4]
    assert taken(loaded, Deal(0, 1, 9_000), base=(BaseLoad(1, -4_000),)) == [9_000]


def test_a_bus_that_is_none_carries_nothing() -> None:
    assert taken(street(10_000), Deal(0, 9, 1), Deal(0, 1, 1), Deal(9, 0, 5)) == [0, 1, 0]
    assert taken(street(10_000), Deal(0, 1, 9_000), base=(BaseLoad(9, 4_000),)) == [9_000]


def test_reactive_power_comes_with_what_is_bought() -> None:
    # tan φ = 0.75: 4 kW come with 3 kvar, so 5 kVA.
    model = street(5_100, reactive_ppm=750_000)
    assert taken(model, Deal(0, 1, 4_000)) == [4_000]
    assert taken(model, Deal(1, 0, 4_000)) == [4_000]
    (more,) = taken(model, Deal(0, 1, 5_000))
    assert 4_000 < more < 4_100


def test_where_loads_alone_break_limits_no_trade_makes_that_worse() -> None:
    loaded: list[int | Bus] = [0, Bus(id=1, load_w=12_000), 2]
    model = grid(loaded, [line(0, 1, rating_va=10_000), line(0, 2, rating_va=4_000)])
    assert taken(model, Deal(0, 1, 1)) == [0]
    assert taken(model, Deal(0, 1, 3_000), Deal(1, 0, 5_000)) == [3_000, 5_000]
    assert taken(model, Deal(1, 0, 100), Deal(0, 1, 300), Deal(0, 1, 1)) == [100, 100, 0]
    check = Check(Feeder(model), HOUR)
    # What goes another way is not cut for it, but by its own limits.
    first, second = check.admit_all([Deal(0, 1, 10), Deal(0, 2, 9_000)])
    assert first == 0
    assert 3_980 < second < 4_000
    assert not check.base_holds


def test_where_loads_alone_have_no_flow_only_trades_that_bring_one_are_taken() -> None:
    model = grid([0, Bus(id=1, load_w=500_000)], [line(0, 1)])
    assert taken(model, Deal(0, 1, 1), Deal(1, 0, 10)) == [0, 0]
    assert taken(model, Deal(1, 0, 450_000)) == [450_000]


def test_the_work_is_bounded_and_what_is_not_reached_is_cut() -> None:
    deals = [Deal(0, 1, 6_000 + i) for i in range(40)]
    check = Check(Feeder(street(10_000)), HOUR, most_work=2 * 12)
    result = check.admit_all(deals)
    assert check.exhausted
    assert len(result) == 40
    assert check.admit(Deal(1, 0, 1)) == 0
    flow = check.flow()
    assert flow is not None
    assert not Feeder(street(10_000)).violations(flow)


@st.composite
def slots(draw: st.DrawFn) -> tuple[Grid, list[Deal]]:
    """A small tree with tight ratings, and trades among its buses."""
    count = draw(st.integers(2, 7))
    lines = [
        line(
            draw(st.integers(0, i - 1)),
            i,
            draw(st.integers(10_000, 300_000)),
            draw(st.integers(0, 50_000)),
            rating_va=draw(st.integers(1_000, 30_000)),
        )
        for i in range(1, count)
    ]
    loads = [Bus(id=i, load_w=draw(st.integers(-2_000, 2_000))) for i in range(count)]
    buses = st.integers(0, count - 1)
    deals = draw(st.lists(st.builds(Deal, buses, buses, st.integers(1, 40_000)), max_size=8))
    return grid(loads, lines, reactive_ppm=draw(st.sampled_from([0, 330_000]))), deals


def _wider(feeder: Feeder, base: Flow, flow: Flow) -> Bounds:
    one, other = feeder.bounds_not_worse(base), feeder.bounds_not_worse(flow)
    return Bounds(
        tuple(map(min, one.v_min, other.v_min)),
        tuple(map(max, one.v_max, other.v_max)),
        tuple(map(max, one.most, other.most)),
    )


@given(slot=slots())
def test_the_result_is_within_limits_and_takes_nothing_that_was_not_offered(
    slot: tuple[Grid, list[Deal]],
) -> None:
    model, deals = slot
    feeder = Feeder(model)
    check = Check(feeder, HOUR)
    whole = Check(feeder, HOUR).fits(deals)
    result = check.admit_all(deals)
    assert all(0 <= kept <= deal.quantity_wh for kept, deal in zip(result, deals, strict=True))
    assert len(result) == len(deals)
    if whole:
        assert result == [deal.quantity_wh for deal in deals]
    violated = feeder.violations(check.flow())
    if violated:  # as bad as without any trade, but not worse
        assert not check.base_holds
        base, flow = Check(feeder, HOUR).flow(), check.flow()
        assert base is None or (
            flow is not None and feeder.bounds_not_worse(base) == _wider(feeder, base, flow)
        )
    again = Check(feeder, HOUR)
    assert again.admit_all(deals) == result  # deterministic


@given(slot=slots())
def test_it_cuts_as_the_rule_written_a_second_time(slot: tuple[Grid, list[Deal]]) -> None:
    """One trade after the other, by trying out every flow: no galloping, no memory."""
    model, deals = slot
    feeder = Feeder(model)
    check = Check(feeder, HOUR, most_work=10**9)
    result = check.admit_all(deals)
    if not check.base_holds or result == [deal.quantity_wh for deal in deals]:
        return
    for i, (deal, kept) in enumerate(zip(deals, result, strict=True)):
        before = [d._replace(quantity_wh=q) for d, q in zip(deals[:i], result[:i], strict=True)]
        if kept == deal.quantity_wh:
            continue
        so_far = Check(feeder, HOUR)
        assert so_far.fits([*before, deal._replace(quantity_wh=kept)])
        assert not so_far.fits([*before, deal._replace(quantity_wh=kept + 1)])
