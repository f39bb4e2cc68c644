"""Playing a season: blocks through a ledger, each timed, and every micro counted after each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from vppd.bench.season.plan import SeasonPlan, cast_of
from vppd.bench.season.script import Act, Moment, Script, Send
from vppd.consensus.profile import founding_validators
from vppd.crypto import SigningKey, verify
from vppd.header import Header
from vppd.ledger.block import make_header
from vppd.ledger.codes import ErrorCode, Status
from vppd.ledger.events import OrderAccepted, Posted
from vppd.ledger.execution import Execution, Ledger
from vppd.ledger.receipts import decode_receipt
from vppd.ledger.transaction import check_stateless, make_transaction
from vppd.types import Digest, Micro, TimeMs

LIFETIME = 1_000_000


class Played(NamedTuple):
    """One block of the season."""

    moment: Moment
    header: Header
    txs: tuple[bytes, ...]
    execution: Execution
    seconds: float
    """CPU of executing it, decoding included."""
    verify_seconds: float
    """CPU of checking its transactions' form and signatures; 0 unless asked for."""


class LostMoney(AssertionError):
    """Money has come or gone."""


class Season:
    """A season on one ledger.

    Args:
        plan: what to play.
        check_signatures: measure these, too.
    """

    def __init__(self, plan: SeasonPlan, *, check_signatures: bool = False) -> None:
        self.plan = plan
        self.cast = cast_of(plan)
        self.ledger = Ledger.from_genesis(self.cast.genesis)
        self.opening: Micro = self.ledger.total_micro()
        self.failures: Counter[ErrorCode] = Counter()
        """Transactions that failed, by reason: a bid that is not covered, for one."""
        self.postings = 0
        self._check_signatures = check_signatures
        self._parent: Digest = self.cast.genesis.digest
        self._validators = founding_validators(self.cast.genesis).digest
        self._nonces: Counter[bytes] = Counter()

    def play(self, say: Callable[[], object] = lambda: None) -> Iterator[Played]:
        """Block by block; ``say`` hears of every gate that closes.

        Raises:
            LostMoney: a block has made or lost some.
        """
        script = Script(self.plan, self.cast)
        for moment in script.moments():
            if moment.act is Act.GATE_CLOSURE:
                say()
            for sends, txs in self._blocks(script.sends(moment)):
                played = self._block(moment, txs)
                script.heard(moment, sends, _order_numbers(played.execution))
                yield played

    def _blocks(self, sends: Sequence[Send]) -> Iterator[tuple[list[Send], tuple[bytes, ...]]]:
        """As a leader cuts them; one without transactions where there are none."""
        rules, size = self.cast.genesis.consensus, 0
        said: list[Send] = []
        block: list[bytes] = []
        for send in sends:
            raw = self._sign(send.key, send)
            full = size + len(raw) > rules.max_block_bytes or len(block) == rules.max_block_txs
            if full:
                yield said, tuple(block)
                said, block, size = [], [], 0
            said.append(send)
            block.append(raw)
            size += len(raw)
        yield said, tuple(block)

    def _sign(self, key: SigningKey, send: Send) -> bytes:
        nonce = self._nonces[key.public_key]
        self._nonces[key.public_key] += 1
        expiry = self.ledger.height + LIFETIME
        return make_transaction(key, self.cast.genesis.digest, nonce, expiry, send.ops)

    def _block(self, moment: Moment, txs: tuple[bytes, ...]) -> Played:
        ledger = self.ledger
        time_ms: TimeMs = max(moment.time_ms, ledger.time_ms + 1)
        header = make_header(
            chain_id=ledger.chain_id, epoch=0, height=ledger.height + 1, parent=self._parent,
            time_ms=time_ms, proposer=self.cast.validator.public_key, txs=txs,
            state_root=ledger.state_root, receipts_root=ledger.receipts_root,
            next_validators=self._validators,
        )  # fmt: skip
        self._parent = header.digest()
        checked = self._checked(header, txs)
        begun = time.process_time()
        execution = ledger.execute(header, txs)
        seconds = time.process_time() - begun
        self.count(execution)
        return Played(moment, header, txs, execution, seconds, checked)

    def _checked(self, header: Header, txs: Sequence[bytes]) -> float:
        if not self._check_signatures:
            return 0.0
        begun, rules = time.process_time(), self.cast.genesis.consensus
        for raw in txs:
            check_stateless(raw, header.chain_id, header.height, rules, verify)
        return time.process_time() - begun

    def count(self, execution: Execution) -> None:
        """Every posting of every receipt; all money after the block.

        Raises:
            LostMoney: they do not add up.
        """
        for raw in execution.receipts:
            receipt = decode_receipt(raw)
            if receipt.status != Status.OK:
                self.failures[ErrorCode(receipt.code)] += 1
            posted = [event.delta for event in receipt.events if isinstance(event, Posted)]
            self.postings += len(posted)
            if sum(posted):
                raise LostMoney(f"a receipt of block {execution.height} posts {sum(posted)} micro")
        total = self.ledger.total_micro()
        if total != self.opening:
            raise LostMoney(f"after block {execution.height} there are {total - self.opening} more")


def _order_numbers(execution: Execution) -> list[int | None]:
    """Of each transaction, the number of the order it placed."""
    return [
        next((e.seq for e in decode_receipt(raw).events if isinstance(e, OrderAccepted)), None)
        for raw in execution.receipts[1:]
    ]
