"""The state at height 0."""

from __future__ import annotations

from vppd.config.engines import DPOS
from vppd.config.genesis import Genesis
from vppd.errors import ConfigError
from vppd.ledger.producers import list_candidates
from vppd.ledger.state import ACCOUNT, GRID_ACCOUNT, METER, Account, GridAccount, Meter, State
from vppd.market.auction import RULES
from vppd.market.money import amount_micro
from vppd.market.tariff import check_tariffs
from vppd.types import Micro

MAX_TOTAL: Micro = 2**62
"""All money of a chain; leaves as much again for what the grid may owe in 64 bits."""
MAX_AMOUNT: Micro = 2**53
"""The largest order or slot a chain may allow, in micro-currency."""


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
    state.put(GRID_ACCOUNT, GridAccount(0))
    if genesis.consensus.engine == DPOS:
        list_candidates(genesis, state)
    return state


def _check(genesis: Genesis) -> None:
    market = genesis.market
    try:
        check_tariffs(market.tariffs)
    except ValueError as err:
        raise _refusal(str(err), "the tariffs cover each minute of the day once") from err
    total = sum(entry.balance for entry in genesis.accounts)
    if total > MAX_TOTAL:
        raise _refusal(f"all balances together are {total} micro", f"at most {MAX_TOTAL}")
    price = market.max_price + RULES[market.rules].tolerance
    largest = amount_micro(market.max_quantity_wh, price)
    if largest > MAX_AMOUNT:
        raise _refusal(
            f"max_quantity_wh at max_price costs {largest} micro", f"at most {MAX_AMOUNT}"
        )
    accounts = {entry.key for entry in genesis.accounts}
    if any(meter.key in accounts for meter in genesis.meters):
        raise _refusal("a meter has a member's key", "every meter signs with a key of its own")


def _refusal(why: str, hint: str) -> ConfigError:
    return ConfigError("E124", f"this genesis cannot be executed: {why}", hint=hint)
