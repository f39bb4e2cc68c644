"""What a node makes of validators that say another process has its key."""

from __future__ import annotations

from vppd.errors import Exit
from vppd.net.copies import CLAIM_SECONDS, INSIST_SECONDS, Claims, second_copy


def insist(claims: Claims, validator: int, now: float) -> bool:
    """It refuses us now, and again after as long as counts; whether that stops us."""
    claims.note(validator, now)
    return claims.note(validator, now + INSIST_SECONDS)


def test_one_more_than_may_lie_is_enough() -> None:
    claims = Claims(needed=2)
    assert not insist(claims, 3, now=0)
    assert not insist(claims, 3, now=1), "the same one twice"
    assert insist(claims, 5, now=2)
    assert claims.insisting(now=5) == [3, 5]


def test_where_nobody_may_lie_one_is_enough() -> None:
    assert insist(Claims(needed=1), 0, now=0)


def test_what_was_said_long_ago_does_not_count() -> None:
    claims = Claims(needed=2)
    insist(claims, 3, now=0)
    assert claims.holds(3, now=CLAIM_SECONDS)
    assert not claims.holds(3, now=CLAIM_SECONDS + INSIST_SECONDS)
    assert not insist(claims, 5, now=CLAIM_SECONDS)


def test_who_talks_to_us_takes_it_back() -> None:
    claims = Claims(needed=2)
    insist(claims, 3, now=0)
    claims.withdraw(3)
    assert not claims.holds(3, now=0)
    assert not insist(claims, 5, now=1)


def test_systemd_does_not_start_a_copy_again() -> None:
    error = second_copy("ed25519:abc", ["op-0", "der-2"])
    assert error.exit_code is Exit.BAD_CONFIG
    assert "op-0, der-2" in str(error)


def test_who_has_no_vote_stops_nobody() -> None:
    """Candidates are connected, whatever their number; and members change."""
    claims = Claims(needed=1)
    claims.expect(2, frozenset({0, 1, 2, 3}))
    assert not insist(claims, 0, now=0)
    assert not any(insist(claims, candidate, now=1) for candidate in (4, 5, 6))
    claims.expect(2, frozenset({0, 4, 5, 6}))
    assert claims.note(4, now=1 + INSIST_SECONDS)
