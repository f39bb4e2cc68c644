"""A small portion of the fuzzing, and whether the fuzzer would notice anything."""

from __future__ import annotations

from typing import Any

import pytest

from tests.hostile.fuzz import Fuzzer, Wrong, report
from tests.hostile.mutations import Mutator
from tests.hostile.picture import picture
from tests.hostile.scene import Asked, play, victim
from vppd.consensus.messages import Type
from vppd.net.gate import Gate
from vppd.net.sync import SYNC_TYPES
from vppd.node.machine import Machine

SEED = 20
FRAMES = 30_000


def test_thousands_of_bent_frames_get_nothing_but_refusals() -> None:
    fuzzer = Fuzzer(SEED)
    fuzzer.run(FRAMES)
    figures = fuzzer.figures
    assert figures.frames.total() == FRAMES
    assert {kind.name for kind in set(Type) - SYNC_TYPES} <= set(figures.frames)
    assert {"HELLO", "PROOF", "REFUSE", "REQUEST"} <= set(figures.frames)
    assert figures.errors["Malformed"] > FRAMES / 2
    assert figures.errors["BadSignature"] > 0, "some are right but for a signature"
    assert figures.taken > FRAMES / 10, "some are right altogether"
    assert figures.looked > 0
    assert figures.decided > 0, "victims do decide what the real chain decided"
    assert "anything else: 0" in report(figures, 0, 1.0)


def test_a_seed_says_everything() -> None:
    counts = []
    for _ in range(2):
        fuzzer = Fuzzer(SEED)
        fuzzer.run(1_000)
        counts.append((fuzzer.figures.frames, fuzzer.figures.errors, fuzzer.figures.taken))
    assert counts[0] == counts[1]


def hunt(seeds: range = range(5), frames: int = 5_000) -> None:
    """Fuzz until something is wrong."""
    for seed in seeds:
        Fuzzer(seed).run(frames)


def test_an_exception_of_the_wrong_kind_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Machine.wants

    def wants(machine: Machine, sender: Any, message: Any) -> bool:
        if getattr(message, "view", 0) > 2**62:
            raise OverflowError("such a view")
        return right(machine, sender, message)

    monkeypatch.setattr(Machine, "wants", wants)
    with pytest.raises(Wrong, match=r"seed \d+, frame \d+: OverflowError: such a view"):
        hunt()


def test_a_refused_transaction_that_stays_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Machine.submit

    def submit(machine: Machine, raw: bytes, now_ms: int, *, own: bool) -> Any:
        machine._pool_changed = True
        return right(machine, raw, now_ms, own=own)

    monkeypatch.setattr(Machine, "submit", submit)
    with pytest.raises(Wrong, match=r"a refused .* changed something"):
        hunt()


def test_a_refused_message_that_is_noted_somewhere_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = Machine.wants

    def wants(machine: Machine, sender: Any, message: Any) -> bool:
        machine._queued[7] += 1
        return right(machine, sender, message)

    monkeypatch.setattr(Machine, "wants", wants)
    with pytest.raises(Wrong, match="a refused frame changed something"):
        hunt()


def test_a_gate_that_checks_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gate, "check", lambda *_: None)
    with pytest.raises(Wrong, match="decided"):  # one in 10,000 frames or so
        hunt(frames=FRAMES)


def test_a_gate_that_believes_certificates_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vppd.net.gate.check_certificate", lambda *_: None)
    with pytest.raises(Wrong, match="decided"):  # one in 20,000 frames or so
        hunt(range(11, 16), 30_000)


def test_pictures_are_of_contents() -> None:
    script = play().script
    half = len(script) // 2
    # Not any act changes something: a vote may come too late. A transaction does.
    acts = next(i for i in range(half, len(script)) if isinstance(script[i], Asked))
    one, same, later = victim(acts), victim(acts), victim(acts + 1)
    assert picture(one.machine) == picture(same.machine)
    assert picture(one.machine) != picture(later.machine)


def test_every_way_of_bending_is_used() -> None:
    fuzzer = Fuzzer(SEED)
    mutator: Mutator = fuzzer._mutator
    ways = {mutator.next().how for _ in range(500)}
    assert ways == {"bytes", "tree", "content", "type", "forgery", "as it is"}
