"""Scale by simulation: that costs, delays and uplinks take the time they say, and the model's own.

Figures here are virtual time with given costs, so that nothing depends on the machine.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from vppd.bench.scale import calibrate, model, report, sites, sweep
from vppd.bench.scale.costs import Costs, load, save
from vppd.bench.scale.model import Curve, fit
from vppd.bench.scale.sweep import Cell, Point, run_cell
from vppd.cli.tree import COMMANDS
from vppd.cli.tree import load as load_command
from vppd.codec import Decoder, Malformed, encode
from vppd.consensus.messages import Agree, Certificate, Commit, NewView
from vppd.consensus.quorum import quorums
from vppd.errors import UserError
from vppd.simulate.cluster import simulate
from vppd.simulate.faults import parse_sets
from vppd.simulate.outcome import Setup

KINDS = ("Agree", "Block", "Collected", "Commit", "Prepare", "Reply", "Status")
FREE = Costs(
    machine={"cpu": "none"}, receive_us=dict.fromkeys(KINDS, 0.0), unwanted_us=0.0, verify_us=0.0,
    sign_us=0.0, block_tx_us=0.0, execute_tx_us=0.0, pack_tx_us=0.0, turn_us=0.0, step_us=0.0,
    release_us=0.0, decide_us=0.0, frame_us=0.0, frame_kib_us=0.0, write_us=[1_000.0],
)  # fmt: skip
"""Only the disk takes time: a millisecond."""
PAID = msgspec.structs.replace(FREE, turn_us=20.0, frame_us=5.0)
(ENTRY,) = [entry for entry in COMMANDS if entry.path == "bench scale"]


def point(way: str, n: int, place: str = "country", costs: Costs = FREE, **more: int) -> Point:
    delegates = more.pop("delegates", None)
    cell = Cell(
        way=way, n=n, sites=place, delegates=delegates, heights=more.pop("heights", 4),
        txs=more.pop("txs", 2),
    )  # fmt: skip
    found = run_cell(cell, costs)
    assert isinstance(found, Point), found
    return found


def shown(n: int, value: float) -> Point:
    """A point whose figures are all that value."""
    return Point(
        way="broadcast", n=n, sites="lan", delegates=None, commit_ms=value, commit_max_ms=value,
        messages=value, kib=value, mean_kib=value, core_ms=value, busiest_core_ms=value,
        fast_share=1.0, view_changes=0,
    )  # fmt: skip


# ---------------------------------------------------------------- what takes time


@pytest.mark.parametrize(
    ("way", "hops", "writes"), [("pbft", 3, 3), ("broadcast", 2, 3), ("collect", 3, 3)]
)
def test_a_commit_takes_its_hops_and_its_writes(way: str, hops: int, writes: int) -> None:
    found = point(way, 4)
    least_ms = hops * 10.0
    assert least_ms <= found.commit_ms <= least_ms * (1 + 4 * sites.JITTER) + writes
    assert found.view_changes == 0


def test_what_each_way_sends_is_what_the_protocol_says() -> None:
    n = 7
    assert point("pbft", n).messages == (n - 1) + 2 * n * (n - 1) - (n - 1)
    assert point("collect", n).messages == 3 * (n - 1)


def test_a_core_that_is_slower_makes_commits_slower_where_all_talk_to_all() -> None:
    base = msgspec.structs.replace(FREE, verify_us=50.0, frame_us=5.0, turn_us=20.0)
    fast, slow = (point("pbft", 16, "lan", base.slower(factor)) for factor in (1, 10))
    assert slow.core_ms == pytest.approx(10 * fast.core_ms, rel=0.3)
    assert slow.commit_ms > fast.commit_ms + 0.5 * (slow.core_ms - fast.core_ms) / 2


def test_each_signature_a_replica_checks_is_paid_for() -> None:
    n = 10
    only_verify = msgspec.structs.replace(FREE, verify_us=100.0)
    found = point("pbft", n, costs=only_verify, txs=1)
    quorum = quorums(n).vote
    least, most = 2 * (quorum - 1) + 2, 2 * n + 4
    assert 0.1 * least <= found.core_ms <= 0.1 * most


def test_a_large_block_waits_for_its_leaders_uplink() -> None:
    small, large = (point("broadcast", 7, "continent", txs=txs, heights=2) for txs in (1, 400))
    sent_kib = large.kib - small.kib
    assert sent_kib > 6 * 400 * 120 / 1_024
    uplink_ms = sent_kib * 1_024 * 8 / (sites.SITES["continent"].uplink_mbit * 1_000)
    assert large.commit_ms - small.commit_ms == pytest.approx(uplink_ms, rel=0.5)


def test_delegates_decide_alone_and_everybody_learns() -> None:
    few, all_ = point("dpos", 16, delegates=4), point("dpos", 16, delegates=16)
    assert few.messages < all_.messages / 2
    assert few.commit_ms <= all_.commit_ms * 1.2


def test_a_run_is_the_same_each_time_and_another_seed_is_another_run() -> None:
    cell = Cell(way="auto", n=4, sites="mixed", delegates=None, heights=3, txs=2)
    assert run_cell(cell, FREE) == run_cell(cell, FREE)
    assert run_cell(msgspec.structs.replace(cell, seed=2), FREE) != run_cell(cell, FREE)


@pytest.mark.parametrize("way", ["collect", "broadcast", "pbft"])
def test_the_last_height_counts_however_long_a_core_takes_to_decide(way: str) -> None:
    """A node's ledger was there before its core was: the run ended without the last mark."""
    slow = msgspec.structs.replace(
        FREE, decide_us=500.0, turn_us=300.0, step_us=200.0, release_us=200.0, write_us=[0.0]
    )
    cell = Cell(way=way, n=4, sites="lan", delegates=None, heights=2, txs=1)
    result = run_cell(cell, slow)
    assert isinstance(result, sweep.Point), result
    assert result.commit_ms > 0


