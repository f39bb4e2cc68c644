"""``vppd doctor``: every line that fails is provoked by a real fault."""

from __future__ import annotations

import ctypes
import shutil
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ran, Vppd
from tests.e2e.plant import free_base_port
from vppd.cli.checks import machine, network
from vppd.cli.checks.finding import Finding, Verdict, ok
from vppd.cli.testnet import write_testnet
from vppd.config.genesis_file import load_genesis
from vppd.net.x509 import Issued, make_ca, make_crl, make_leaf
from vppd.store.recover import mark_observer

Doctor = Callable[[], dict[str, tuple[str, str]]]


@pytest.fixture
def base_port() -> int:
    return free_base_port(2)


@pytest.fixture
def plant(tmp_path: Path, base_port: int) -> Path:
    write_testnet(tmp_path / "plant", 2, base_port=base_port)
    return tmp_path / "plant"


@pytest.fixture
def home(plant: Path) -> Path:
    return plant / "op-0"


@pytest.fixture
def doctor(vppd: Vppd, home: Path) -> Iterator[Doctor]:
    """Runs it; check → (verdict, text). The exit code must fit."""
    last: list[Ran] = []

    def call() -> dict[str, tuple[str, str]]:
        ran = vppd("doctor", "--home", home, "-o", "json")
        last.append(ran)
        found = {row["check"]: (row["verdict"], row["says"]) for row in ran.data}
        assert len(found) == len(ran.data), "each check has a name of its own"
        assert ran.code == any(verdict == "fail" for verdict, _ in found.values())
        assert all(row["try"] for row in ran.data if row["verdict"] in ("warn", "fail"))
        return found

    yield call
    assert last
    assert all("Traceback" not in ran.err for ran in last)


def setting(home: Path, table: str, line: str) -> None:
    """Put a line into a table of node.toml."""
    file = home / "node.toml"
    text = file.read_text()
    if f"[{table}]" in text:
        key = line.partition(" ")[0]
        kept = [old for old in text.splitlines() if not old.startswith(f"{key} =")]
        text = "\n".join(kept).replace(f"[{table}]", f"[{table}]\n{line}") + "\n"
    else:
        text += f"\n[{table}]\n{line}\n"
    file.write_text(text)


def authority(plant: Path) -> Issued:
    return Issued((plant / "ca" / "ca.pem").read_bytes(), (plant / "ca" / "ca.key").read_bytes())


def certify(home: Path, leaf: Issued) -> None:
    (home / "node.pem").write_bytes(leaf.certificate)
    (home / "node-tls.key").write_bytes(leaf.key)


def test_a_new_node_has_no_fault_but_the_peer_that_does_not_run(
    doctor: Doctor, vppd: Vppd, home: Path
) -> None:
    found = doctor()
    assert {name for name, (verdict, _) in found.items() if verdict != "ok"} <= {
        "clock", "filesystem", "disk sync", "disk space", "crl", "peer der-1", "clock offset",
    }  # fmt: skip
    assert found["peer der-1"][0] == "warn"
    assert "connection refused" in found["peer der-1"][1]
    assert found["clock offset"][0] == "unknown"
    text = vppd("doctor", "--home", home)
    assert text.code == 0
    assert len([line for line in text.out.splitlines() if line.startswith("ok  ")]) > 10
    assert "try: " in text.out


# ---------------------------------------------------------------- files


def test_a_folder_that_others_can_write(doctor: Doctor, home: Path) -> None:
    home.chmod(0o777)
    assert doctor()["home"][0] == "fail"
    home.chmod(0o770)
    assert doctor()["home"][0] == "warn"


def test_a_folder_that_is_not_there(vppd: Vppd) -> None:
    ran = vppd("doctor", "--home", "nowhere")
    assert ran.code == 1
    assert "No such file" in ran.out


def test_keys_that_others_may_read(doctor: Doctor, home: Path) -> None:
    (home / "node.key").chmod(0o644)
    found = doctor()
    assert found["node key"][0] == found["config"][0] == "fail"
    assert "0644" in found["node key"][1]
    assert found["ports"][0] == found["peers"][0] == "unknown"
    (home / "node.key").chmod(0o600)
    (home / "node-tls.key").chmod(0o640)
    found = doctor()
    assert (found["tls key"][0], found["certificate"][0]) == ("fail", "unknown")
    (home / "node-tls.key").unlink()
    found = doctor()
    assert (found["tls key"][0], found["certificate"][0]) == ("fail", "fail")


def test_files_that_do_not_fit_together(doctor: Doctor, home: Path) -> None:
    peers = home / "peers.toml"
    peers.write_text(peers.read_text().replace('genesis_sha256 = "', 'genesis_sha256 = "00')[:-1])
    assert doctor()["config"][0] == "fail"
    (home / "genesis.toml").unlink()
    found = doctor()
    assert (found["config"][0], found["store"][0]) == ("fail", "unknown")


def test_a_node_toml_that_is_none(doctor: Doctor, home: Path) -> None:
    (home / "node.toml").write_text("schema = 1\nstoer = 2\n")
    assert doctor()["config"][0] == "fail"


