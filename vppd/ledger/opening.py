"""The state at height 0."""

from __future__ import annotations

from vppd.config.engines import DPOS
from vppd.config.genesis import Genesis
from vppd.config.grid import defects
from vppd.errors import ConfigError
from vppd.ledger.meters import least_rollover
from vppd.ledger.producers import list_candidates
from vppd.ledger.records import Account, GridAccount, Meter, OdometerRecord
from vppd.ledger.registration.records import Duty, DutyRecord, Member
from vppd.ledger.state import ACCOUNT, DUTY, GRID_ACCOUNT, MEMBER, METER, ODOMETER, State
from vppd.market.calendar import check_market
from vppd.types import Micro

MAX_TOTAL: Micro = 2**62
"""All money of a chain; leaves as much again for what the grid may owe in 64 bits."""


def opening_state(genesis: Genesis) -> State:
    """Members and meters as genesis lists them.

    Raises:
        ConfigError: E124; no ledger could be run with these numbers.
    """
    _check(genesis)
    state = State()
    for entry in genesis.accounts:
        account = Account(0, entry.balance, 0, entry.credit, entry.bus)
        state.put(ACCOUNT, account, entry.key)
    keys = {entry.name: entry.key for entry in genesis.accounts}
    for meter in genesis.meters:
        record = Meter(0, keys[meter.account], meter.first_slot, meter.import_wh, meter.export_wh)
        state.put(METER, record, meter.key)
        if meter.rollover_wh:
            rolls = OdometerRecord(meter.rollover_wh, 0, 0, meter.first_slot, 0, 0, bytes(32))
            state.put(ODOMETER, rolls, meter.key)
    state.put(GRID_ACCOUNT, GridAccount(0))
    for entry in genesis.accounts:
        if entry.aggregator:
            member = Member(entry.name, keys[entry.aggregator], 0, False, 0)
            state.put(MEMBER, member, entry.key)
    for given in genesis.duties:
        state.put(DUTY, DutyRecord(0), Duty[given.duty.upper()], keys[given.account])
    if genesis.consensus.engine == DPOS:
        list_candidates(genesis, state)
    return state


def _check(genesis: Genesis) -> None:
    try:
        check_market(genesis.market)
    except ValueError as err:
        raise _refusal(str(err), "docs/configuration.md says what [market] takes") from err
    total = sum(entry.balance for entry in genesis.accounts)
    if total > MAX_TOTAL:
        raise _refusal(f"all balances together are {total} micro", f"at most {MAX_TOTAL}")
    if genesis.grid is not None:
        seats = [(entry.name, entry.bus) for entry in genesis.accounts]
        defect = next(defects(genesis.grid, seats), None)
        if defect is not None:
            raise _refusal(f"{defect.kind}: {defect.why}", "vppd grid check shows the grid model")
    accounts = {entry.key for entry in genesis.accounts}
    if any(meter.key in accounts for meter in genesis.meters):
        raise _refusal("a meter has a member's key", "every meter signs with a key of its own")
    if any(0 < m.rollover_wh <= max(m.import_wh, m.export_wh) for m in genesis.meters):
        raise _refusal("a meter's register lies beyond its rollover", "rollover_wh above both")
    least = least_rollover(genesis.market)
    if any(0 < m.rollover_wh < least for m in genesis.meters):
        raise _refusal(
            f"a meter's rollover_wh is below {least}, twice what it counts until a slot is final",
            "0 if it never begins again; a smaller market.max_quantity_wh or market.dispute_slots",
        )


def _refusal(why: str, hint: str) -> ConfigError:
    return ConfigError("E124", f"this genesis cannot be executed: {why}", hint=hint)
