"""Runs on other machines: real SSH servers, a real plant on them, and nothing left afterwards."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import platform
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.bench import hosts
from tests.bench.hosts import Hosts, Machine
from tests.bench.made import read_plan
from tests.bench.test_run import only_pace
from tests.e2e.plant import vppd
from vppd.bench.plan import Plan
from vppd.bench.plant import Senders
from vppd.bench.remote import wheels
from vppd.bench.remote.host import Clock, Remote
from vppd.bench.remote.inventory import Host, read_inventory
from vppd.bench.remote.run import keys_by_host, slowest, wrong_clocks
from vppd.bench.workload import Slots
from vppd.day.run import free_base_port
from vppd.errors import ConfigError, UserError

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0
"""Beyond this something hangs."""
STAND_IN = ("127.0.0.1", str(hosts.PORT + 10_000))
SLEEPER = ["-c", "import time; time.sleep(600)"]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with hosts.running(tmp_path_factory.mktemp("hosts"), 4) as made:
        sys.stdout.write(f"hosts: {made.how}, server: {made.server}\n")
        yield made


def host_of(made: Hosts, machine: Machine, **changes: Any) -> Host:
    fields: dict[str, Any] = {
        "name": machine.name, "address": machine.address, "port": hosts.PORT,
        "key": str(made.folder / "user"), "known_hosts": str(made.folder / "known_hosts"),
        "python": made.python(machine.name),
    }  # fmt: skip
    return Host(**(fields | changes))


def until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        # A child nobody has waited for yet still has a pid.
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def bench(made: Hosts, folder: Path, *words: str, inventory: str = "") -> subprocess.Popen[str]:
    (folder / "hosts.toml").write_text(inventory or made.inventory())
    return subprocess.Popen(
        [sys.executable, "-m", "vppd", "bench", "remote", str(folder / "hosts.toml"),
         "--out", str(folder / "out"), "--base-port", str(free_base_port(4)), *words],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


# ---------------------------------------------------------------- end to end


def test_a_plant_on_other_machines_from_keys_to_clean_up(machines: Hosts, tmp_path: Path) -> None:
    running = bench(
        machines, tmp_path, "--rate", "60", "--duration", "3", "--warm-up", "1", "--runs", "2",
        "-o", "json",
    )  # fmt: skip
    out, err = running.communicate(timeout=170)
    summary = json.loads(out)
    assert only_pace(summary), summary["invalid_reasons"]
    assert running.returncode == (0 if summary["valid"] else 1), err
    assert all(machines.scraps(machine.name) == [] for machine in machines.machines)
    assert (summary["n"], summary["rate"], len(summary["runs"])) == (4, 60.0, 2)
    assert summary["timeouts"] == summary["dropped"] == summary["forks"] == 0
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["max"]
    assert summary["commit_ms"]["p50"] > 0, "of clocks that are not this machine's"
    assert summary["limits"]["verify_per_s_all_cores"] > 0
    assert summary["cpu_cores"] > 0
    kept = tmp_path / "out"
    assert json.loads((kept / "summary.json").read_text()) == summary
    plan = read_plan(kept / "run.toml")
    assert (plan.nodes, plan.clients, plan.inventory) == (4, 4, str(tmp_path / "hosts.toml"))
    told = tomllib.loads((kept / "run.toml").read_text())["command"]
    assert told.startswith(f"vppd bench remote --base-port {plan_port(running)} ")
    assert "--rate 60" in told
    assert "--clients" not in told, "one on each machine is the default"
    each = json.loads((kept / "env.json").read_text())["hosts"]
    assert set(each) == {"h0", "h1", "h2", "h3"}
    for name, host in each.items():
        assert host["removed"] is True
        assert host["python"][:2] == list(sys.version_info[:2])
        assert host["limits"]["loopback_rtt_us"] > 0
        for clock in (host["clock_before"], host["clock_after"]):  # one clock, over the network
            assert abs(clock["offset_ms"]) <= clock["rtt_ms"] / 2 + 0.001
            assert abs(clock["monotonic_ns"]) <= clock["rtt_ms"] * 1e6
        assert (kept / f"{name}.log").stat().st_size
    with gzip.open(kept / "run-1" / "samples.jsonl.gz", "rt") as file:
        seconds = [json.loads(line) for line in file]
    clients = json.loads((kept / "run-1" / "clients.json").read_text())
    assert sum(row["committed"] for row in seconds) == sum(c["committed"] for c in clients) > 150
    with gzip.open(kept / "run-1" / "heights.jsonl.gz", "rt") as file:
        heights = [json.loads(line) for line in file]
    assert sum(row["txs"] for row in heights) == sum(client["sent"] for client in clients)
    assert all(-1 < row["t_s"] < 30 for row in heights), "by this machine's clock"
    nodes = json.loads((kept / "run-2" / "nodes.json").read_text())
    assert len({node["head"] for node in nodes}) == 1


def plan_port(running: subprocess.Popen[str]) -> str:
    words = running.args
    assert isinstance(words, list)
    return str(words[words.index("--base-port") + 1])


def test_report_and_compare_read_it_as_any_run_s(machines: Hosts, tmp_path: Path) -> None:
    running = bench(machines, tmp_path, "--closed", "8", "--duration", "2", "--warm-up", "1")
    out, err = running.communicate(timeout=110)
    assert running.returncode in (0, 1), err
    assert "CLOSED LOOP, 8 outstanding" in out
    kept = tmp_path / "out"
    page = (kept / "report.html").read_text()
    (kept / "report.html").unlink()
    again = vppd("bench", "report", kept)
    assert (again.code, again.out.strip()) == (0, str(kept / "report.html"))
    assert (kept / "report.html").read_text() == page
    for plot in (
        "Percentile spectrum", "Latency over time", "Phases of a height",
        "Messages and bytes per height", "CPU, memory, disk and network by daemon",
    ):  # fmt: skip
        assert plot in page
    compared = vppd("bench", "compare", kept, kept, "-o", "json")
    assert compared.code == 0, compared.err
    assert {row["ratio"] for row in compared.data["figures"]} <= {1.0, None}


def test_ctrl_c_leaves_nothing_behind(machines: Hosts, tmp_path: Path) -> None:
    running = bench(machines, tmp_path, "--duration", "300")
    assert running.stderr is not None
    for line in running.stderr:
        if "committed" in line:
            break
    assert all(machines.scraps(machine.name) for machine in machines.machines)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert all(machines.scraps(machine.name) == [] for machine in machines.machines)


def test_one_machine_that_cannot_be_reached_ends_the_run_everywhere(
    machines: Hosts, tmp_path: Path
) -> None:
    lost = machines.inventory() + (
        '[[host]]\nname = "gone"\naddress = "127.0.0.1"\nport = 1\n'
        f'key = "{machines.folder / "user"}"\nknown_hosts = "{machines.folder / "known_hosts"}"\n'
    )
    running = bench(machines, tmp_path, inventory=lost)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "E455" in err
    assert "gone" in err
    assert all(machines.scraps(machine.name) == [] for machine in machines.machines)


# ---------------------------------------------------------------- the agent


async def session(made: Hosts, machine: Machine, silence_s: float = 60.0) -> tuple[Remote, int]:
    """A session with something running that would run for long."""
    remote = await Remote.open(host_of(made, machine), silence_s)
    pid = (await remote.ask("start", name="sleeper", argv=SLEEPER))["pid"]
    assert alive(pid)
    assert len(made.scraps(machine.name)) == 1
    return remote, pid


async def gone(made: Hosts, machine: Machine, pid: int) -> None:
    def nothing() -> bool:
        return made.scraps(machine.name) == [] and not alive(pid)

    await asyncio.to_thread(until, nothing, f"something is left on {machine.name}")


async def test_goodbye_kills_and_removes(machines: Hosts) -> None:
    machine = machines.machines[0]
    remote, pid = await session(machines, machine)
    await remote.close()
    assert remote.removed
    assert machines.scraps(machine.name) == []
    assert not alive(pid)


async def test_a_connection_that_ends_without_a_word(machines: Hosts) -> None:
    machine = machines.machines[1]
    remote, pid = await session(machines, machine)
    remote._connection.abort()
    await gone(machines, machine, pid)
    await remote.close()
    assert not remote.removed, "nobody has said so"


async def test_a_controller_that_falls_silent(machines: Hosts) -> None:
    machine = machines.machines[2]
    remote, pid = await session(machines, machine, silence_s=1.0)
    if machines.how == "namespaces":
        machines.cut(machine)  # no packet says that anything has ended
    await gone(machines, machine, pid)
    if machines.how == "namespaces":
        machines.mend(machine)
    remote._connection.abort()


async def test_an_agent_that_is_killed_has_a_guard(machines: Hosts) -> None:
    machine = machines.machines[3]
    remote, pid = await session(machines, machine)
    os.kill(parent_of(pid), signal.SIGKILL)
    await gone(machines, machine, pid)
    with pytest.raises(UserError, match="E459"):
        await remote.ask("clock")
    await remote.close()


async def test_what_the_agent_cannot_do_it_says(machines: Hosts) -> None:
    remote = await Remote.open(host_of(machines, machines.machines[0]))
    try:
        with pytest.raises(UserError, match="FileNotFoundError"):
            await remote.read("no such file")
        with pytest.raises(UserError, match="do_dance"):
            await remote.ask("dance")
        code, out, err = await remote.finish(
            "talk", ["-c", "import sys; print(1); sys.exit('two')"], PATIENCE_S
        )
        assert (code, out, err.strip()) == (1, b"1\n", b"two")
    finally:
        await remote.close()
    assert remote.removed


async def test_a_clock_that_is_off_is_measured(machines: Hosts, tmp_path: Path) -> None:
    off = tmp_path / "python"
    off.write_text(
        f"#!/bin/sh\nexec {machines.python('h0')} -c "
        '"import sys,time; real=time.time_ns; time.time_ns=lambda: real()+250_000_000\n'
        'source=sys.argv[2]; sys.argv=sys.argv[2:]; exec(source)" "$@"\n'
    )
    off.chmod(0o755)
    remote = await Remote.open(host_of(machines, machines.machines[0], python=str(off)))
    try:
        clock = await remote.clock()
    finally:
        await remote.close()
    assert clock.offset_ms == pytest.approx(250, abs=clock.rtt_ms / 2 + 0.1)


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[Host]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.stand_in", str(_keys(tmp_path)), *STAND_IN], cwd=ROOT
    ) as server:
        try:
            hosts.wait_for(STAND_IN[0], int(STAND_IN[1]))
            known = (tmp_path / "host.pub").read_text().strip()
            address, port = STAND_IN
            (tmp_path / "known_hosts").write_text(f"[{address}]:{port} {known}\n")
            yield Host(
                name="stand-in", address=STAND_IN[0], port=int(STAND_IN[1]),
                key=str(tmp_path / "user"), known_hosts=str(tmp_path / "known_hosts"),
                python=sys.executable,
            )  # fmt: skip
        finally:
            server.terminate()


async def test_without_openssh_the_stand_in_serves(stand_in: Host) -> None:
    remote = await Remote.open(stand_in)
    folder = remote.facts["folder"]
    assert exists(folder)
    code, out, _ = await remote.finish("talk", ["-c", "print(2)"], PATIENCE_S)
    assert (code, out) == (0, b"2\n")
    await through_a_tunnel(remote)
    await remote.close()
    assert remote.removed
    assert not exists(folder)


async def test_a_tunnel_leads_to_a_socket_there(machines: Hosts) -> None:
    remote = await Remote.open(host_of(machines, machines.machines[3]))
    try:
        await through_a_tunnel(remote)
    finally:
        await remote.close()


async def through_a_tunnel(remote: Remote) -> None:
    serve = (
        "import socket; s = socket.socket(socket.AF_UNIX); s.bind('ear'); s.listen(); print(1, "
        "flush=True)\nwhile True: c, _ = s.accept(); c.sendall(c.recv(9)[::-1]); c.close()"
    )
    await remote.ask("start", name="ear-server", argv=["-c", serve])
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder) / "ear"
        await remote.tunnel(here, "ear")
        for word in (b"abc", b"xyz"):
            while not (await remote.ask("hear", name="ear-server", offset=0))["lines"]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            reader, writer = await asyncio.open_unix_connection(str(here))
            writer.write(word)
            assert await reader.read() == word[::-1]
            writer.close()


def exists(folder: str) -> bool:
    return Path(folder).exists()


def _keys(folder: Path) -> Path:
    hosts.make_keys(folder)
    return folder


# ---------------------------------------------------------------- who is not let in, and why


async def test_a_host_whose_key_is_not_known_is_not_connected_to(
    machines: Hosts, tmp_path: Path
) -> None:
    (tmp_path / "known_hosts").write_text("")
    strange = host_of(machines, machines.machines[0], known_hosts=str(tmp_path / "known_hosts"))
    with pytest.raises(UserError, match="E455"):
        await Remote.open(strange)


async def test_a_user_whose_key_is_not_known_is_not_let_in(machines: Hosts, tmp_path: Path) -> None:
    other = host_of(machines, machines.machines[0], key=str(_keys(tmp_path) / "user"))
    with pytest.raises(UserError, match="E455"):
        await Remote.open(other)


@pytest.mark.parametrize(
    ("python", "why"),
    [
        ("/no/such/python", "No such file"),
        ("OLD", "it is Python 3.9.2, vppd needs 3.11"),
        ("/bin/true", "does not start"),
    ],
)
async def test_a_machine_without_a_python_that_will_do(
    machines: Hosts, tmp_path: Path, python: str, why: str
) -> None:
    if python == "OLD":
        old = tmp_path / "python"
        old.write_text("#!/bin/sh\necho '{\"python\": [3, 9, 2]}'\n")
        old.chmod(0o755)
        python = str(old)
    with pytest.raises(UserError, match="E456") as caught:
        await Remote.open(host_of(machines, machines.machines[0], python=python))
    assert why in str(caught.value)


# ---------------------------------------------------------------- inventory, packages, summary


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("schema = 1\nhost = []\n", "E454"),
        ("schema = 1\n" + '[[host]]\nname = "a"\naddress = "b"\n' * 2, "E454"),
        ('schema = 1\n[[host]]\nname = "a/b"\naddress = "b"\n', "E454"),
        ('schema = 1\n[[host]]\nname = "a"\naddress = "b"\nkey = "/no/such/key"\n', "E454"),
        ('schema = 1\n[[host]]\nname = "a"\naddress = "b"\nadress = "c"\n', "E102"),
        ('schema = 1\n[[host]]\nname = "a"\n', "E103"),
        ("schema = 2\n", "E105"),
        ("schema =\n", "E101"),
        (None, "E100"),
    ],
)  # fmt: skip
def test_inventories_that_cannot_be_used(text: str | None, code: str, tmp_path: Path) -> None:
    path = tmp_path / "hosts.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_inventory(path)
    assert caught.value.code == code


def test_the_example_on_the_page_is_an_inventory(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "pi.md").read_text(encoding="utf-8")
    example = dedent(page.partition("```toml\n")[2].partition("   ```")[0])
    assert example.startswith("schema"), "indented as the step of the list that it belongs to"
    (tmp_path / "pis.toml").write_text(example.replace('key = "~', f'# key = "{tmp_path}'))
    listed = read_inventory(tmp_path / "pis.toml")
    assert len(listed.host) >= 4


def facts(**changes: Any) -> dict[str, Any]:
    return {
        "python": list(sys.version_info[:3]), "implementation": sys.implementation.name,
        "machine": platform.machine(), "system": platform.system(),
        "libc": list(platform.libc_ver()),
    } | changes  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [{"machine": "armv7l"}, {"python": [3, 99, 0]}, {"libc": ["glibc", "2.5"]}, {"libc": ["", ""]}],
)
def test_what_is_installed_here_goes_only_to_machines_of_this_kind(other: dict[str, Any]) -> None:
    assert wheels.same_kind(facts())
    assert not wheels.same_kind(facts(**other))


def test_wheels_for_a_pi_are_asked_for_by_its_libc() -> None:
    tags = wheels.platforms(facts(machine="aarch64", libc=["glibc", "2.36"]))
    assert tags[0] == "manylinux_2_36_aarch64"
    assert "manylinux_2_17_aarch64" in tags
    assert "manylinux2014_aarch64" in tags
    assert not any("2_37" in tag for tag in tags)
    with pytest.raises(UserError, match="E457"):
        wheels.platforms(facts(libc=["", ""]))


def test_needed_is_what_vppd_imports_and_no_extra() -> None:
    names = {package.metadata["Name"].lower() for package in wheels.needed()}
    assert {"msgspec", "pynacl", "cffi", "aiosqlite", "uvloop", "rich"} <= names
    assert not {"asyncssh", "matplotlib", "pytest", "vppd"} & names


def test_a_wheel_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "broken.whl").write_bytes(b"no zip")
    with pytest.raises(UserError, match="E457"):
        wheels.site([tmp_path / "broken.whl"], [])


def test_the_wheel_holds_the_package(tmp_path: Path) -> None:
    made = wheels.make_wheel(tmp_path)
    names = set(zipfile.ZipFile(made).namelist())
    assert {"vppd/__init__.py", "vppd/store/schema.sql", "vppd/bench/remote/agent.py"} <= names


def test_a_clock_that_is_too_far_off_is_a_reason() -> None:
    fine, off = Clock(0.4, 1.0, 7), Clock(-800.0, 1.0, 7)
    assert wrong_clocks(["a", "b"], [fine, fine, fine, fine]) == ()
    assert wrong_clocks(["a", "b"], [fine, off, fine, fine]) == ("the clock of b is 800 ms off",)
    assert wrong_clocks(["a", "b"], [fine, fine, off, fine]) == ("the clock of a is 800 ms off",)


def test_together_machines_are_as_fast_as_the_slowest() -> None:
    def one(rate: float, fsync_ms: float) -> dict[str, Any]:
        return {
            "verify_per_s": rate, "verify_us": 1e6 / rate, "fsync_p50_ms": fsync_ms,
            "fsync_p99_ms": 2 * fsync_ms, "loopback_rtt_us": 50.0, "in_memory": False,
        }  # fmt: skip

    limits = slowest([one(10_000.0, 5.0), one(2_500.0, 1.0)])
    assert (limits.verify_per_s, limits.verify_us) == (5_000.0, 400.0)
    assert (limits.fsync_p50_ms, limits.fsync_p99_ms) == (5.0, 10.0)


def test_a_host_gets_the_keys_of_its_own_load_processes(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    paths = [tmp_path / "keys" / f"k{i}.key" for i in range(7)]
    for path in paths:
        path.write_text("secret")
    senders = Senders(tuple(paths), ("transfer",) * 7, Slots(0, 0, 0))
    names = []
    for archive in keys_by_host(senders, Plan(clients=3, accounts=7), 2, tmp_path):
        with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
            names.append(packed.getnames())
    assert names == [["k0.key", "k2.key", "k3.key", "k5.key", "k6.key"], ["k1.key", "k4.key"]]