def test_a_path_too_long_for_a_socket(doctor: Doctor, vppd: Vppd, home: Path) -> None:
    setting(home, "net", f'socket = "{"s" * 108}"')
    found = doctor()
    assert found["socket path"][0] == found["config"][0] == "fail"
    assert found["store"][0] == "ok", "the rest is judged by the defaults"
    far = home.with_name("f" * 108)
    home.rename(far)
    rows = vppd("doctor", "--home", far, "-o", "json").data
    assert {row["check"]: row["verdict"] for row in rows}["socket path"] == "fail"
    assert rows[-1]["verdict"] == "unknown"
    far.rename(home)


# ---------------------------------------------------------------- certificates


def test_certificates_that_end(doctor: Doctor, plant: Path, home: Path) -> None:
    ca, now = authority(plant), datetime.now(UTC)
    certify(home, make_leaf(ca, "op-0", 20))
    verdict, says = doctor()["certificate"]
    assert verdict == "warn"
    assert "ends in 20 days" in says
    certify(home, make_leaf(ca, "op-0", 10, now=now - timedelta(days=30)))
    verdict, says = doctor()["certificate"]
    assert verdict == "fail"
    assert "expired" in says


def test_certificates_of_somebody_else(doctor: Doctor, plant: Path, home: Path) -> None:
    whole = (home / "node.pem").read_bytes()
    certify(home, make_leaf(make_ca("other", 100), "op-0", 90))
    verdict, says = doctor()["certificate"]
    assert verdict == "fail"
    assert "another plant's CA" in says
    (home / "node.pem").write_bytes(whole)
    verdict, says = doctor()["certificate"]
    assert verdict == "fail"
    assert "do not belong together" in says
    (home / "node.pem").write_text("no certificate")
    assert doctor()["certificate"][0] == "fail"
    assert (plant / "ca" / "ca.pem").exists()


def test_a_list_of_revoked_certificates(doctor: Doctor, plant: Path, home: Path) -> None:
    ca, now = authority(plant), datetime.now(UTC)
    file = home / "crl.pem"
    assert doctor()["crl"][0] == "warn"
    setting(home, "net", 'crl = "crl.pem"')
    assert doctor()["crl"][0] == "fail"
    file.write_text("no list")
    assert doctor()["crl"][0] == "fail"
    file.write_bytes(make_crl(ca, None, [], 365))
    found = doctor()
    assert found["crl"][0] == found["certificate"][0] == "ok"
    file.write_bytes(make_crl(ca, None, [], 100, now - timedelta(days=80)))
    verdict, says = doctor()["crl"]
    assert verdict == "warn"
    assert "80 days old" in says
    file.write_bytes(make_crl(ca, None, [], 7, now - timedelta(days=9)))
    found = doctor()
    assert found["crl"][0] == found["certificate"][0] == "fail"
    assert "expired" in found["crl"][1]
    file.write_bytes(make_crl(ca, None, [(home / "node.pem").read_bytes()], 365))
    verdict, says = doctor()["certificate"]
    assert verdict == "fail"
    assert "revoked" in says


def test_plain_transport_is_said(doctor: Doctor, home: Path) -> None:
    setting(home, "net", 'transport = "plain"')
    assert doctor()["certificate"][0] == "warn"


# ---------------------------------------------------------------- store


def test_a_damaged_store(doctor: Doctor, home: Path) -> None:
    with (home / "chain.db").open("r+b") as file:
        file.truncate(20_000)
    assert doctor()["store"][0] == "fail"
    (home / "chain.db").unlink()
    assert doctor()["store"][0] == "fail"


def test_a_store_without_its_guard_has_lost_its_vote(doctor: Doctor, home: Path) -> None:
    (home / "chain.db-guard").unlink()
    found = doctor()
    assert (found["store"][0], found["safety record"][0]) == ("ok", "fail")
    mark_observer(
        home / "chain.db", load_genesis(home / "genesis.toml").digest, "came from elsewhere"
    )
    verdict, says = doctor()["safety record"]
    assert verdict == "warn"
    assert "came from elsewhere" in says


# ---------------------------------------------------------------- ports and peers


def listening(port: int) -> socket.socket:
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", port))
    taken.listen()
    return taken


def test_ports_that_somebody_else_has(doctor: Doctor, base_port: int) -> None:
    with closing(listening(base_port)), closing(listening(base_port + 1)):
        found = doctor()
    assert found["port"][0] == found["http port"][0] == "fail"
    assert str(base_port) in found["port"][1]


def test_an_address_that_is_not_on_this_machine(doctor: Doctor, home: Path) -> None:
    setting(home, "net", 'listen = "203.0.113.7:7440"')
    assert doctor()["port"][0] == "fail"


def test_a_peer_that_takes_connections_and_hangs_up(doctor: Doctor, base_port: int) -> None:
    """The kernel takes them; the other end closes before TLS."""
    with closing(listening(base_port + 10)) as silent:
        silent.settimeout(30)

        def hang_up() -> None:
            for _ in range(2):
                silent.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        verdict, says = doctor()["peer der-1"]
        thread.join()
    assert verdict == "warn"
    assert "no session" in says


