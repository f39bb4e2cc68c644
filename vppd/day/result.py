"""What the day came to: read from the stores after every process has stopped."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from vppd.day.audit import AuditReport, audit_store
from vppd.day.run import DayOptions, Played
from vppd.stats import summary_ms


class MemberBill(msgspec.Struct, frozen=True, kw_only=True):
    """One member's day; money is signed micro-currency, negative = received."""

    name: str
    role: str
    side: str
    """``buyer`` (net import) or ``seller``; ``none`` without a meter."""
    net_wh: int
    """Import − export."""
    paid_micro: int
    paid_grid_only_micro: int
    """What the same energy would have cost at the grid's prices alone."""


class DayResult(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON of ``vppd dev --exit -o json`` (docs/json.md)."""

    n: int
    engine: str
    height: int
    blocks: int
    transactions: int
    trades: int
    traded_wh: int
    members: list[MemberBill]
    conserved: bool
    """By an audit of the exported blocks that shares no code with the settlement."""
    heights_by_node: dict[str, int]
    head_hashes: dict[str, str]
    commit_ms: dict[str, float | None]
    decisions: dict[str, int]
    """Of all nodes, by the way they were reached; a restarted node counts from its restart."""
    fast_share: float | None
    """Of the decisions of nodes that voted in them, those on first-round votes alone."""
    fallbacks: dict[str, int]
    """Of all nodes: times a height went the slow way, by cause."""
    view_changes: int
    restarts: int
    findings: list[str]
    """What the audit objects to; empty if ``conserved``."""
    out: str
    """Where the plant's files are."""


def result_of(options: DayOptions, played: Played) -> DayResult:
    """Read every node's own store and audit the chain.

    Args:
        options: what was played.
        played: the live part.
    """
    audits: dict[str, AuditReport] = {
        member.name: audit_store(member.home / "chain.db", member.home / "genesis.toml")
        for member in played.testnet.nodes
    }
    first = next(iter(audits.values()))
    findings = [f"{name}: {what}" for name, audit in audits.items() for what in audit.findings]
    heads = {name: audit.head for name, audit in audits.items()}
    if len(set(heads.values())) != 1:
        findings.append("the nodes' stores end in different blocks")
    decisions = _added(played, "decisions")
    voted = decisions.total() - decisions["learnt"]
    fast = decisions["fast"] + decisions["fast_exit"]
    return DayResult(
        n=len(played.testnet.nodes),
        engine=options.engine,
        height=first.height,
        blocks=first.height,
        transactions=first.transactions,
        trades=first.trades,
        traded_wh=first.traded_wh,
        members=[_bill(row) for row in first.members],
        conserved=not findings,
        heights_by_node={name: audit.height for name, audit in audits.items()},
        head_hashes=heads,
        commit_ms=summary_ms([round(commit.ms * 1_000) for commit in played.commits]),
        decisions=dict(sorted(decisions.items())),
        fast_share=round(fast / voted, 4) if voted else None,
        fallbacks=dict(sorted(_added(played, "fallbacks").items())),
        view_changes=max(status["view_changes"] for status in played.statuses),
        restarts=played.restarts,
        findings=findings,
        out=str(options.out),
    )


def _added(played: Played, name: str) -> Counter[str]:
    """A count of every node's status, summed."""
    total: Counter[str] = Counter()
    for status in played.statuses:
        total.update(status[name])
    return total


def _bill(row: Any) -> MemberBill:
    side = "none" if row.net_wh == 0 else "buyer" if row.net_wh > 0 else "seller"
    return MemberBill(
        name=row.name,
        role=row.role,
        side=side,
        net_wh=row.net_wh,
        paid_micro=row.paid_micro,
        paid_grid_only_micro=row.paid_grid_only_micro,
    )
