"""Runs on real daemons: what comes out, what is refused, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.bench.made import read_plan
from tests.bench.test_plan import job
from tests.e2e.plant import Plant as Running
from tests.e2e.plant import Ran, eventually, plant_of, vppd
from vppd.bench import latencies
from vppd.bench import plant as plants
from vppd.bench.faults import Faults
from vppd.bench.load import LoadProcess
from vppd.bench.plan import Plan
from vppd.bench.plant import Plant as BenchPlant
from vppd.bench.plant import Seat, Senders
from vppd.bench.stores import inspect
from vppd.bench.wire import Entry
from vppd.bench.workload import Slots
from vppd.cli.testnet import OPENING_BALANCE, write_testnet
from vppd.config.genesis import AccountEntry
from vppd.config.keys import create_key
from vppd.errors import UserError

SHORT = ("--duration", "2", "--warm-up", "1", "--clients", "2", "--accounts", "8")
BRIEF = ("--duration", "1", "--warm-up", "0.5", "--clients", "2", "--accounts", "8")
"""Too short for a run that counts."""
PACE = ("goodput", "the load processes were")
"""Reasons that a machine with too much to do can always have."""


class Result(NamedTuple):
    """A run that is over."""

    ran: Ran
    folder: Path

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    def lines(self, name: str) -> list[dict[str, Any]]:
        with gzip.open(self.folder / name, "rt") as file:
            return [json.loads(line) for line in file]


def bench(where: Path, *args: object, seconds: float = 90) -> Result:
    """``vppd bench run ARGS…`` with its plant and results in ``where``."""
    disk, out = where / "d", where / "out"
    disk.mkdir()
    words = ("bench", "run", *args, "--disk", disk, "--out", out)
    ran = vppd(*words, cwd=where, seconds=seconds)
    assert list(disk.iterdir()) == [], ran.err
    assert processes_in(where) == []
    return Result(ran, out)


def processes_in(folder: Path) -> list[str]:
    """What still runs of what was started in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.joinpath("cwd").readlink() == folder:
                found.append(process.joinpath("cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def only_pace(summary: dict[str, Any]) -> bool:
    reasons = (re.sub(r"^run \d+: ", "", reason) for reason in summary["invalid_reasons"])
    return all(reason.startswith(PACE) for reason in reasons)


# ---------------------------------------------------------------- one run, looked at closely


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return bench(tmp_path_factory.mktemp("four"), "-n", 4, "--rate", 80, *SHORT, "-o", "json")


def test_json_is_the_summary_and_nothing_else(four: Result) -> None:
    summary = four.ran.data
    assert summary == four.json("summary.json")
    assert four.ran.code == (0 if summary["valid"] else 1)
    assert summary["valid"] == (summary["invalid_reasons"] == [])
    assert only_pace(summary), summary["invalid_reasons"]
    assert (summary["engine"], summary["n"], summary["rate"]) == ("bncm", 4, 80.0)
    assert (summary["tls"], summary["sync"], summary["signed"]) == (True, "full", True)


def test_every_transaction_of_the_run_was_committed_once(four: Result) -> None:
    summary, seconds = four.ran.data, four.lines("samples.jsonl.gz")
    assert (summary["dropped"], summary["rejected"], summary["timeouts"]) == (0, 0, 0)
    clients = four.json("clients.json")
    sent = sum(row["sent"] for row in seconds)
    assert sent == sum(row["committed"] for row in seconds) > 100
    assert sent == sum(client["sent"] for client in clients)
    blocks = four.lines("heights.jsonl.gz")
    assert sum(row["txs"] for row in blocks) == sent
    assert sum(row["bytes"] for row in blocks) == pytest.approx(sent * summary["bytes"], rel=0.01)


def test_the_figures_fit_each_other(four: Result) -> None:
    summary, nodes = four.ran.data, four.json("nodes.json")
    *latency, mean = summary["latency_ms"].values()
    assert latency == sorted(latency)
    assert 0 < mean < latency[-1]
    assert 0 < summary["commit_ms"]["p50"] <= latency[-1]
    assert 0 < summary["share_of_verify_limit"] < 1
    assert summary["goodput_ops_s"] == summary["goodput_tx_s"]
    cpu_us = sum(node["cpu_s"] for node in nodes) * 1e6 / (summary["goodput_tx_s"] * 2 * 4)
    outside = cpu_us - summary["limits"]["verify_us"]
    assert summary["python_us_per_tx_replica"] == pytest.approx(outside, rel=0.1)
    assert summary["cpu_cores"] == pytest.approx(sum(n["cpu_s"] for n in nodes) / 2, rel=0.1)
    assert {node["name"] for node in nodes} == {"op-0", "der-1", "der-2", "der-3"}
    assert len({node["head"] for node in nodes}) == 1
    assert all(node["cpu_s"] > 0 and node["fsyncs"] > 0 for node in nodes)
    assert sum(n["frames_sent"].get("prepare", 0) + n["frames_sent"].get("received", 0)
               for n in nodes) > 0  # fmt: skip
    sent = sum(node["sent_bytes"] for node in nodes)
    assert 0 < sum(node["received_bytes"] for node in nodes) <= 1.1 * sent, "asked one by one"


def test_each_height_has_its_phases(four: Result) -> None:
    rows = four.lines("heights.jsonl.gz")
    assert [row["height"] for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        assert row["propose_to_decide_ms"] >= row["collect_ms"] >= 0
        assert row["execute_ms"] >= 0
        assert row["persist_ms"] > 0
        assert row["path"] in ("collect", "broadcast")


def test_the_histogram_holds_every_measured_sample(four: Result) -> None:
    from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]  # it has none

    document = four.json("latency.hgrm.json")
    histogram = HdrHistogram.decode(document["latency"])
    measured = [row for row in four.lines("samples.jsonl.gz") if row["t_s"] >= 1]
    assert 0 < histogram.get_total_count() <= sum(row["committed"] for row in measured) + 80
    largest_ms = histogram.get_max_value() / 1_000
    assert largest_ms == pytest.approx(four.ran.data["latency_ms"]["max"], rel=0.002)
    assert HdrHistogram.decode(document["accepted"]).get_total_count() > 0


def test_the_first_line_and_the_file_say_every_parameter(four: Result) -> None:
    first = four.ran.err.splitlines()[0]
    assert "rate=80" in first
    assert "load='orders and readings'" in first
    plan = read_plan(four.folder / "run.toml")
    assert (plan.nodes, plan.rate, plan.accounts, plan.warm_up_s) == (4, 80.0, 8, 1.0)
    command = tomllib.loads((four.folder / "run.toml").read_text())["command"]
    assert command.startswith("vppd bench run")
    assert "--rate 80" in command


def test_the_place_is_described(four: Result) -> None:
    where = four.json("env.json")
    assert where["cores"] == os.cpu_count()
    assert len(where["load_before"]) == len(where["load_after"]) == 3
    assert where["libraries"]["msgspec"] and where["disk"]["type"]  # noqa: PT018


# ---------------------------------------------------------------- other runs


def test_a_closed_loop_says_so_and_a_missed_threshold_exits_99(tmp_path: Path) -> None:
    done = bench(
        tmp_path, "-n", 1, "--closed", 1, "--clients", 1, "--duration", 2, "--warm-up", 1,
        "--transport", "plain", "--assert", "goodput_tx_s>=1000000", "--assert", "dropped<=0",
    )  # fmt: skip
    assert done.ran.code == 99
    assert "threshold missed: expected goodput_tx_s>=1000000, seen" in done.ran.err
    assert done.ran.err.count("threshold missed") == 1
    assert "closed loop, 1 outstanding" in done.ran.out.splitlines()[0]
    assert "CLOSED LOOP, 1 outstanding" in done.ran.out
    summary = done.json("summary.json")
    assert (summary["rate"], summary["closed"], summary["tls"]) == (None, 1, False)
    assert summary["timeouts"] == 0


def test_a_killed_node_comes_back_and_its_clients_find_it_again(tmp_path: Path) -> None:
    done = bench(
        tmp_path, "-n", 4, "--rate", 60, "--kill", "op-0@1.5s", "--kill", "der-2@1.5s",
        "--grace", 25, *SHORT, "-o", "json",
    )  # fmt: skip
    summary = done.ran.data
    assert only_pace(summary), summary["invalid_reasons"]
    assert summary["timeouts"] == 0
    assert [client["reconnects"] > 0 for client in done.json("clients.json")] == [True, False]
    nodes = {node["name"]: node for node in done.json("nodes.json")}
    assert len({node["head"] for node in nodes.values()}) == 1
    assert nodes["op-0"]["cpu_s"] is None


def test_what_is_refused_is_sent_again_until_it_is_taken(tmp_path: Path) -> None:
    done = bench(
        tmp_path, "-n", 1, "--closed", 200, "--rate", 400, "--clients", 1, "--accounts", 1,
        "--duration", 1, "--warm-up", 1, "--grace", 40, "-o", "json",
    )  # fmt: skip
    summary = done.ran.data
    assert (summary["timeouts"], summary["dropped"]) == (0, 0)
    assert summary["rejected"] > 0, "a mempool takes 64 of one account"
    (client,) = done.json("clients.json")
    assert client["first_refusal"] == "64 transactions of this account are waiting"
    assert sum(row["committed"] for row in done.lines("samples.jsonl.gz")) == client["committed"]
    assert client["committed"] == client["sent"] > 64


def test_links_that_always_fail_leave_no_first_round_decision(tmp_path: Path) -> None:
    done = bench(
        tmp_path, "-n", 4, "--rate", 60, "--fail", "der-3=100%", "--delay", "20ms", *SHORT,
        "-o", "json",
    )  # fmt: skip
    summary = done.ran.data
    assert only_pace(summary), summary["invalid_reasons"]
    assert summary["fast_share"] == 0.0
    assert summary["commit_ms"]["p50"] >= 60.0, "three hops of 20 ms, whatever the machine does"


def test_several_runs_have_medians_and_folders_of_their_own(tmp_path: Path) -> None:
    done = bench(tmp_path, "-n", 1, "--rate", 60, "--runs", 2, *BRIEF, "-o", "json")
    summary = done.ran.data
    each = [run["goodput_tx_s"] for run in summary["runs"]]
    assert (len(each), summary["goodput_tx_s"]) == (2, pytest.approx(sum(each) / 2))
    for i in (1, 2):
        assert done.json(f"run-{i}/summary.json") == summary["runs"][i - 1]
        assert (done.folder / f"run-{i}" / "latency.hgrm.json").exists()


def test_the_port_with_tls_serves_clients_too(tmp_path: Path) -> None:
    done = bench(tmp_path, "-n", 1, "--rate", 60, "--entry", "port", *SHORT, "-o", "json")
    assert only_pace(done.ran.data)
    assert done.ran.data["timeouts"] == 0


# ---------------------------------------------------------------- a plant that runs already


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("r")
    keys = folder / "keys"
    keys.mkdir()
    accounts = [
        AccountEntry(
            name=f"a-{i}", key=create_key(keys / f"a-{i}.key").public_key, balance=OPENING_BALANCE
        )
        for i in range(4)
    ]
    with plant_of(folder / "p", 2, accounts=accounts) as plant:
        for name in ("ca.pem", "node.pem", "node-tls.key"):
            file = plant.nodes[1].home / name
            (keys / name).write_bytes(file.read_bytes())
            (keys / name).chmod(0o600)
        plant.start()
        yield plant


def test_a_plant_that_runs_is_loaded_over_its_ports_and_left_alone(
    running: Running, tmp_path: Path
) -> None:
    home = running.nodes[0].home
    keys = home.parent.parent / "keys"
    before = running.nodes[0].view("status")["height"]
    done = bench(
        tmp_path, "--peers", home / "peers.toml", "--keys", keys, "--rate", 60, *SHORT,
        "-o", "json",
    )  # fmt: skip
    summary = done.ran.data
    assert only_pace(summary), summary["invalid_reasons"]
    assert (summary["n"], summary["sync"], summary["timeouts"]) == (2, "unknown", 0)
    assert "entry=port" in done.ran.err.splitlines()[0]
    assert running.nodes[0].view("status")["height"] > before
    blocks = done.lines("heights.jsonl.gz")
    assert blocks[0]["height"] > before, "what was before the run is no part of it"


def test_keys_that_the_plant_does_not_know_are_no_senders(running: Running, tmp_path: Path) -> None:
    peers = running.nodes[0].home / "peers.toml"
    keys = tmp_path / "keys"
    keys.mkdir()
    for name in ("ca.pem", "node.pem", "node-tls.key"):
        (keys / name).write_bytes((peers.parent / name).read_bytes())
        (keys / name).chmod(0o600)
    create_key(keys / "stranger.key")
    done = bench(tmp_path, "--peers", peers, "--keys", keys, *SHORT)
    assert (done.ran.code, "E437" in done.ran.err) == (2, True)
    assert not done.folder.exists()


def test_a_search_that_finds_no_rate_says_so_and_keeps_every_step(
    running: Running, tmp_path: Path
) -> None:
    home, out = running.nodes[0].home, tmp_path / "out"
    ran = vppd(
        "bench", "saturate", "--peers", home / "peers.toml", "--keys",
        home.parent.parent / "keys", "--rate", 64, "--limit", 0.001, "--duration", 0.3,
        "--warm-up", 0.1, "--runs", 1, "--clients", 1, "--disk", tmp_path, "--out", out,
        "-o", "json", cwd=tmp_path, seconds=110,
    )  # fmt: skip
    assert ran.code == 1, ran.err
    assert ran.out, ran.err
    assert ran.data["rate"] == 1.0
    assert any("warm-up" in reason for reason in ran.data["invalid_reasons"])
    document = json.loads((out / "saturate.json").read_text())
    assert [row["rate"] for row in document["search"]] == [64, 32, 16, 8, 4, 2, 1]
    assert document["knee"] is None
    assert "no rate was found that the plant keeps up with" in ran.data["invalid_reasons"]
    assert ran.err.count("/s offered") == 7
    command = tomllib.loads((out / "run.toml").read_text())["command"]
    assert command.startswith("vppd bench saturate --limit 0.001")
    assert "--rate 64" in command


async def test_a_store_that_was_tampered_with_is_found(running: Running, tmp_path: Path) -> None:
    source = running.nodes[0].home
    home = tmp_path / "h"
    home.mkdir()
    (home / "genesis.toml").write_bytes((source / "genesis.toml").read_bytes())
    await asyncio.to_thread(vppd, "db", "backup", home / "chain.db", "--home", source)
    genesis = running.testnet.genesis
    plant = BenchPlant(
        genesis, home / "genesis.toml", [Seat("op-0", "127.0.0.1:1", home)],
        Senders((), (), Slots(0, 0, 0)),
    )  # fmt: skip
    sound = await inspect(plant)
    assert (sound.faults, sound.forks, sound.failed) == ((), (), 0)
    assert sum(block.txs for block in sound.blocks.values()) > 0
    with closing(sqlite3.connect(home / "chain.db")) as connection:
        (txs,) = connection.execute(
            "SELECT txs FROM bodies WHERE length(txs) > 100 ORDER BY height DESC"
        ).fetchone()
    data = (home / "chain.db").read_bytes()
    at = data.index(txs) + len(txs) - 5  # within the last transaction's signature
    (home / "chain.db").write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    (fault,) = (await inspect(plant)).faults
    assert fault.startswith("the store of op-0 does not hold: error[E257]")


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("run --unsigned", "E431"),
        ("run --bytes 100", "E431"),
        ("run --rate 0", "E431"),
        ("run --closed 1", "E431"),
        ("run --peers peers.toml", "E431"),
        ("saturate --duration 9999", "E431"),
        ("run --kill der-9@1s", "E433"),
        ("saturate --kill op-0@soon", "E433"),
        ("run --assert speed>1", "E435"),
        ("run --fail der-9=10%", "E424"),
        ("run --fail der-1=90% --fail der-2=90%", "E428"),
        ("run --delay later", "E411"),
        ("run --engine raft", "E412"),
        ("run --engine pbft --path collect", "E416"),
    ],
)
def test_called_wrongly_it_starts_nothing(words: str, code: str, tmp_path: Path) -> None:
    ran = vppd("bench", *words.split(), cwd=tmp_path)
    assert (ran.code, ran.err.split(":")[0]) == (2, f"error[{code}]")
    assert list(tmp_path.iterdir()) == []


