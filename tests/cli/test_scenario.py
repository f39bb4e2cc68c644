"""``vppd testnet --scenario p3``: who has what, and what the paper's tables say of two hours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Vppd
from tests.market.golden import T2, T13, Case, wh
from vppd.agent.forecast import Persistence
from vppd.agent.member import Member
from vppd.agent.site import Clock, load_site
from vppd.cli.scenarios import p3
from vppd.config.home import load_home
from vppd.market.auction import Side
from vppd.market.quotes import Prices
from vppd.types import Role

ROOT = Path(__file__).parents[2]
HOURS = Clock(0, 60)


def test_the_sites_are_what_the_script_writes() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "make_p3.py"), "--check"], check=False
    )
    assert done.returncode == 0


def test_the_plant_of_the_case_study(vppd: Vppd, tmp_path: Path) -> None:
    made = vppd("testnet", "--scenario", "p3", "--out", "p3", "--seed", 1, "-o", "json")
    assert made.code == 0, made.err
    names = [node["name"] for node in made.data["nodes"]]
    assert names == ["vppo", "grid", "agg-1", "agg-2", "agg-3", "agg-4", "agg-5", "agg-6"]
    home = load_home(tmp_path / "p3" / "agg-4")
    assert (home.name, home.role) == ("agg-4", Role.DER)
    genesis = home.genesis
    assert [v.role for v in genesis.validators] == [Role.OPERATOR] * 2 + [Role.DER] * 6
    assert [a.credit for a in genesis.accounts][2:] == [
        846_000, 724_000, 965_000, 782_000, 829_000, 706_000
    ]  # fmt: skip
    assert [a.bus for a in genesis.accounts] == [0, 0, 1, 2, 3, 4, 5, 6]
    assert (genesis.market.rules, genesis.market.market_slot_minutes) == ("paper003", 60)
    has = {
        name: {source.name for source in load_site(tmp_path / "p3" / name / "site.toml").sources}
        for name in names[2:]
    }
    both = {"pv", "wt", "load"}
    assert has == {
        "agg-1": both,
        "agg-2": both,
        "agg-3": {"pv", "load"},
        "agg-4": {"wt", "load"},
        "agg-5": both,
        "agg-6": both,
    }


@pytest.mark.parametrize(("hour", "case"), [(1, T2), (12, T13)])
def test_each_is_over_or_short_by_what_the_tables_say(
    tmp_path: Path, hour: int, case: Case
) -> None:
    retail, feed_in = (int(float(text) * 1_000_000) for text in (case.retail, case.feed_in))
    said = {}
    for name, text in p3(900_000).sites.items():
        # Without its store: the paper says nothing of what stores do.
        (tmp_path / name).mkdir()
        file = tmp_path / name / "site.toml"
        file.write_text(text[: text.index('[[asset]]\nkind = "battery"')])
        member = Member(load_site(file), "p3", Persistence())
        decision = member.decide(HOURS, hour, [Prices(retail, feed_in)])
        assert decision.side is not None
        said[f"{'S' if decision.side is Side.OFFER else 'B'}{name[-1]}"] = sum(
            quote.quantity_wh for quote in decision.quotes
        )
        sizes = {"wt": 500_000, "pv": 300_000}
        for source in member.site.sources:
            assert max(source.hourly) <= sizes.get(source.name, 10**9)
    assert said == {entry.id: wh(entry.kwh) for entry in case.entries}


def test_a_scenario_has_its_own_number_of_nodes(vppd: Vppd) -> None:
    for args in (("--scenario", "p3", "-n", 5), ()):
        ran = vppd("testnet", "--out", "p", *args)
        assert ran.code == 2
        assert "either --nodes or --scenario" in ran.err
    ran = vppd("testnet", "--out", "p", "--scenario", "p9")
    assert ran.code == 2
    assert ran.err.startswith("error[E551]")
