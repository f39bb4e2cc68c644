"""A small portion of tests.store.torn, and that it would notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store import torn
from vppd.store.log import Log


async def test_damaged_stores_open_as_promised_or_as_observers_or_refuse(tmp_path: Path) -> None:
    outcomes, violations = await torn.run(tmp_path / "torn", 60, seed=7)
    assert violations == []
    kinds = {outcome.split()[0] for _, outcome in outcomes}
    assert kinds >= {"opened,", "observer", "refused"}, outcomes


async def test_without_the_guard_a_lost_tail_would_not_be_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vppd.store.start.read_guard", lambda _: None)
    _, violations = await torn.run(tmp_path / "torn", 60, seed=7)
    assert any("votes on another record" in violation for violation in violations)


async def test_without_reading_the_log_a_stale_guard_would_hide_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Log, "lost", lambda *_: 0)
    _, violations = await torn.run(tmp_path / "torn", 120, seed=7)
    assert any("(power" in violation for violation in violations)
