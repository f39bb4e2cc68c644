"""Commands of a member's agent."""

from __future__ import annotations

from vppd.cli.commands.entry import Entry

AGENT = (
    Entry(
        "agent run",
        "vppd.cli.agent:run",
        "Run a bidding agent beside a running node: forecast, plan, quote, order.",
        (
            "vppd agent run --home plant/der-1",
            "vppd agent run --strategy zero-intelligence --home plant/der-1 --deliver",
            "vppd agent run --strategy grid-only --site site.toml --slots 24 -o json",
        ),
    ),
)
