"""The summary: its keys are a promise, its medians medians."""

from __future__ import annotations

import msgspec
import pytest

from tests.bench.made import summary
from vppd.bench.expect import parse_expectation, require
from vppd.bench.latencies import summary_ms
from vppd.bench.summary import Summary, medians, python_us
from vppd.errors import Exit, UserError

PROMISED = [
    "engine", "path", "n", "ledger", "signed", "ops_per_tx", "bytes", "sync", "tls", "rate",
    "goodput_tx_s", "goodput_ops_s", "latency_ms", "commit_ms", "dropped", "rejected", "timeouts",
    "fast_share", "messages_per_height", "limits", "share_of_verify_limit",
    "python_us_per_tx_replica", "rss_mib", "cpu_cores", "valid", "invalid_reasons",
]  # fmt: skip


def test_the_keys_are_those_that_were_promised() -> None:
    shown = msgspec.to_builtins(summary())
    assert list(shown) == [*PROMISED, "closed", "finality", "unsafe", "forks", "remarks", "runs"]
    assert list(shown["latency_ms"]) == ["p50", "p90", "p99", "p999", "max", "mean"]
    assert list(shown["commit_ms"]) == ["p50", "p90", "p99", "p999", "max", "mean"]
    assert list(shown["limits"]) == [
        "verify_per_s_all_cores", "fsync_ms", "loopback_rtt_us", "verify_us",
    ]  # fmt: skip
    assert list(shown["limits"]["fsync_ms"]) == ["p50", "p99"]


def test_percentiles_are_nearest_ranks() -> None:
    assert summary_ms(range(1_000, 1_001_000, 1_000)) == {
        "p50": 501.0, "p90": 901.0, "p99": 991.0, "p999": 1000.0, "max": 1000.0, "mean": 500.5,
    }  # fmt: skip
    assert summary_ms([]) == dict.fromkeys(("p50", "p90", "p99", "p999", "max", "mean"))


def test_several_runs_are_summed_up_by_medians() -> None:
    runs = [
        summary(goodput_tx_s=float(g), dropped=d, latency_ms={**summary().latency_ms, "p99": p})
        for g, d, p in ((100, 0, 9.0), (300, 5, None), (110, 1, 11.0))
    ]
    found = medians(runs)
    assert (found.goodput_tx_s, found.dropped, found.latency_ms["p99"]) == (110.0, 1, 10.0)
    assert (found.engine, found.n, found.tls, found.valid) == ("bncm", 4, True, True)
    assert found.runs == tuple(runs)
    assert msgspec.convert(msgspec.to_builtins(found), Summary) == found


def test_one_run_is_its_own_summary() -> None:
    assert medians([summary()]) == summary()


def test_one_invalid_run_makes_them_all_invalid_and_is_named() -> None:
    bad = summary(valid=False, invalid_reasons=("dirty clock",))
    found = medians([summary(), bad, summary()])
    assert (found.valid, found.invalid_reasons) == (False, ("run 2: dirty clock",))


def test_a_figure_that_no_run_has_stays_unknown() -> None:
    none = summary(fast_share=None, cpu_cores=None)
    assert medians([none, none]).fast_share is None
    assert medians([none, summary()]).cpu_cores == 0.5


def test_python_is_what_is_left_of_the_cpu_without_the_checks() -> None:
    assert python_us(4.0, 10_000, 4, 60.0) == pytest.approx(40.0)
    assert python_us(4.0, 10_000, 4, None) == pytest.approx(100.0)
    assert python_us(4.0, 0, 4, 60.0) is None


@pytest.mark.parametrize(
    "text",
    ["goodput_tx_s>=100", "latency_ms.p99 < 9.5", "valid==true", "dropped<=0", "commit_ms.max>4"],
)
def test_thresholds_that_hold(text: str) -> None:
    assert require([parse_expectation(text)], summary()) == ()


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("goodput_tx_s>100", "expected goodput_tx_s>100, seen 100.0"),
        ("latency_ms.p99<9", "expected latency_ms.p99<9, seen 9.0"),
        ("valid==false", "expected valid==false, seen True"),
        ("limits.fsync_ms.p99<=0.2", "expected limits.fsync_ms.p99<=0.2, seen 0.3"),
    ],
)
def test_thresholds_that_are_missed_say_expected_and_seen(text: str, seen: str) -> None:
    assert require([parse_expectation(text)], summary()) == (seen,)


def test_what_is_unknown_meets_no_threshold() -> None:
    unknown = summary(cpu_cores=None)
    (missed,) = require([parse_expectation("cpu_cores<99")], unknown)
    assert missed == "expected cpu_cores<99, seen None"


@pytest.mark.parametrize(
    "text", ["", "goodput", "goodput_tx_s=>1", "engine==1", "latency_ms<1", "p99<1", "rate>x"]
)
def test_thresholds_that_are_none(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_expectation(text)
    assert (caught.value.code, caught.value.exit_code) == ("E435", Exit.USAGE)