def test_results_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    ran = vppd("bench", "run", "--out", "out", cwd=tmp_path)
    assert (ran.code, "E439" in ran.err, "mine" in ran.err) == (1, True, True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = vppd("bench", "run", "--out", "file/out", cwd=tmp_path)
    assert (ran.code, "E439" in ran.err) == (1, True)


def test_without_its_libraries_the_bench_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "hdrh.histogram", None)
    with pytest.raises(UserError, match="not installed") as caught:
        latencies.require_histograms()
    assert (caught.value.code, "vppd[bench]" in str(caught.value)) == ("E430", True)


async def test_a_load_process_that_reaches_nobody_says_so(tmp_path: Path) -> None:
    testnet = await asyncio.to_thread(write_testnet, tmp_path / "p", 1, transport="plain")
    home = testnet.nodes[0].home
    entry = Entry(kind="socket", where=str(home / "vppd.sock"))
    process = LoadProcess(
        3, job(entry=entry, genesis=str(home / "genesis.toml"), samples=str(tmp_path / "s.u32")),
        lambda *_: None,
    )  # fmt: skip
    try:
        with pytest.raises(UserError, match="load process 3 has failed") as caught:
            await process.prepare()
    finally:
        await process.stop()
    assert caught.value.code == "E438"
    assert "No such file" in caught.value.facts["why"]


