"""What was said once says nothing new when it is said again, elsewhere, or by somebody else."""

from __future__ import annotations

import pytest

from tests.hostile.picture import picture
from tests.hostile.replay import abroad, again, hand, restamped, stamped, tell
from tests.hostile.scene import Heard, play, victim
from vppd.consensus.messages import Type

MESSAGES = 3_000


def test_what_was_heard_changes_nothing_a_second_time() -> None:
    told = again(MESSAGES, step=7)
    assert told.total() == MESSAGES
    outcomes = {(each.type, each.outcome) for each in told}
    types = {Type.BLOCK, Type.PREPARE, Type.COMMIT, Type.STATUS}
    assert {kind.name for kind in types} <= {type_ for type_, _ in outcomes}
    assert {outcome for type_, outcome in outcomes if type_ == "STATUS"} == {"noted"}


def test_a_signature_is_good_for_no_other_epoch_view_or_height() -> None:
    told = restamped()
    assert {Type.NEW_VIEW.name, Type.VIEW_CHANGE.name, Type.EVIDENCE.name, Type.AGREE.name} <= {
        each.type for each in told
    }
    assert "BadSignature" in {each.outcome for each in told}


def test_nothing_of_one_chain_is_believed_on_another() -> None:
    told = abroad()
    refused = {each.type for each in told if each.outcome in {"BadSignature", "Malformed"}}
    assert {"BLOCK", "PREPARE", "COMMIT", "TX", "VIEW_CHANGE", "NEW_VIEW", "EVIDENCE"} <= refused


UNSIGNED = {Type.STATUS, Type.BLOCK, Type.PRE_PREPARED}


@pytest.mark.parametrize("other", [1, 3, None])
def test_it_does_not_matter_who_hands_a_signed_message_over(other: int | None) -> None:
    """Votes are transferable by design: a leader's vote counts the same from anybody.

    But for what no signature covers: where a block wants its votes, and that a wait is over.
    """
    script = play().script
    compared = 0
    for at, act in enumerate(script):
        if not isinstance(act, Heard) or act.frame.type in UNSIGNED:
            continue
        direct, passed_on = victim(at), victim(at)
        hand(direct, act.sender, act.frame)
        hand(passed_on, other, act.frame)
        assert direct.turns() == passed_on.turns()
        assert picture(direct.machine.engine.status()) == picture(passed_on.machine.engine.status())
        assert direct.log == passed_on.log
        compared += 1
    assert compared > 20


def test_a_status_says_something_about_its_sender_alone() -> None:
    cut = len(play().script)
    status = next(frame for _, frame in play().said if frame.type is Type.STATUS)
    silent, heard = victim(cut), victim(cut)
    hand(heard, None, status)
    heard.turns()
    assert picture(silent.machine) == picture(heard.machine), "an observer's says nothing"


def test_a_replay_that_counts_would_be_noticed() -> None:
    """What the victim has not heard yet does change it."""
    script = play().script
    at = next(i for i, act in enumerate(script) if isinstance(act, Heard) and i > 10)
    changed = 0
    for act in script[at:]:
        if isinstance(act, Heard) and act.frame.type is Type.BLOCK:
            with pytest.raises(AssertionError, match=r"because of a replay|changed by a replay"):
                tell(victim(at), act.sender, act.frame)
            changed += 1
            break
    assert changed == 1


def test_stamps_reach_every_signed_number() -> None:
    kinds = {frame.type: frame for _, frame in play().said}
    for kind in (Type.BLOCK, Type.PREPARE, Type.COMMIT, Type.AGREE, Type.NEW_VIEW):
        assert len(list(stamped(kinds[kind]))) >= 4, kind
