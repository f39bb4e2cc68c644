"""The report of a run's folder: all of it in one file, honest about what is missing or invalid."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from random import Random
from xml.etree import ElementTree as ET

import pytest

from tests.bench.folders import PLAN, histogram, write_lines, write_run
from tests.e2e.plant import vppd
from vppd.bench.plots import INK, SERIES
from vppd.bench.readback import read_folder
from vppd.bench.report import number, shares, write_report
from vppd.bench.series import write_series
from vppd.errors import UserError

ALL_PLOTS = [
    "Latency and throughput", "Percentile spectrum", "Latency over time", "Sent and committed",
    "Phases of a height", "Messages and bytes per height", "Size of a block",
    "CPU, memory, disk and network by daemon", "Scaling with the number of nodes", "Failing links",
]  # fmt: skip


def page_of(folder: Path) -> str:
    return write_report(folder).read_text(encoding="utf-8")


def svgs(page: str) -> list[str]:
    return re.findall(r"<svg .*?</svg>", page, re.DOTALL)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(write_run(tmp_path_factory.mktemp("run")))


def test_a_full_folder_gives_every_plot(full: str) -> None:
    heads = re.findall(r"<h2>(.*?)</h2>", full)
    assert [head for head in heads if head in ALL_PLOTS] == ALL_PLOTS
    assert len(svgs(full)) == len(ALL_PLOTS)


def test_the_page_loads_nothing(full: str) -> None:
    assert not re.findall(r"<(?:script|link|img|iframe|object|style[^>]+src)", full)
    assert not re.findall(r"(?:src|href)=\"(?!#)|url\((?!#)|@import", full)


def test_plots_are_well_formed_and_take_the_colours_of_the_page(full: str) -> None:
    declared = set(re.findall(r"(--[a-z0-9]+):", full))
    for text in svgs(full):
        ET.fromstring(text)  # noqa: S314  # our own
        assert "currentColor" in text
        assert INK not in text
        assert not any(colour in text for colour in SERIES)
        assert set(re.findall(r"var\((--[a-z0-9]+)\)", text)) <= declared
        assert 'aria-label="' in text


def test_both_colour_schemes_declare_the_same(full: str) -> None:
    light, dark = re.findall(r":root\{(.*?)\}", full)
    names = [set(re.findall(r"(--[a-z0-9]+):", part)) for part in (light, dark)]
    assert names[0] == names[1]


def test_the_page_says_what_was_run_where_and_how_to_run_it_again(full: str) -> None:
    assert "vppd bench run -n 4 --rate 2000 --duration 60 --runs 5" in full
    assert "a &lt;processor&gt; &amp; more" in full
    assert "libraries.pynacl" in full
    assert re.search(r"<td>load_after</td><td>2.3, 1.0, 0.4</td>", full)
    assert re.search(r"<td>fail</td><td>\[3, 100000\]</td>", full)
    assert "<td>kill</td><td>none</td>" in full
    assert "open loop at 2,000/s" in full
    assert "<td>CPU of all daemons 1.7 cores</td><td>2 cores</td><td>85 %</td>" in full


def test_of_several_runs_the_one_of_median_goodput_is_drawn(tmp_path: Path) -> None:
    run = read_folder(write_run(tmp_path, runs=5))
    ordered = sorted(one["goodput_tx_s"] for one in run.runs)
    assert run.runs[run.shown - 1]["goodput_tx_s"] == ordered[2]
    assert len(run.heights) == 900
    assert len(run.histograms) == 5
    assert f"is of run {run.shown}, the one of median goodput" in page_of(tmp_path)


def test_a_closed_loop_is_called_one(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path, bare=True, rate=None, closed=16))
    assert "closed loop with 16 outstanding" in page
    assert "open loop" not in page


def test_an_invalid_run_is_stamped_with_its_reasons(tmp_path: Path, full: str) -> None:
    assert "INVALID" not in full
    reasons = ["12 sends were dropped", "heads <differ>"]
    page = page_of(write_run(tmp_path, valid=False, invalid_reasons=reasons, bare=True))
    assert page.index("INVALID") < page.index("goodput")
    assert "12 sends were dropped" in page
    assert "heads &lt;differ&gt;" in page


def test_a_folder_with_nothing_but_the_summary_has_a_report(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path, bare=True, runs=1))
    heads = re.findall(r"<h2>(.*?)</h2>", page)
    assert heads == ["Near the limits", "Percentile spectrum", "Parameters", "Again"]


def test_a_run_in_which_nothing_was_measured_has_a_report(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("p50", "p90", "p99", "p999", "max"))
    write_run(tmp_path, bare=True, runs=1, goodput_tx_s=0.0, latency_ms=nothing, commit_ms=nothing)
    held = {"unit": "us", "latency": histogram(Random(1), 0)}
    (tmp_path / "latency.hgrm.json").write_text(json.dumps(held))
    assert "<h2>Percentile spectrum" not in page_of(tmp_path)


def test_a_report_replaces_the_one_before(tmp_path: Path) -> None:
    write_run(tmp_path, bare=True)
    (tmp_path / "report.html").write_text("old", encoding="utf-8")
    assert page_of(tmp_path) != "old"
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_results_stand_beside_the_limits_of_the_same_run(tmp_path: Path) -> None:
    write_run(tmp_path, bare=True, runs=1, goodput_tx_s=4_600.0, share_of_verify_limit=None,
              limits={"verify_per_s_all_cores": 36_800, "fsync_ms": {"p50": 0.1, "p99": 0.2},
                      "loopback_rtt_us": 50.0},
              commit_ms={"p50": 1.5, "p99": 4.0}, latency_ms={"p50": 2.5})  # fmt: skip
    said = [row.share for row in shares(read_folder(tmp_path).summary)]
    assert said == ["50.0 %", "15.0 writes", "20.0 writes", "50 round trips"]


def test_without_signatures_there_is_no_limit_of_signatures(tmp_path: Path) -> None:
    write_run(tmp_path, bare=True, signed=False)
    assert not [r for r in shares(read_folder(tmp_path).summary) if "signature" in r.limit]


def test_what_lies_beyond_the_knee_is_told_apart(full: str, tmp_path: Path) -> None:
    knee = full[full.index("<h2>Latency and throughput") :]
    knee = knee[: knee.index("</section>")]
    assert "knee: 7,000/s" in knee
    # of the fixture's eight rates two lie beyond 7,000: two hollow markers for each percentile
    hollow = [use for use in re.findall(r"<use [^>]*>", knee) if "fill-opacity: 0" in use]
    assert len(hollow) == 4
    write_run(tmp_path, runs=1)
    searched = json.loads((tmp_path / "saturate.json").read_text())
    (tmp_path / "saturate.json").write_text(json.dumps({**searched, "knee": None}))
    assert "knee:" not in page_of(tmp_path)


def test_one_height_and_one_second_can_be_drawn(tmp_path: Path) -> None:
    write_run(tmp_path, bare=True, runs=1)
    row = {"height": 7, "t_s": 0.1, "txs": 1, "bytes": 300, "path": "fast", "view": 0,
           "persist_ms": 5.0, "propose_to_decide_ms": 2.0, "collect_ms": None, "execute_ms": None,
           "fallback": None}  # fmt: skip
    write_lines(tmp_path / "heights.jsonl.gz", [row])
    second = {"t_s": 0, "sent": 1, "committed": 1, "p50_ms": 2.0, "p99_ms": 2.0, "max_ms": 2.0}
    write_lines(tmp_path / "samples.jsonl.gz", [second, {**second, "t_s": 1, "p50_ms": None}])
    assert "Phases of a height" in page_of(tmp_path)


def plan_with(**changed: str) -> str:
    text = PLAN
    for name, value in changed.items():
        text, count = re.subn(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
        assert count == 1, name
    return text


def test_runs_with_other_nodes_become_a_series(tmp_path: Path) -> None:
    for engine in ("bncm", "pbft"):
        for n in (4, 7):
            write_run(tmp_path / f"{engine}{n}", bare=True, runs=2, engine=engine, n=n,
                      plan=plan_with(engine=f'"{engine}"', nodes=str(n)))  # fmt: skip
    others = [word for name in ("bncm7", "pbft4", "pbft7") for word in ("--with", tmp_path / name)]
    ran = vppd("bench", "report", tmp_path / "bncm4", *others)
    assert ran.code == 0, ran.err
    rows = read_folder(tmp_path / "bncm4").series
    found = [(row["parameter"], row["value"], row["summary"]["engine"]) for row in rows]
    assert found == [("n", 4, "bncm"), ("n", 4, "pbft"), ("n", 7, "bncm"), ("n", 7, "pbft")]
    assert "runs" not in rows[0]["summary"]
    page = (tmp_path / "bncm4" / "report.html").read_text(encoding="utf-8")
    assert "Scaling with the number of nodes" in page
    assert "Failing links" not in page


def test_runs_with_failing_links_show_where_they_cross(tmp_path: Path) -> None:
    folders = []
    for engine, slope, start in (("bncm", 0.2, 4.0), ("pbft", 0.0, 10.0)):
        for share in (0, 20, 40, 60):
            fail = f"[[3, {share * 10_000}]]" if share else "[]"
            folders.append(write_run(
                tmp_path / f"{engine}{share}", bare=True, runs=1, engine=engine,
                commit_ms={"p50": start + slope * share},
                plan=plan_with(engine=f'"{engine}"', fail=fail),
            ))  # fmt: skip
    write_series(folders[0], folders[1:])
    assert [row["value"] for row in read_folder(folders[0]).series][::2] == [0, 20, 40, 60]
    page = page_of(folders[0])
    # 4 + 0.2·p = 1.02·10 at p = 31 %
    assert ">31%<" in page


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({}, "differ in"),
        ({"engine": '"pbft"'}, "plan.engine"),
        ({"bytes": "300"}, "plan.bytes"),
        ({"nodes": "7", "fail": "[]"}, "plan.fail"),
    ],
)
def test_what_is_no_series_is_refused(tmp_path: Path, changed: dict[str, str], named: str) -> None:
    a = write_run(tmp_path / "a", bare=True)
    b = write_run(tmp_path / "b", bare=True, plan=plan_with(**changed))
    with pytest.raises(UserError) as caught:
        write_series(a, [b])
    assert caught.value.code == "E445"
    assert named in caught.value.facts
    assert not (a / "series.json").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("summary.json", b"", "Expecting value"),
        ("summary.json", b"[]", "list"),
        ("summary.json", b'{"valid": true}', "it lacks goodput_tx_s, latency_ms"),
        ("run.toml", b"engine = ", "Invalid value"),
        ("run.toml", b"\xff", "decode"),
        ("heights.jsonl.gz", b"no gzip", "gzip"),
        ("samples.jsonl.gz", b"\x1f\x8b\x08\x00", "ended"),
        ("nodes.json", b"{", "Expecting"),
        ("latency.hgrm.json", b"{}", "no histogram"),
        ("latency.hgrm.json", b'{"latency": "HISTFAAAAB"}', "no histogram"),
    ],
)
def test_a_damaged_folder_is_refused_by_file(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    write_run(tmp_path, bare=True, runs=1)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        write_report(tmp_path)
    assert caught.value.code == "E444"
    assert caught.value.facts["file"] == str(tmp_path / name)
    assert said in caught.value.facts["why"]
    assert not (tmp_path / "report.html").exists()


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (write_run(tmp_path, bare=True) / "report.html").mkdir()
    with pytest.raises(UserError) as caught:
        write_report(tmp_path)
    assert caught.value.code == "E439"
    assert caught.value.facts["folder"] == str(tmp_path)


def test_no_folder_of_a_run_is_refused(tmp_path: Path) -> None:
    ran = vppd("bench", "report", tmp_path / "nowhere")
    assert ran.code == 2
    assert "error[E444]" in ran.err


def test_without_the_library_that_draws_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path, bare=True)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError) as caught:
        write_report(tmp_path)
    assert caught.value.code == "E430"
    assert "vppd[bench]" in str(caught.value)


def test_the_command_writes_the_file_and_says_where(tmp_path: Path) -> None:
    write_run(tmp_path, bare=True)
    ran = vppd("bench", "report", tmp_path, "-o", "json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out) == {"report": str(tmp_path / "report.html")}
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "–"), (True, "yes"), (0, "0"), (1234567, "1,234,567"), (0.12345, "0.123"),
     (45.04, "45"), (123.4, "123"), (7831.5, "7,832"), ("full", "full")],
)  # fmt: skip
def test_numbers_are_for_people(value: object, said: str) -> None:
    assert number(value) == said
