"""What the network and its keepers cost: grid fee, levy, and the reward they pay for.

Fees lie on the energy a member takes from the network in a slot, net over all its trades, meters
and dealings with the grid: that is what its meters say. Otherwise two clearings of one slot would
charge energy twice that was bought and sold again.
"""

from __future__ import annotations

from typing import NamedTuple

from vppd.market.money import amount_micro
from vppd.types import Micro, MicroPerKwh, Wh


class Fees(NamedTuple):
    """What one member pays for one slot."""

    net_wh: Wh
    """Energy taken from the network."""
    grid_fee: Micro
    """To the grid."""
    levy: Micro
    """To the fund that rewards who keeps the ledger."""


def slot_fees(import_wh: Wh, export_wh: Wh, grid_fee: MicroPerKwh, levy: MicroPerKwh) -> Fees:
    """Fees on one slot; each is rounded once. Who gives more than it takes pays none.

    Args:
        import_wh: from the network, by the meters or, without a reading, by contract.
        export_wh: to the network, likewise.
        grid_fee: per kWh.
        levy: per kWh.
    """
    net = max(0, import_wh - export_wh)
    return Fees(net, amount_micro(net, grid_fee), amount_micro(net, levy))


def block_reward(reward: Micro, fund: Micro) -> Micro:
    """What the packer of a block gets (P0, maintainer): no more than the fund holds."""
    return max(0, min(reward, fund))
