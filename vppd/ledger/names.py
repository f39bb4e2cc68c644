"""Whose a key is: an account's, a meter's, a node's, or nobody's yet."""

from __future__ import annotations

from typing import Any

from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.eras import latest_era
from vppd.ledger.events import FUND, GRID
from vppd.ledger.state import ACCOUNT, CANDIDATE, CONVICTION, METER, ODOMETER, Table
from vppd.types import PublicKey

_HOLDERS: tuple[Table[Any, bytes], ...] = (ACCOUNT, METER, ODOMETER, CANDIDATE, CONVICTION)


def check_new_key(ctx: Context, key: PublicKey) -> None:
    """A key that stands for nobody yet.

    Raises:
        Failed: KEY_IN_USE; an account, a meter or a node has it or had it, or it stands for the
            grid or the fund.
    """
    members = {member.key for member in latest_era(ctx.founding, ctx.state).members}
    members |= {member.key for member in ctx.era.members}
    held = any(ctx.state.get(table, key) is not None for table in _HOLDERS)
    if held or key in (GRID, FUND, *members):
        raise Failed(ErrorCode.KEY_IN_USE)
