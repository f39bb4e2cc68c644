"""What systemd is told."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import pytest

from vppd.node.notify import notify, watchdog_interval_s


@pytest.mark.parametrize("abstract", [False, True])
def test_states_go_to_the_service_manager(
    abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(tmp_path / "notify")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind("\0" + name if abstract else name)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        notify("READY=1")
        notify("WATCHDOG=1")
        assert [manager.recv(100), manager.recv(100)] == [b"READY=1", b"WATCHDOG=1"]


def test_without_a_service_manager_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30000000", 15.0), ("1", 0.0000005), ("0", None), ("", None), ("soon", None)],
)
def test_the_watchdog_is_fed_twice_per_interval(
    text: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", text)
    assert watchdog_interval_s() == seconds


def test_no_watchdog_is_not_fed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert watchdog_interval_s() is None