async def test_a_plant_that_does_not_come_up_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plants, "START_S", 6.0)
    monkeypatch.setattr(Faults, "write", lambda *_: None)  # so that no daemon takes its folder
    news: list[str] = []
    with pytest.raises(UserError, match="not every node") as caught:
        async with plants.started(Plan(nodes=1, accounts=2), tmp_path, news.append):
            pass
    assert caught.value.code == "E436"
    assert "E434" in caught.value.facts["last words"]
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------- disturbed


def test_a_node_that_dies_by_itself_makes_the_run_invalid(tmp_path: Path) -> None:
    disk, out = tmp_path / "d", tmp_path / "out"
    here = str(disk).encode()
    disk.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "vppd", "bench", "run", "-n", "2", "--rate", "60", *SHORT,
         "--clients", "1", "--grace", "25", "--disk", str(disk), "--out", str(out), "-o", "json"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        eventually(lambda: list(disk.glob("vppd-load-*/client-0.err")), "load processes start", 60)
        (victim,) = (
            int(entry.name)
            for entry in Path("/proc").glob("[0-9]*")
            if all(word in command_of(entry) for word in (b"bench.daemon", b"der-1", here))
        )
        os.kill(victim, signal.SIGKILL)
        printed, _ = process.communicate(timeout=90)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 1
    assert "der-1 died once, and nobody killed it" in json.loads(printed)["invalid_reasons"]


def command_of(process: Path) -> bytes:
    try:
        return process.joinpath("cmdline").read_bytes()
    except OSError:
        return b""


# ---------------------------------------------------------------- interrupted


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_whoever_interrupts_a_run_finds_nothing_of_it(tmp_path: Path, signum: int) -> None:
    disk = tmp_path / "d"
    disk.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "vppd", "bench", "run", "-n", "2", "--rate", "50", "--duration",
         "60", "--disk", str(disk), "--out", str(tmp_path / "out")],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        eventually(lambda: list(disk.glob("vppd-load-*/client-1.err")), "load processes start", 60)
        running = processes_in(tmp_path)
        assert sum("vppd.bench.daemon" in command for command in running) == 2
        process.send_signal(signum)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == (130 if signum == signal.SIGINT else 143)
    eventually(lambda: not processes_in(tmp_path), "every process ends")
    assert list(disk.iterdir()) == []
    assert not (tmp_path / "out").exists()