def test_a_peer_whose_name_does_not_exist(doctor: Doctor, home: Path, base_port: int) -> None:
    peers = home / "peers.toml"
    peers.write_text(
        peers.read_text().replace(f"127.0.0.1:{base_port + 10}", f"der-1.invalid:{base_port}")
    )
    assert doctor()["peer der-1"][0] == "fail"


@pytest.mark.parametrize(
    ("offset_ms", "verdict"),
    [(0.0, Verdict.OK), (-300.0, Verdict.WARN), (700.0, Verdict.FAIL), (-700.0, Verdict.FAIL)],
)
def test_clocks_that_are_apart(home: Path, offset_ms: float, verdict: Verdict) -> None:
    genesis = load_genesis(home / "genesis.toml")
    line = ok("peer", "")
    visits = [network.Visit(line, offset_ms + noise, 4.0) for noise in (-1.0, 0.0, 90_000.0)]
    visits.insert(0, network.Visit(line, None, 0.0))
    visits.insert(0, network.Visit(line, offset_ms - 90_000.0, 4.0))
    found = network.clocks(visits, genesis)
    assert found.verdict is verdict, found
    assert f"{-offset_ms:+.0f} ms" in found.says or offset_ms == 0


# ---------------------------------------------------------------- machine


def test_a_disk_below_min_free(doctor: Doctor, home: Path) -> None:
    setting(home, "store", 'min_free = "1000TiB"')
    assert doctor()["disk space"][0] == "fail"
    free = shutil.disk_usage(home).free
    setting(home, "store", f'min_free = "{free * 2 // 3 >> 20}MiB"')
    assert doctor()["disk space"][0] == "warn"


def test_a_disk_that_cannot_be_written(doctor: Doctor, home: Path) -> None:
    setting(home, "store", 'path = "nowhere/chain.db"')
    found = doctor()
    assert found["disk sync"][0] == "fail"
    assert found["disk space"][0] == "unknown"
    assert found["store"][0] == "fail"


MOUNTS = """\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
30 21 0:25 / /mem rw - tmpfs tmpfs rw
31 21 0:26 / /far\\040away rw - nfs4 server:/ rw
32 21 0:27 / /container rw - overlay overlay rw
33 21 0:28 / /stick rw - vfat /dev/sda1 rw
34 30 0:29 / /mem/real rw - ext4 /dev/sdb1 rw
35 21 0:30 / /stick rw - xfs /dev/sdc1 rw
36 21 0:31 / /user rw - fuse.sshfs host: rw
"""


@pytest.mark.parametrize(
    ("folder", "verdict", "kind"),
    [
        ("/var/lib/vppd", "ok", "ext4"),
        ("/mem/plant", "warn", "tmpfs"),
        ("/mem/real/plant", "ok", "ext4"),
        ("/memory", "ok", "ext4"),
        ("/far away/plant", "warn", "nfs4"),
        ("/container", "warn", "overlay"),
        ("/stick/plant", "ok", "xfs"),
        ("/user/plant", "warn", "fuse.sshfs"),
    ],
)
def test_filesystems(tmp_path: Path, folder: str, verdict: str, kind: str) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS)
    found = machine.filesystem(Path(folder), table)
    assert (found.verdict, found.says.split()[0]) == (verdict, kind)


def test_without_a_list_of_mounts_nothing_is_claimed(tmp_path: Path) -> None:
    assert machine.filesystem(tmp_path, tmp_path / "none").verdict is Verdict.UNKNOWN
    (tmp_path / "empty").touch()
    assert machine.filesystem(tmp_path, tmp_path / "empty").verdict is Verdict.UNKNOWN


def kernel(status: int, result: int = 0) -> Any:
    """A C library whose kernel has that clock."""

    class Library:
        def __init__(self, *_: object, **__: object) -> None: ...

        @staticmethod
        def adjtimex(buffer: Any) -> int:
            raw = struct.pack("@I4li", 0, 0, 0, 16_000, 8_000, status)
            ctypes.memmove(buffer, raw, len(raw))
            return result

    return Library


@pytest.mark.parametrize(
    ("status", "result", "verdict"), [(0x40, 5, "warn"), (0x2001, 0, "ok"), (0, -1, "unknown")]
)
def test_the_kernels_clock(
    monkeypatch: pytest.MonkeyPatch, status: int, result: int, verdict: str
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", kernel(status, result))
    found = machine.clock()
    assert found.verdict == verdict
    assert "to 16 ms" in found.says or verdict != "ok"


def test_a_system_without_that_call_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    assert machine.clock().verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("answer", [True, False])
def test_a_library_that_takes_every_signature_or_none(
    monkeypatch: pytest.MonkeyPatch, answer: bool
) -> None:
    monkeypatch.setattr(machine, "verify", lambda *_: answer)
    found: Finding = machine.signatures()
    assert found.verdict is Verdict.FAIL
