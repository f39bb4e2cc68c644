"""The chain store at a glance; `vppd db check` reads all of it."""

from __future__ import annotations

from pathlib import Path

from vppd.cli.checks.files import failed
from vppd.cli.checks.finding import Finding, fail, ok, warn
from vppd.config.genesis import Genesis
from vppd.errors import UserError
from vppd.store.check import StoreState, look

_MIND = "vppd db check says what is damaged; vppd recover keeps what holds, without a vote"


def store(path: Path, genesis: Genesis) -> list[Finding]:
    """File, schema, lock, safety record and whether this node has lost its vote."""
    try:
        state = look(path, genesis.digest)
    except UserError as err:
        return [failed("store", err)]
    running = "no node runs" if state.running is None else f"process {state.running} runs"
    says = f"{path.name}, schema version {state.schema}, height {state.decided}, {running}"
    wrong = [problem for problem in state.problems if problem.where != "safety record"]
    found = [ok("store", says)]
    if wrong:
        found = [fail("store", "; ".join(map(str, wrong)), _MIND)]
    return [*found, _vote(state)]


def _vote(state: StoreState) -> Finding:
    unfit = next((p.what for p in state.problems if p.where == "safety record"), None)
    if unfit is not None:
        return fail("safety record", unfit, "vppd start follows without voting, as vppd recover")
    if state.observer is not None:
        return warn(
            "safety record",
            f"THIS NODE DOES NOT VOTE: {state.observer}",
            "a configuration block that names its nonce, or a new key, gives the vote back",
        )
    return ok("safety record", f"version {state.generation}, as its guard says: may vote")