def test_a_plant_that_stands_still_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vppd.simulate.cluster.MAX_EVENTS_PER_HEIGHT", 10)
    monkeypatch.setattr("vppd.simulate.cluster.MAX_EVENTS_PER_LINK", 1)
    cell = Cell(way="pbft", n=4, sites="lan", delegates=None, heights=3, txs=1)
    assert "no progress" in str(run_cell(cell, FREE))
    with pytest.raises(UserError, match="E453"):
        list(sweep.run_cells([cell], FREE, 1))


def test_the_simulator_itself_is_as_it_was() -> None:
    setup = Setup(n=4, heights=3, delay_us=1_000, faults=parse_sets("none"))
    assert simulate(setup, 7).trace == simulate(setup, 7).trace
    assert simulate(setup, 7).violation is None


def test_sites_are_where_their_names_say() -> None:
    mixed = sites.SITES["mixed"]
    ways = [mixed.delay_us(0, to) for to in (9, 1, 3)]
    assert ways == [2_000, 10_000, 40_000]
    assert all(mixed.delay_us(a, b) == mixed.delay_us(b, a) for a in range(20) for b in range(20))
    assert sites.SITES["lan"].delay_us(0, 5) == 250


# ---------------------------------------------------------------- costs


def test_a_message_costs_its_kind_its_signatures_and_its_transactions() -> None:
    costs = msgspec.structs.replace(FREE, receive_us={"Commit": 3.0, "Agree": 8.0}, verify_us=50.0)
    assert costs.receive(Commit(0, 0, 1, bytes(32), 1, bytes(64)), 1) == 53.0
    unseen = NewView(0, 1, 1, None, (), None, None, bytes(64))
    assert costs.receive(unseen, 0) == 8.0, "a kind that was not measured counts as the dearest"
    assert costs.slower(2).receive_us == {"Commit": 6.0, "Agree": 16.0}
    assert costs.slower(2).write_us == costs.write_us, "a slower core is no slower disk"


def test_measuring_this_machine(tmp_path: Path) -> None:
    steps = []
    costs = calibrate.calibrate(lambda: steps.append(1))
    assert len(steps) == calibrate.STEPS
    assert set(KINDS) <= set(costs.receive_us)
    assert costs.receive_us["Agree"] > 0
    assert Agree.__name__ in costs.receive_us
    positive = (
        costs.verify_us, costs.sign_us, costs.block_tx_us, costs.execute_tx_us, costs.turn_us,
        costs.release_us, costs.decide_us, costs.frame_us, costs.pack_tx_us, costs.write_us[0],
    )  # fmt: skip
    assert min(positive) > 0
    assert costs.verify_us > costs.sign_us, "libsodium signs faster than it verifies"
    assert costs.write_us == sorted(costs.write_us)
    save(tmp_path / "costs.json", costs)
    assert load(tmp_path / "costs.json") == costs


@pytest.mark.parametrize("content", [b"", b"{}", msgspec.json.encode({"machine": {}})])
def test_other_files_are_no_costs(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "costs.json").write_bytes(content)
    with pytest.raises(UserError, match="E450"):
        load(tmp_path / "costs.json")


def test_costs_without_a_disk_are_none(tmp_path: Path) -> None:
    save(tmp_path / "costs.json", msgspec.structs.replace(FREE, write_us=[]))
    with pytest.raises(UserError, match="no samples of the disk"):
        load(tmp_path / "costs.json")


# ---------------------------------------------------------------- the model


@pytest.mark.parametrize("curve", [Curve(3, 0, 0), Curve(0, 2, 0), Curve(5, 1, 0.02)])
def test_a_fit_finds_the_curve_that_made_the_points(curve: Curve) -> None:
    found = fit([(n, curve.at(n)) for n in (4, 10, 31, 100, 200)])
    assert found.at(10_000) == pytest.approx(curve.at(10_000), rel=1e-3)


def test_no_part_of_a_fit_is_below_zero() -> None:
    falling = [(4, 10.0), (10, 9.0), (31, 8.5), (100, 8.0)]
    found = fit(falling)
    assert min(found.a, found.b, found.c) >= 0
    assert fit([(n, float(n * n)) for n in (4, 10, 31, 100)], power=1).c == 0


