"""What only a mutant of the core showed to be untested (docs/mutants.md)."""

from __future__ import annotations

import pytest

from tests.consensus.group import Group
from tests.consensus.harness import sent, signature
from tests.consensus.test_traces import OPERATORS
from vppd.consensus.boundary import Fired, Timer, TimerKind
from vppd.consensus.messages import Block, Commit, PrePrepared, Status
from vppd.consensus.profile import BNCM
from vppd.consensus.viewchange import HAND_BACK_AFTER, HAND_BACK_LAG
from vppd.types import Mode


def led_by_a_der() -> Group:
    """The operator is off, replica 1 leads, and has for long enough to hand back."""
    group = Group(4, OPERATORS)
    group.power_off(0)
    group.work()
    group.fire(TimerKind.VIEW)
    group.decide(HAND_BACK_AFTER + HAND_BACK_LAG)
    assert group.views() == [1, 1, 1]
    return group


@pytest.mark.parametrize(("behind", "asks"), [(HAND_BACK_LAG, True), (HAND_BACK_LAG + 1, False)])
def test_the_lead_goes_back_to_an_operator_that_keeps_up_alone(behind: int, asks: bool) -> None:
    group = led_by_a_der()
    head = group.heights()[1]
    group.tell(1, Status(0, head - behind, 1, Mode.NORMAL), sender=0)
    leader = group.members[1].replica
    assert leader is not None
    mode = Mode.CHANGING if asks else Mode.NORMAL
    assert leader.status().mode is mode, f"head {head}, {behind} behind"


def test_an_operator_that_got_the_lead_and_decided_nothing_waits_twice_as_long_for_it() -> None:
    group = led_by_a_der()
    back = Status(0, group.heights()[1], 1, Mode.NORMAL)
    group.tell(1, back, sender=0)
    group.run()
    assert group.views() == [2, 2, 2]
    group.fire(TimerKind.CHANGE)  # it is here, and opens nothing
    assert set(group.views()) == {3}
    group.decide(HAND_BACK_AFTER + HAND_BACK_LAG)
    leader = group.members[2].replica
    assert leader is not None
    assert leader.status().leader == 2
    for decided, mode in ((HAND_BACK_AFTER, Mode.NORMAL), (HAND_BACK_AFTER, Mode.CHANGING)):
        group.tell(2, Status(0, group.heights()[2], 3, Mode.NORMAL), sender=0)
        assert leader.status().mode is mode
        group.decide(decided)


@pytest.mark.parametrize("observer", [False, True])
def test_a_leader_that_has_become_an_observer_ends_no_wait(observer: bool) -> None:
    group = Group(4, BNCM, path="collect")
    group.isolate(3)
    group.work()
    leader = group.members[0].replica
    assert leader is not None
    assert group.armed(0, TimerKind.GRACE)
    if observer:
        made = group.said(0, Block)[0]
        group.tell(0, Commit(0, 0, 1, made.digest, 0, signature(0, "a lock it never had")))
        assert leader.status().observer
    step = group.give(0, Fired(Timer(TimerKind.GRACE, 1)))
    assert bool(sent(step, PrePrepared)) is not observer
