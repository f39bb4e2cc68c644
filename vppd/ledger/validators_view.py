"""Members, candidates and proposals as a JSON document for people (docs/clients.md)."""

from __future__ import annotations

from typing import Any

from vppd.codec import encode
from vppd.config.founding import rules_in
from vppd.crypto import key_text
from vppd.ledger.context import Context
from vppd.ledger.election import scores, votes
from vppd.ledger.eras import latest_era
from vppd.ledger.governance import AUTHORITY_MISSING, OPERATOR_MISSING, standing_of
from vppd.ledger.plain import fields
from vppd.ledger.producers import next_election, standings
from vppd.ledger.state import (
    BALLOT,
    CANDIDATE,
    CONVICTION,
    PROPOSAL,
    PUNISHMENT,
    READINESS,
)


def validators_view(ctx: Context) -> dict[str, Any]:
    """Who votes at ``ctx.height`` and what is about to change."""
    latest = latest_era(ctx.founding, ctx.state)
    return {
        "height": ctx.height,
        "era": fields(ctx.era),
        "scheduled": fields(latest) if latest.epoch > ctx.era.epoch else None,
        "candidates": _candidates(ctx),
        "convicted": [
            {"key": key_text(key), "epoch": c.epoch, "height": c.height}
            for key, c in ctx.state.scan(CONVICTION)
        ],
        "proposals": _proposals(ctx),
        "next_election_height": next_election(ctx.genesis, latest, ctx.height - 1),
    }


def _candidates(ctx: Context) -> list[dict[str, Any]]:
    """By votes, as an election now would count them; none but in engine ``dpos``."""
    state = ctx.state
    candidates = dict(state.scan(CANDIDATE))
    if not candidates:
        return []
    rules = rules_in(ctx.genesis, ctx.era).dpos
    known = standings(state)
    score = scores(known, rules.alpha_ppm)
    received = votes(known, score, frozenset(candidates), rules.delegates)
    sitting = {member.key for member in ctx.era.members}
    rows = []
    for key in sorted(candidates, key=lambda key: (-received[key], key)):
        punishment = state.get(PUNISHMENT, key)
        rows.append(
            {
                "key": key_text(key),
                "name": candidates[key].name,
                "operator": candidates[key].operator,
                "addr": candidates[key].addr,
                "nonce": candidates[key].nonce.hex(),
                "produces": key in sitting,
                "ready": state.get(READINESS, key) is not None,
                "score_ppm": score[key],
                "votes_ppm": received[key],
                "punished_until_epoch": None if punishment is None else punishment.until_epoch,
            }
        )
    return rows


def _proposals(ctx: Context) -> list[dict[str, Any]]:
    rows = []
    for proposal, record in ctx.state.scan(PROPOSAL):
        approvals, needed, missing = standing_of(ctx, proposal)
        rows.append(
            {
                "proposal": proposal.hex(),
                "proposed_height": record.height,
                "epoch": record.configure.epoch,
                "changes": fields(record.configure)["changes"],
                "op": encode(record.configure).hex(),
                "approved_by": [
                    key_text(key)
                    for key, ballot in ctx.state.scan(BALLOT)
                    if proposal in ballot.proposals
                ],
                "approvals": approvals,
                "needed": needed,
                "authority_missing": bool(missing & AUTHORITY_MISSING),
                "operator_missing": bool(missing & OPERATOR_MISSING),
            }
        )
    return rows
