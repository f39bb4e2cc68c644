"""A member's decisions: repeatable, followed by its stores, and metered near what was forecast."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.config.plugin import distributions
from vppd.agent.forecast import GROUP, Forecaster, Persistence, installed, load_forecaster
from vppd.agent.member import Member
from vppd.agent.run import STATE_FILE, parse_strategy, remembered
from vppd.agent.site import Clock, Site, load_site
from vppd.errors import Exit, UserError
from vppd.market.auction import Side
from vppd.market.quotes import STRATEGIES, Prices

CLOCK = Clock(0, 60)
PRICES = [Prices(380_000, 240_000)] * 7 + [Prices(860_000, 650_000)] * 5


@pytest.fixture
def site(tmp_path: Path) -> Site:
    load = ", ".join(["500"] * 24)
    sun = ", ".join(["0"] * 6 + ["700"] * 12 + ["0"] * 6)
    (tmp_path / "site.toml").write_text(
        f"""
schema = 1
generation_cost = "0.40"
[[asset]]
kind = "load"
name = "home"
wh = [{load}]
[[asset]]
kind = "pv"
name = "roof"
peak_w = 4000
irradiance_w_m2 = [{sun}]
[[asset]]
kind = "battery"
name = "battery"
capacity_wh = 3000
max_import_w = 1000
max_export_w = 1000
level_wh = 1000
"""
    )
    return load_site(tmp_path / "site.toml")


def test_a_member_buys_to_store_at_night_and_sells_at_noon(site: Site) -> None:
    member = Member(site, "p3", Persistence())
    night = member.decide(CLOCK, 0, PRICES)
    assert night.position.load_wh in (500, 1_500)
    assert night.side is Side.BID
    assert sum(q.quantity_wh for q in night.quotes) == night.position.quantity_wh
    noon = Member(site, "p3", Persistence()).decide(CLOCK, 11, [Prices(860_000, 650_000)])
    assert noon.position == (3_800, 500, 400_000)
    (quote,) = noon.quotes
    assert (quote.quantity_wh, quote.reserve_price) == (3_300, 650_000)


def test_the_same_member_decides_the_same_again(site: Site) -> None:
    for strategy in STRATEGIES:
        one, other = (Member(site, strategy, Persistence(), seed=7) for _ in range(2))
        for slot in range(5):
            assert one.decide(CLOCK, slot, PRICES) == other.decide(CLOCK, slot, PRICES)
    moods = {
        Member(site, "zero-intelligence", Persistence(), seed).decide(CLOCK, 0, PRICES).quotes
        for seed in range(5)
    }
    assert len(moods) == 5


def test_levels_follow_the_decisions_and_never_leave_the_store(site: Site) -> None:
    member = Member(site, "grid-only", Persistence())
    level = 1_000
    for slot in range(48):
        decision = member.decide(CLOCK, slot, [PRICES[(slot + k) % 12] for k in range(12)])
        (name, flow), *_ = decision.flows
        assert name == "battery"
        level += flow.net_wh
        assert member.levels == {"battery": level}
        assert 0 <= level <= 3_000
        assert decision.quotes == ()


def test_what_is_delivered_is_near_what_was_decided_and_is_tomorrows_forecast(site: Site) -> None:
    member = Member(site, "p3", Persistence())
    for slot in range(24):
        decision = member.decide(CLOCK, slot, PRICES)
        flow = member.deliver(CLOCK, slot)
        both = decision.position.load_wh + decision.position.generation_wh
        assert abs(flow.net_wh - decision.flow.net_wh) <= both * 4 // 100 + 2
    with pytest.raises(KeyError):
        member.deliver(CLOCK, 3)
    again = member.decide(CLOCK, 24, PRICES)
    fixed = again.position.load_wh - sum(f.import_wh for _, f in again.flows)
    assert 480 <= fixed <= 520


def test_a_member_remembers_its_stores(tmp_path: Path, site: Site) -> None:
    assert remembered(tmp_path) == {}
    (tmp_path / STATE_FILE).write_text("{")
    assert remembered(tmp_path) == {}
    (tmp_path / STATE_FILE).write_text('{"levels": {"battery": 2999}}')
    member = Member(site, "p3", Persistence(), levels=remembered(tmp_path))
    decision = member.decide(CLOCK, 0, [Prices(2, 1)])
    assert member.levels["battery"] == 2_999 + decision.flows[0][1].net_wh


# ------------------------------------------------------------------ forecasters


def test_persistence_takes_the_day_before() -> None:
    history = {10: 7, 34: 9, 11: 3}
    assert Persistence().forecast(history, 58, 24) == 9
    assert Persistence().forecast(history, 35, 24) == 3
    assert Persistence().forecast(history, 59, 24) == 3  # the day before is missing
    assert Persistence().forecast(history, 12, 24) == 0
    assert isinstance(Persistence(), Forecaster)
    assert load_forecaster("persistence").name == "persistence"


PLUGIN = """
class Flat:
    name = "flat"

    def forecast(self, history, slot, slots_per_day):
        return 42


MADE = Flat()
NOTHING = 3


def broken():
    raise RuntimeError("no weather")
"""


def bring(folder: Path, name: str, target: str, dist: str = "toy") -> None:
    (folder / "toy_forecaster.py").write_text(PLUGIN)
    info = folder / f"{dist}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = toy_forecaster:{target}\n")


@pytest.mark.parametrize("target", ["Flat", "MADE"])
def test_a_forecaster_of_another_distribution_is_used(tmp_path: Path, target: str) -> None:
    with distributions(tmp_path) as folder:
        bring(folder, "flat", target)
        assert installed() == ("persistence", "flat")
        history: Mapping[int, int] = {}
        assert load_forecaster("flat").forecast(history, 1, 24) == 42


@pytest.mark.parametrize(
    ("target", "why"), [("NOTHING", "not callable"), ("broken", "no weather"), ("gone", "gone")]
)
def test_a_forecaster_that_cannot_be_used_says_why(tmp_path: Path, target: str, why: str) -> None:
    with distributions(tmp_path) as folder:
        bring(folder, "flat", target)
        with pytest.raises(UserError, match="E556") as caught:
            load_forecaster("flat")
        assert why in str(caught.value)


def test_nobody_and_two_who_bring_it_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nobody brings it"):
        load_forecaster("oracle")
    with distributions(tmp_path) as folder:
        bring(folder, "flat", "Flat")
        bring(folder, "flat", "Flat", dist="other")
        with pytest.raises(UserError, match="2 distributions bring it"):
            load_forecaster("flat")


def test_a_strategy_is_one_of_the_list() -> None:
    assert [parse_strategy(name) for name in STRATEGIES] == list(STRATEGIES)
    with pytest.raises(UserError, match="E550") as caught:
        parse_strategy("clever")
    assert caught.value.exit_code == Exit.USAGE
