"""P3's tables and P4's two experiments, and which experiments there are."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import pytest

from tests.bench.test_paper_times import KEYS, checked, quiet
from tests.e2e.plant import vppd
from tests.market.golden import CASES
from vppd.bench import plots
from vppd.bench.paper import cda, day, dpos
from vppd.bench.paper.catalogue import CATALOGUE, folder_of, wanted_of
from vppd.bench.paper.figure import prepare
from vppd.day.profiles import load_profiles, parse_profiles
from vppd.errors import UserError
from vppd.market.clearing_file import clear_file
from vppd.simulate.delegates import Curve

# ---------------------------------------------------------------- P3


def test_the_tables_come_out_but_for_two_misprints(tmp_path: Path) -> None:
    said = checked(cda.simulated(), tmp_path)
    assert (said["ours"]["rows_alike"], said["ours"]["rows"]) == (10, 12)
    off = {name for name, value in said["ratios"].items() if value != 1}
    assert off == {"t2_2-3_price", "t13_6-4_price", "rows_alike"}
    assert [m["price"] for m in said["paper"]["t2"]["matches"]] == [
        "0.325", "0.319", "0.318", "0.320", "0.319",
    ]  # fmt: skip


def test_the_packaged_figures_are_those_the_auction_is_tested_with() -> None:
    held = cda.tables()
    assert set(held) == set(CASES)
    for name, case in CASES.items():
        assert held[name]["orders"] == [list(entry) for entry in case.entries]
        assert held[name]["arrival"] == list(case.arrival)
        assert held[name]["residual"] == list(case.residual)
        assert held[name]["printed"] == [
            [f"S{r.seller}", f"B{r.buyer}", r.turnover, r.price, int(r.round)] for r in case.rows
        ]


@pytest.mark.parametrize(("name", "fitting"), [("t2", 52), ("t13", 12)])
def test_so_many_orders_of_arrival_give_the_tables(name: str, fitting: int) -> None:
    case = cda.tables()[name]
    wanted = [row[:3] + row[4:] for row in case["printed"]]
    found = 0
    for arrival in permutations(case["arrival"]):
        made = clear_file(cda.document({**case, "arrival": arrival}, "paper003"), "paper003")
        found += [row[:3] + row[4:] for row in cda._matches(made)] == wanted
    assert found == fitting


def test_money_of_both_readings() -> None:
    said = cda.simulated().result.ours
    for name, case in CASES.items():
        printed = {k: float(v) for k, v in case.money.items()}
        assert said[name]["paper003"]["money"] == pytest.approx(printed, abs=0.01)
        literal = said[name]["literal003"]["money"]
        assert literal["seller_income_grid_only"] == pytest.approx(
            printed["seller_income_grid_only"], abs=0.01
        )
        assert literal["seller_income"] > literal["seller_income_grid_only"]


# ---------------------------------------------------------------- P4, Figure 3


def test_the_composite_score_and_plain_dpos(tmp_path: Path) -> None:
    said = checked(dpos.simulated(seeds=6), tmp_path)
    ours = said["ours"]
    assert len(ours["composite_mean"]) == len(ours["dpos_mean"]) == 24
    assert said["ratios"]["dpos_over_composite_round_1"] > 1.3
    assert said["ratios"]["dpos_over_composite_last_round"] > 1.5
    assert said["paper"]["composite_never_above"] == 0.5


def curve(mean: list[float]) -> Curve:
    return Curve(mean=mean, low=mean, high=mean, error=0.0, never_above_half=1.0)


@pytest.mark.parametrize(
    ("stake", "composite", "said"),
    [
        ([0.2, 0.3], [0.1, 0.2], []),
        ([0.2, 0.3], [0.1, 0.5], ["composite reaches 0.500"]),
        ([0.1, 0.3], [0.1, 0.2], ["DPoS starts 1.00 times as high"]),
        ([0.2, 0.2], [0.1, 0.2], ["DPoS does not rise throughout"]),
    ],
)
def test_what_the_curves_do_not_show_is_said(
    stake: list[float], composite: list[float], said: list[str]
) -> None:
    assert dpos.missed({"dpos": curve(stake), "composite": curve(composite)}) == said


# ---------------------------------------------------------------- P4's day


def test_both_sides_gain_on_the_packaged_day(tmp_path: Path) -> None:
    said = checked(day.simulated(load_profiles(), seeds=20), tmp_path)
    ours = said["ours"]
    assert ours["least_seller_income_change_percent"] > 0
    assert ours["most_buyer_cost_change_percent"] < 0
    assert said["paper"]["seller_income_change_percent"] == 16.7
    assert said["ratios"]["seller_gain_over_paper"] == pytest.approx(
        ours["seller_income_change_percent"] / 16.7, abs=1e-3
    )


def test_a_day_neither_makes_money_nor_energy() -> None:
    members = day.members_of(load_profiles())
    load, sun = (sum(sum(c.wh) for c in members if c.kind == kind) for kind in ("load", "pv"))
    hourly = [
        min(sum(c.wh[h] for c in members if c.kind == kind) for kind in ("load", "pv"))
        for h in range(24)
    ]
    for seed in range(1, 11):
        made = day.trade(members, seed)
        assert made.generated_wh == sun
        assert made.traded_wh <= sum(hourly)
        # what one pays inside another gets; the rest is the grid's, at its prices
        inside = made.seller_income - (sun - made.traded_wh) * 450
        assert made.buyer_cost - (load - made.traded_wh) * 670 == pytest.approx(inside, abs=2)
        assert 450 * made.traded_wh <= inside <= 670 * made.traded_wh


def profiles_csv(sun: int, loads: int, plants: int) -> bytes:
    names = [f"load_l{i}_wh" for i in range(loads)] + [f"pv_p{i}_wh" for i in range(plants)]
    cells = [1_000] * loads + [sun] * plants
    rows = [",".join(map(str, [hour, *cells])) for hour in range(24)]
    return "\n".join([",".join(["hour_start", *names]), *rows]).encode()


@pytest.mark.parametrize(
    ("sun", "loads", "plants", "said"),
    [(500, 2, 4, "4 PV columns, 2 loads"), (500, 3, 3, "3 PV columns, 3 loads"),
     (0, 3, 4, "without any energy")],
)  # fmt: skip
def test_profiles_that_are_not_enough_are_refused(
    sun: int, loads: int, plants: int, said: str
) -> None:
    with pytest.raises(UserError) as caught:
        day.members_of(parse_profiles(profiles_csv(sun, loads, plants), "mine.csv"))
    assert caught.value.code == "E449"
    assert said in caught.value.facts["has"]


async def test_the_day_on_daemons(tmp_path: Path) -> None:
    profiles = parse_profiles(profiles_csv(800, 3, 4), "mine.csv")
    said = checked(await day.real(profiles, quiet, slots=2), tmp_path)
    assert said["ours"]["nodes"] == 8
    assert said["ours"]["traded_kwh"] > 0
    assert said["ours"]["seller_income_change_percent"] > 0
    assert said["ours"]["buyer_cost_change_percent"] < 0
    # two hours of 3.2 kWh and 3 kWh, at the prices of this experiment
    assert said["ours"]["seller_income_surplus_to_grid"] == pytest.approx(6.4 * 0.45, rel=0.05)
    assert said["ours"]["buyer_cost_surplus_to_grid"] == pytest.approx(6.0 * 0.67, rel=0.05)


def test_given_profiles_are_played_by_command(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_bytes(profiles_csv(900, 3, 4))
    out = tmp_path / "out"
    ran = vppd("bench", "paper", "day", "--sim", "--seeds", 2, "--profiles", tmp_path / "mine.csv",
               "--out", out, "-o", "json")  # fmt: skip
    assert ran.code == 0, ran.err
    assert list(json.loads(ran.out)) == KEYS
    assert f"--profiles {tmp_path / 'mine.csv'}" in (out / "README.md").read_text()
    (tmp_path / "mine.csv").write_text("hour,load\n")
    ran = vppd("bench", "paper", "day", "--sim", "--profiles", tmp_path / "mine.csv", "--out", out)
    assert ran.code == 1
    assert "error[E402]" in ran.err


# ---------------------------------------------------------------- which there are


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fig16",), "fig1"),
        (("nothing",), "fig12 | fig13 | fig14 | fig15 | dpos | cda | day"),
        (("fig12", "--sim", "--real"), "--sim, or --real"),
        (("cda", "--real"), "--sim"),
        (("dpos", "--real"), "--sim"),
        (("cda", "--seeds", "3"), "it takes nothing else"),
        (("fig12", "--real", "--seeds", "3"), "it takes --rounds"),
        (("fig12", "--profiles", "x.csv"), "it takes --rounds"),
    ],
)
def test_what_there_is_not_is_refused(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    ran = vppd("bench", "paper", *words, cwd=tmp_path)
    assert ran.code == 2
    assert "error[E447]" in ran.err
    assert said in ran.err
    assert list(tmp_path.iterdir()) == []


def test_results_that_cannot_be_kept_are_an_error_before_anything_is_measured(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("in the way")
    ran = vppd("bench", "paper", "fig15", "--out", tmp_path / "file")
    assert ran.code == 1
    assert "error[E446]" in ran.err
    assert "…" not in ran.err


def test_without_the_library_that_draws_nothing_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda _: None)
    with pytest.raises(UserError) as caught:
        prepare(tmp_path / "out")
    assert caught.value.code == "E430"
    assert not (tmp_path / "out").exists()


def test_the_command_of_a_result_asks_for_the_same_again() -> None:
    given = {"rounds": 7, "seeds": None, "delay_ms": 20, "profiles": None}
    wanted = wanted_of("fig12", sim=True, real=False, **given)
    assert wanted.options == {"rounds": 7, "seeds": 5, "delay_ms": 20}
    assert " ".join(wanted.command()) == (
        "vppd bench paper fig12 --sim --rounds 7 --seeds 5 --delay-ms 20"
    )


def test_every_way_has_a_folder_of_its_own() -> None:
    folders = [
        folder_of(wanted_of(name, sim=mode == "sim", real=mode == "real"))
        for name, kind in CATALOGUE.items()
        for mode in kind.modes
    ]
    assert len(set(folders)) == len(folders)
    assert Path("bench/results/fig12") in folders
    assert Path("bench/results/fig12-sim") in folders
    assert Path("bench/results/cda") in folders


def test_results_are_kept_under_bench_results_unless_told_otherwise(tmp_path: Path) -> None:
    ran = vppd("bench", "paper", "cda", cwd=tmp_path)
    assert ran.code == 0, ran.err
    kept = sorted(path.name for path in (tmp_path / "bench" / "results" / "cda").iterdir())
    assert kept == ["README.md", "figure.svg", "results.json"]
    assert "0.7" in ran.out
    first = (tmp_path / "bench" / "results" / "cda" / "figure.svg").read_bytes()
    assert vppd("bench", "paper", "cda", cwd=tmp_path).code == 0
    assert (tmp_path / "bench" / "results" / "cda" / "figure.svg").read_bytes() == first
