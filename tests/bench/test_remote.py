"""Runs on other machines: real SSH servers, a real plant on them, and nothing left afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.bench import hosts
from tests.bench.hosts import Hosts, Machine
from vppd.bench.remote import wheels
from vppd.bench.remote.host import Remote
from vppd.bench.remote.inventory import Host, read_inventory
from vppd.bench.remote.load import LoadResult
from vppd.bench.remote.run import Plan, _summary
from vppd.config.genesis import Engine
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
        machines, tmp_path, "--rate", "24", "--seconds", "3", "--warm-up", "1", "-o", "json"
    )
    out, err = running.communicate(timeout=110)
    assert running.returncode == 0, err
    summary = json.loads(out)
    assert summary["valid"], summary["invalid_reasons"]
    assert summary["n"] == 4
    assert summary["timeouts"] == summary["dropped"] == 0
    assert summary["goodput_tx_s"] + summary["rejected"] / 3 == pytest.approx(24, abs=0.1)
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["max"]
    assert summary["compared_heights"] > 1
    assert summary["cleaned_up"] == {machine.name: True for machine in machines.machines}
    assert all(machines.scraps(machine.name) == [] for machine in machines.machines)
    kept = tmp_path / "out"
    assert json.loads((kept / "summary.json").read_text()) == summary
    clocks = json.loads((kept / "clocks.json").read_text())
    assert set(clocks) == {"h0", "h1", "h2", "h3"}
    for measured in clocks.values():
        for clock in measured.values():  # the same clock, seen through the network
            assert abs(clock["offset_ms"]) <= clock["rtt_ms"] / 2 + 0.001
    environment = json.loads((kept / "env.json").read_text())
    assert environment["hosts"]["h2"]["python"][:2] == list(sys.version_info[:2])
    assert "--rate 24" in (kept / "run.toml").read_text()
    assert all((kept / f"{name}.log").stat().st_size for name in clocks)


def test_ctrl_c_leaves_nothing_behind(machines: Hosts, tmp_path: Path) -> None:
    running = bench(machines, tmp_path, "--seconds", "300")
    assert running.stderr is not None
    for line in running.stderr:
        if "load:" in line:
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
    await remote.close()
    assert remote.removed
    assert not exists(folder)


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
    example = page.partition("```toml\n")[2].partition("```")[0]
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


def result(**changes: Any) -> LoadResult:
    fields: dict[str, Any] = {
        "sent": 2, "rejected": 0, "dropped": 0, "committed": 2, "timeouts": 0, "begun_unix_ns": 0,
        "latency_us": [1_000, 3_000], "blocks": {1: "aa", 2: "bb"},
    }  # fmt: skip
    return LoadResult(**(fields | changes))


@pytest.mark.parametrize(
    ("loads", "offset_ms", "reason"),
    [
        ([result(), result()], 0.0, None),
        ([result(), result(blocks={1: "aa", 2: "cc"})], 0.0, "different blocks"),
        ([result(), result(blocks={3: "aa"})], 0.0, "no height was compared"),
        ([result(), result()], -800.0, "800 ms off"),
        ([result(dropped=1), result()], 0.0, "could not send"),
        ([result(latency_us=[]), result(latency_us=[])], 0.0, "nothing was committed"),
    ],
)
def test_a_run_that_does_not_count_says_why(
    loads: list[LoadResult], offset_ms: float, reason: str | None
) -> None:
    from vppd.bench.remote.host import Clock

    plan = Plan(Engine("bncm"), "auto", 2.0, 2.0, 0.0)
    made = _summary(plan, loads, [{"height": 2}], [Clock(offset_ms, 1.0)], {"a": True})
    assert made["valid"] is (reason is None)
    assert not made["invalid_reasons"] if reason is None else reason in made["invalid_reasons"][0]
    assert made["goodput_tx_s"] == 2.0
