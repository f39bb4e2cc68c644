"""Where in the grid an order comes from."""

from __future__ import annotations

from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.state import ACCOUNT
from vppd.types import PublicKey


def check_seat(ctx: Context, sender: PublicKey, bus: int) -> None:
    """An order comes from where its member sits; in a plant without a grid from anywhere.

    Raises:
        Failed: UNKNOWN_BUS or NOT_OWN_BUS.
    """
    if ctx.feeder is None:
        return
    if bus not in ctx.feeder.position:
        raise Failed(ErrorCode.UNKNOWN_BUS, bus)
    own = ctx.state.need(ACCOUNT, sender).bus
    if bus != own:
        raise Failed(ErrorCode.NOT_OWN_BUS, own)
