"""The rules every model shares: sizes, what a view change says, what a new view is bound to.

Written from protocol.md (§1 and §7) without a look at ``vppd.consensus``, so that the two can be
compared (tests/spec/test_binding.py). A rule set is the shipped protocol or the shipped
protocol with one rule changed; a model that cannot tell the two apart is worth nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple


class Rule(Enum):
    """A rule set: ``value`` is its name on the command line, ``words`` what differs."""

    SHIPPED = ("shipped", "the protocol as shipped")
    DEFERRED_DECISION = (
        "deferred_decision",
        "the decision row of n is written with the next record, not when n is decided",
    )
    DEFERRED_PAST_VIEW = (
        "deferred_past_view",
        "the decision row of n is written with the vote or commit that follows, not with a view",
    )
    FAST_ONE_LESS = ("fast_one_less", "F = n−1 (n−p−1): one vote less decides at once")
    CLAIM_ONE_LESS = ("claim_one_less", "τ−1 claims of a vote force its digest")
    CHANGE_ONE_LESS = ("change_one_less", "w−1 view changes open a view")
    SLACK_TOO_LARGE = ("slack_too_large", "p+1 where n = 3f+2p+1 (w held at n−f)")
    LOWEST_HEIGHT = ("lowest_height", "H0 = 1 + the lowest height shown, not the highest")
    CLAIMS_DROPPED = ("claims_dropped", "claims of votes do not count: PBFT's view change")
    CERTIFICATE_FIRST = (
        "certificate_first",
        "a prepared certificate beats votes of later views",
    )
    CHECK_DROPPED = (
        "check_dropped",
        "replicas accept a new view that hides a prepared certificate its view changes claim",
    )
    VOTE_BELOW_H0 = ("vote_below_h0", "a replica behind H0 votes where it stands")
    LEADER_VOTE_OMITTED = (
        "leader_vote_omitted",
        "a leader's own vote is missing from its view change",
    )
    DECISION_LOST = ("decision_lost", "a decision can be lost after the next vote is on disk")
    AMNESIA = ("amnesia", "a replica that lost its record votes again")
    COMMIT_AHEAD = ("commit_ahead", "a replica commits above L+1")
    DEFERRED_TO_VOTE = (
        "deferred_to_vote",
        "the decision row of n is written with the vote of n+1 alone, not with a commit",
    )
    NOTHING_CARRIED = ("nothing_carried", "a new view carries nothing over, as published")

    def __init__(self, slug: str, words: str) -> None:
        self.slug = slug
        self.words = words

    @property
    def safe(self) -> bool:
        """Whether the rule set is meant never to fork."""
        return self in {Rule.SHIPPED, Rule.DEFERRED_DECISION, Rule.DEFERRED_PAST_VIEW}


BROKEN = tuple(rule for rule in Rule if not rule.safe)


def brings_decisions(rule: Rule, kind: str) -> bool:
    """Whether writing a record of ``kind`` leaves no decision row unwritten (§4, Appendix B).

    Args:
        rule: the rule set.
        kind: ``decision``, ``vote``, ``commit`` or ``view`` (which a new view is too).
    """
    if rule is Rule.DECISION_LOST:
        return False
    if rule is Rule.DEFERRED_DECISION:
        return kind != "decision"
    if rule is Rule.DEFERRED_PAST_VIEW:
        return kind in {"vote", "commit"}
    if rule is Rule.DEFERRED_TO_VOTE:
        return kind == "vote"
    return True


class Sizes(NamedTuple):
    """How many of ``n`` replicas it takes (§1), in the letters of the page."""

    n: int
    f: int
    p: int
    q: int
    """Prepares or commits that make a certificate."""
    F: int
    """First-round votes that decide at once."""
    w: int
    """View changes that open a view."""
    tau: int
    """Claims of a vote that force its digest."""


def largest_slack(n: int, f: int) -> int:
    """The default p: n ≥ 3f+2p+1, and a view change survives ⌊(n−1)/3⌋ dead replicas."""
    if f == 0:
        return 0
    q = -(-(n + f + 1) // 2)
    fits = [
        p for p in range((n - 3 * f - 1) // 2 + 1) if max(q, 2 * f + 2 * p + 1) <= n - (n - 1) // 3
    ]
    return max(fits)


def sizes(n: int, f: int | None = None, p: int | None = None, rule: Rule = Rule.SHIPPED) -> Sizes:
    """Quorum sizes of ``n`` replicas under a rule set.

    Args:
        n: replicas, at least 1.
        f: Byzantine replicas; ``None`` for ⌊(n−1)/3⌋.
        p: slack of the fast path; ``None`` for :func:`largest_slack`.
        rule: the four rules about sizes change one of them.
    """
    f = (n - 1) // 3 if f is None else f
    p = largest_slack(n, f) if p is None else p
    q = -(-(n + f + 1) // 2)
    fast, w, tau = n - p, max(q, 2 * f + 2 * p + 1), f + p + 1
    if rule is Rule.FAST_ONE_LESS:
        fast -= 1
    elif rule is Rule.CLAIM_ONE_LESS:
        tau -= 1
    elif rule is Rule.CHANGE_ONE_LESS:
        w -= 1
    elif rule is Rule.SLACK_TOO_LARGE:
        # With w = 2f+2(p+1)+1 > n−f no view would ever open without the liars: slow, not unsafe.
        fast, w, tau = fast - 1, min(w + 2, n - f), tau + 1
    return Sizes(n, f, p, q, fast, w, tau)


FREE = 0
"""⊥ where a digest stands; digests count from 1."""


class Claim(NamedTuple):
    """A vote or a prepared certificate: the view it is of, and its digest."""

    view: int
    digest: int


NONE = Claim(-1, FREE)
"""No vote, no certificate: older than any view."""


class Standing(NamedTuple):
    """What a view change signs: L, and the latest vote and prepared certificate at L+1."""

    decided: int
    vote: Claim
    prepared: Claim


class Selection(NamedTuple):
    """What a new view is bound to."""

    height: int
    """H0."""
    choice: int
    """The digest to propose at H0; ``FREE``: whatever the leader likes."""


def first_height(shown: Sequence[Standing], rule: Rule = Rule.SHIPPED) -> int:
    """H0: one above the highest decision shown."""
    decided = [s.decided for s in shown]
    return 1 + (min(decided) if rule is Rule.LOWEST_HEIGHT else max(decided))


def select(
    shown: Sequence[Standing], attached: Claim, tau: int, rule: Rule = Rule.SHIPPED
) -> Selection:
    """``select(W)`` of §7.

    Args:
        shown: W, the view changes of w distinct replicas for one view.
        attached: the prepared certificate of height H0 that comes with them, or ``NONE``.
        tau: claims that force a digest.
        rule: four rule sets choose differently.
    """
    height = first_height(shown, rule)
    if rule is Rule.NOTHING_CARRIED:
        return Selection(height, FREE)
    if rule is Rule.CLAIMS_DROPPED:
        return Selection(height, attached.digest)
    if rule is Rule.CERTIFICATE_FIRST and attached != NONE:
        return Selection(height, attached.digest)
    claims = [
        s.vote.digest for s in shown if s.decided == height - 1 and s.vote.view > attached.view
    ]
    forced = [digest for digest in set(claims) if claims.count(digest) >= tau]
    return Selection(height, forced[0] if len(forced) == 1 else attached.digest)


def admits(
    shown: Sequence[Standing], attached: Claim, height: int, rule: Rule = Rule.SHIPPED
) -> bool:
    """The check of a new view that is about certificates (§7).

    No replica that stands at H0−1 may claim a later prepared certificate than the one attached,
    or another one of its view. An attached certificate may be *newer* than every claim.
    """
    if rule is Rule.CHECK_DROPPED:
        return True
    claims = [s.prepared for s in shown if s.decided == height - 1]
    return all(claim.view < attached.view or claim in (attached, NONE) for claim in claims)
