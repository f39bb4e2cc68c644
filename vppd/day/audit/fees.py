"""Fees and rewards, worked out again from settlements and the packers of blocks."""

from __future__ import annotations

from vppd.config.genesis import Genesis
from vppd.day.audit.findings import Findings
from vppd.day.audit.purses import Purses
from vppd.day.audit.rules import amount
from vppd.ledger.events import FUND, GRID, FeesCharged, Purse, Reason, Settled
from vppd.types import Micro, PublicKey, Slot, Wh


class Fees:
    """All fees of the chain, and the fund they fill.

    Args:
        genesis: what they are.
        purses: told what has to move.
        findings: takes objections.
    """

    def __init__(self, genesis: Genesis, purses: Purses, findings: Findings) -> None:
        self._rules = genesis.market.fees
        self._purses = purses
        self._findings = findings
        self._settled: dict[tuple[Slot, PublicKey], Settled] = {}
        """In this receipt."""
        self._paid: dict[tuple[Slot, PublicKey], tuple[Micro, Micro]] = {}

    def begin_block(self, packer: PublicKey) -> None:
        """Who packed the block is rewarded first of all."""
        fund = self._purses.held(FUND, Purse.FUND)
        if self._purses.known(packer) and (reward := min(self._rules.block_reward, fund)) > 0:
            self._purses.expect(packer, Purse.BALANCE, reward, Reason.REWARD)
            self._purses.expect(FUND, Purse.FUND, -reward, Reason.REWARD)

    def settle(self, event: Settled) -> None:
        """Fees have to follow."""
        self._settled[event.slot, event.account] = event

    def charge(self, event: FeesCharged) -> None:
        """Fees have followed."""
        findings, rules = self._findings, self._rules
        place = event.slot, event.account
        who = f"{findings.name(event.account)} in slot {event.slot}"
        settled = self._settled.pop(place, None)
        if settled is None:
            findings.add(f"fees are charged on {who} without a settlement")
            return
        findings.same(f"the version of the fees of {who}", event.version, settled.version)
        net, grid_fee, levy = self._due(settled)
        findings.same(f"the net energy of {who} in Wh", event.net_wh, net)
        said = (event.grid_fee_price, event.levy_price)
        findings.same(f"the prices of the fees of {who}", said, (rules.grid_fee, rules.levy))
        findings.same(f"the fees of {who}", (event.grid_fee, event.levy), (grid_fee, levy))
        grid_before, levy_before = self._paid.get(place, (0, 0))
        self._move(event.account, GRID, Purse.GRID, grid_fee - grid_before, Reason.GRID_FEE)
        self._move(event.account, FUND, Purse.FUND, levy - levy_before, Reason.LEVY)
        self._paid[place] = (grid_fee, levy)

    def end_receipt(self) -> None:
        """Nobody is let off."""
        if self._rules.grid_fee or self._rules.levy:
            for place, settled in self._settled.items():
                _, grid_fee, levy = self._due(settled)
                if self._paid.get(place) != (grid_fee, levy):
                    name = self._findings.name(settled.account)
                    self._findings.add(f"{name} in slot {settled.slot} pays no fees")
        self._settled.clear()

    def _due(self, settled: Settled) -> tuple[Wh, Micro, Micro]:
        net = max(0, settled.import_wh - settled.export_wh)
        return net, amount(net, self._rules.grid_fee), amount(net, self._rules.levy)

    def _move(
        self, account: PublicKey, to: PublicKey, purse: Purse, delta: Micro, reason: Reason
    ) -> None:
        self._purses.expect(account, Purse.BALANCE, -delta, reason)
        self._purses.expect(to, purse, delta, reason)
