"""Micro-benchmarks: that they measure what they say, and that a report compares with the last."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from vppd.bench.micro import __main__ as program
from vppd.bench.micro import auction, plant, report, timing
from vppd.bench.micro.timing import Benchmark, Measured, Work, measure, steady
from vppd.errors import UserError
from vppd.ledger.codes import Status
from vppd.ledger.execution import Ledger
from vppd.ledger.receipts import decode_receipt
from vppd.market.auction import RULES, Book

ALL = program.benchmarks(full=False)


def measured(name: str, ratio: float, against: timing.Yardstick = "python") -> Measured:
    return Measured(
        name=name, unit="order", us=ratio / 2, ratio=ratio, against=against, turn_us=0.5,
        spread=0.1, samples=3,
    )  # fmt: skip


@pytest.mark.parametrize(
    "benchmark", [b for b in ALL if "100000" not in b.name], ids=lambda b: b.name
)
def test_every_benchmark_runs_and_costs_something(benchmark: Benchmark) -> None:
    found = measure(benchmark, 1)
    assert found.us > 0
    assert found.ratio > 0
    assert found.samples == 1


def test_names_are_of_rooms_and_no_two_are_the_same() -> None:
    names = [b.name for b in program.benchmarks(full=True)]
    assert len(set(names)) == len(names)
    assert program.rooms() == [
        "codec", "gate", "mempool", "merkle", "state_root", "execution", "store", "auction", "sync",
    ]  # fmt: skip


def test_twice_the_items_are_no_dearer_by_the_item() -> None:
    def loops(count: int) -> Benchmark:
        def make() -> Work:
            return lambda: [timing.python_loop() for _ in range(count)]

        return Benchmark("loop", "turn", count * timing.PYTHON_TURNS, steady(make))

    for count in (1, 4):
        found = measure(loops(count), 7)
        assert 0.4 < found.ratio < 2.5, f"the yardstick held against itself: {found}"


def test_setting_up_and_tidying_are_not_timed_and_nothing_is_collected() -> None:
    seen: list[str] = []

    @contextmanager
    def prepare() -> Iterator[Work]:
        for _ in range(20):
            timing.python_loop()
        seen.append("set up")
        yield lambda: seen.append(f"work, collector {'on' if gc.isenabled() else 'off'}")
        seen.append("tidied")

    found = measure(Benchmark("slow.setup", "run", 1, prepare), 2)
    assert seen == ["set up", "work, collector off", "tidied"] * 2
    assert gc.isenabled()
    assert found.ratio < timing.PYTHON_TURNS


def test_a_sample_that_fails_leaves_the_collector_on() -> None:
    def make() -> Work:
        return lambda: 1 // 0

    with pytest.raises(ZeroDivisionError):
        measure(Benchmark("broken", "run", 1, steady(make)), 1)
    assert gc.isenabled()


def test_the_orders_of_the_market_benchmark_trade() -> None:
    home = plant.plant()
    ledger = Ledger.from_genesis(home.genesis)
    time_ms = plant.ORIGIN_MS + plant.SLOT * plant.SLOT_MS - 3_600_000
    header = plant.header_over(ledger, home.genesis.digest, time_ms, plant.orders())
    receipts = [decode_receipt(raw) for raw in ledger.execute(header, plant.orders()).receipts]
    assert {r.status for r in receipts} == {Status.OK}
    trades = len(list(ledger.trades(plant.SLOT)))
    assert trades > plant.MEMBERS // 4


def test_the_book_that_is_cleared_trades_and_leaves_something() -> None:
    orders = auction.made_orders(2_000)
    book: Book[int] = Book(RULES["production"])
    trades = sum(len(book.submit(order)) for order in orders)
    closed = book.close(plant.RETAIL, plant.FEED_IN)
    assert trades > 500
    assert closed.trades
    assert closed.residuals


def test_transactions_are_about_as_long_as_on_a_real_plant() -> None:
    assert all(120 <= len(raw) <= 230 for raw in (*plant.transfers(), *plant.orders()))


# ---------------------------------------------------------------- reports


def test_a_change_is_one_of_ratios_and_only_against_the_same_yardstick() -> None:
    machine = {"cpu": "any"}
    old = report.Report(
        machine=machine,
        benchmarks=[measured("a.same", 10), measured("a.other", 10, "verify")],
    )
    new = report.Report(
        machine=machine,
        benchmarks=[measured("a.same", 5), measured("a.other", 5), measured("a.new", 5)],
    )
    rows = {row["benchmark"]: row for row in report.rows(new, old)}
    assert (rows["a.same"]["before"], rows["a.same"]["change"]) == ("10", "-50%")
    assert rows["a.other"]["change"] is None
    assert rows["a.new"]["change"] is None
    assert all("before" not in row for row in report.rows(new, None))


def test_a_run_keeps_its_results_and_the_next_shows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [b for b in ALL if b.name in ("merkle.root", "codec.vote_encode")]
    monkeypatch.setattr(program, "benchmarks", lambda *, full: few)  # noqa: ARG005
    assert program.main(["--samples", "1", "--out", str(tmp_path)]) == 0
    assert "BEFORE" not in capsys.readouterr().out
    first = (tmp_path / report.RESULTS).read_bytes()
    kept = report.load(tmp_path / report.RESULTS)
    assert [m.name for m in kept.benchmarks] == [b.name for b in few]
    assert program.main(["--samples", "1", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "BEFORE" in said
    assert f"{kept.benchmarks[0].ratio:g}" in said
    assert (tmp_path / report.RESULTS).read_bytes() != first
    page = (tmp_path / report.PAGE).read_text()
    assert "| merkle.root |" in page
    assert kept.machine["python"] in page


def test_a_selection_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["merkle.root", "--samples", "2", "--json"]) == 0
    (only,) = json.loads(capsys.readouterr().out)["benchmarks"]
    assert (only["name"], only["unit"], only["samples"]) == ("merkle.root", "leaf", 2)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nonsense"], "E452"),
        (["merkle", "--out", "kept"], "E452"),
        (["merkle.root", "--against", "missing.json"], "E450"),
        (["merkle.root", "--against", "wrong.json"], "E450"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_measured(
    arguments: list[str], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wrong.json").write_text('{"machine": 1}')
    with pytest.raises(UserError) as caught:
        program.main(arguments)
    assert caught.value.code == code
    assert not Path("kept").exists()


def test_results_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    empty = report.Report(machine={}, benchmarks=[])
    with pytest.raises(UserError, match="E451"):
        report.write(tmp_path / "file" / "below", empty)


def test_the_results_in_the_repository_are_of_these_benchmarks() -> None:
    folder = Path(__file__).parents[2] / "bench" / "results" / "micro"
    kept = report.load(folder / report.RESULTS)
    every = program.benchmarks(full=True)
    assert [m.name for m in kept.benchmarks] == [b.name for b in every], "make bench"
    assert (folder / report.PAGE).read_text(encoding="utf-8") == report.page(kept)
    assert msgspec.json.decode((folder / report.RESULTS).read_bytes())["schema"] == 1