def test_the_model_says_how_far_it_misses_and_needs_enough_sizes() -> None:
    points = [shown(n, 10.0 + 2 * n) for n in (4, 10, 31, 100)]
    made = model.extend(points, (50, 1_000))
    assert [m.n for m in made] == [1_000], "what was simulated is not modelled"
    assert made[0].commit_ms == pytest.approx(2_010, rel=1e-3)
    assert abs(made[0].off) < 0.001
    bent = [*points[:-1], shown(100, 420.0)]
    assert model.extend(bent, (1_000,))[0].off == pytest.approx(-0.5, abs=0.01)
    assert model.extend(points[:3]) == []


def test_a_certificate_has_room_for_as_many_voters_as_the_pages_say() -> None:
    def certificate(voters: int) -> bytes:
        return encode(Certificate(0, 0, 0, 1, bytes(32), bytes((voters + 7) // 8), ()))

    decode = Decoder(Certificate)
    assert decode(certificate(model.MOST_VOTERS)).height == 1
    with pytest.raises(Malformed):
        decode(certificate(model.MOST_VOTERS + 1))


def test_delegates_count_from_where_they_are_fewer_than_nodes() -> None:
    def of(n: int) -> Point:
        return msgspec.structs.replace(shown(n, float(n)), way="dpos", delegates=min(n, 10))

    assert model.extend([of(n) for n in (4, 7, 10, 31, 64, 100)]) == []
    assert model.extend([of(n) for n in (4, 7, 10, 31, 64, 100, 200)])[0].delegates == 10


# ---------------------------------------------------------------- the command


def run(*arguments: str) -> None:
    load_command(ENTRY).main(arguments, standalone_mode=False)


def test_the_command_from_costs_to_the_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "costs.json", PAID)
    given = ("--costs", str(tmp_path / "costs.json"), "--jobs", "1", "--heights", "2")
    out = tmp_path / "out"
    run(
        "--sizes", "4,5,6,7", "--ways", "collect,pbft", "--sites", "lan", "--out", str(out),
        "-o", "json", *given,
    )  # fmt: skip
    made = json.loads(capsys.readouterr().out)
    assert {(p["way"], p["n"]) for p in made["simulated"]} == {
        (way, n) for way in ("collect", "pbft") for n in (4, 5, 6, 7)
    }
    assert {m["n"] for m in made["model"]} == set(model.LARGE)
    kept = report.load(out / report.RESULTS)
    assert len(kept.simulated) == 8
    page = (out / report.PAGE).read_text()
    for line in page.splitlines():
        size = re.match(r"\| lan \| \w+ \| (\d+) \| (\w+) \|", line)
        if size:
            assert size[2] == ("simulation" if int(size[1]) <= sweep.MOST_NODES else "model")
    assert "fitted model, not simulated" in (out / report.PICTURE).read_text()


def test_a_table_labels_what_nobody_has_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "costs.json", PAID)
    run(
        "--sizes", "4,5,6,7", "--ways", "collect", "--sites", "lan", "--jobs", "1",
        "--heights", "1", "--costs", str(tmp_path / "costs.json"),
    )  # fmt: skip
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert {row[3] for row in rows if int(row[2]) <= 200} == {"simulation"}
    assert {row[3] for row in rows if int(row[2]) > 200} == {"model"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--sizes", "4,x"], "E452"),
        (["--sizes", "1"], "E452"),
        (["--sizes", "201"], "E452"),
        (["--ways", "raft"], "E452"),
        (["--ways", "auto", "--sizes", "100"], "E452"),
        (["--sites", "moon"], "E452"),
        (["--costs", "missing.json"], "E450"),
        (["--calibrate", "no/such/folder/costs.json"], "E451"),
    ],
)
def test_bad_options_are_named(
    arguments: list[str], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vppd.cli.bench_scale.calibrate", lambda _advance: FREE)
    with pytest.raises(UserError) as caught:
        run(*arguments)
    assert caught.value.code == code


def test_the_results_in_the_repository_hold_together() -> None:
    folder = Path(__file__).parents[2] / "bench" / "results" / "scale"
    kept = report.load(folder / report.RESULTS)
    assert (folder / report.PAGE).read_text(encoding="utf-8") == report.page(kept)
    assert max(p.n for p in kept.simulated) <= sweep.MOST_NODES < min(m.n for m in kept.model)
    assert kept.model == model.extend(kept.simulated), "vppd bench scale --out bench/results/scale"


def test_the_page_shows_the_results_that_are_kept() -> None:
    root = Path(__file__).parents[2]
    kept = report.load(root / "bench" / "results" / "scale" / report.RESULTS)
    page = (root / "docs" / "scale.md").read_text(encoding="utf-8")
    for place in {point.sites for point in kept.simulated}:
        assert report.overview(kept, place) in page, f"report.overview(kept, {place!r})"
