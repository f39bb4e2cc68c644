"""Collecting what an audit objects to, as sentences for people."""

from __future__ import annotations

from vppd.config.genesis import Genesis
from vppd.ledger.events import FUND, GRID
from vppd.types import Height, PublicKey


class Findings:
    """Sentences, each with the place in the chain it is about.

    Args:
        genesis: says what members are called.
    """

    def __init__(self, genesis: Genesis) -> None:
        self.sentences: list[str] = []
        self._where = "genesis"
        self._names = {meter.key: f"a meter of {meter.account}" for meter in genesis.meters}
        self._names |= {account.key: account.name for account in genesis.accounts}
        self._names |= {GRID: "the grid", FUND: "the fund"}

    def enter(self, height: Height, position: int = 0) -> None:
        """What follows is about this height: transaction ``position``, counted from 1, or none."""
        self._where = f"height {height}, transaction {position}" if position else f"height {height}"

    def add(self, sentence: str) -> None:
        """Object."""
        self.sentences.append(f"{self._where}: {sentence}")

    def same(self, what: str, found: object, right: object) -> None:
        """Object unless ``found`` is ``right``."""
        if found != right:
            self.add(f"{what} is {found}, it must be {right}")

    def name(self, key: PublicKey) -> str:
        """What people call the owner of a key."""
        return self._names.get(key) or f"the unknown key {key.hex()[:16]}"
