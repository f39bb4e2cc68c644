"""Four replicas without sockets, disks and clocks, and a host that keeps what they say."""

from __future__ import annotations

from collections.abc import Sequence

from tests.store.real_chain import GENESIS, KEYS, METER, START_MS, N
from vppd.config.genesis import Genesis
from vppd.consensus.boundary import Now, Record, Timer, TimerKind
from vppd.consensus.messages import Ping, Tx, Txs
from vppd.consensus.signing import TAG_COMMIT, TAG_PROPOSAL, TAG_VOTE, sign_bytes
from vppd.crypto import Signer, SigningKey, verify
from vppd.ledger.execution import Ledger
from vppd.ledger.transaction import Op, Transaction, Transfer, decode_transaction, make_transaction
from vppd.net.gate import decode_message
from vppd.node.beats import Committed, Effects, Frame
from vppd.node.machine import Machine

__all__ = ["GENESIS", "KEYS", "METER", "START_MS", "N"]

LEADER = 0
START = Timer(TimerKind.START)


def ledger() -> Ledger:
    return Ledger.from_genesis(GENESIS)


def payment(
    sender: int = 1, nonce: int = 0, amount: int = 1, *, expiry: int = 1_000, chain: bytes = b""
) -> bytes:
    """Replica ``sender`` pays the leader."""
    ops: tuple[Op, ...] = (Transfer(KEYS[LEADER].public_key, amount),)
    return make_transaction(KEYS[sender], chain or GENESIS.digest, nonce, expiry, ops)


def decoded(raw: bytes) -> Transaction:
    return decode_transaction(raw)


class CountingKey:
    """A key that knows how often it has signed."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        self.public_key = key.public_key
        self.signed = 0

    def sign(self, message: bytes) -> bytes:
        self.signed += 1
        return self._key.sign(message)


class Host:
    """Does for one machine what the driver does, with a list for a disk."""

    def __init__(
        self, index: int, signer: Signer | None = None, genesis: Genesis | None = None
    ) -> None:
        genesis = genesis or GENESIS
        self.index = index
        opening = Ledger.from_genesis(genesis)
        self.machine = Machine(genesis, signer or KEYS[index], verify, opening)
        self.ms = 0
        self.log: list[Record] = []
        self.committed: list[Committed] = []
        self.dropped: list[Transaction] = []

    def now(self) -> Now:
        return Now(self.ms, START_MS + 10_000 + self.ms)

    def start(self, log: Sequence[Record] = ()) -> Effects:
        """From genesis or a log; and, with its first turn, allowed to vote."""
        turn = self.machine.start(self.now(), log, None, ())
        self.log += turn.records
        first = self._note(self.machine.release(turn, self.now()))
        self.machine.fire(START)
        second = self.turn()
        return second._replace(frames=first.frames + second.frames)

    def turn(self) -> Effects:
        """Both beats."""
        turn = self.machine.turn(self.now())
        self.log += turn.records
        return self._note(self.machine.release(turn, self.now()))

    def _note(self, effects: Effects) -> Effects:
        self.committed += effects.committed
        self.dropped += effects.dropped
        return effects

    def take(self, sender: int, frame: Frame) -> None:
        """A frame from another replica, checked as the daemon does."""
        message = decode_message(frame.type, frame.payload)
        if isinstance(message, Tx):
            self.machine.submit(message.raw, self.ms, own=False)
        elif isinstance(message, Txs):
            for raw in message.raws:
                self.machine.submit(raw, self.ms, own=False)
        elif not isinstance(message, Ping) and self.machine.wants(sender, message):
            self.machine.gate.check(message)
            self.machine.receive(sender, message)


def vote_bytes(height: int, digest: bytes, view: int = 0) -> bytes:
    return sign_bytes(TAG_VOTE, GENESIS.digest, 0, view, height, digest)


def commit_bytes(height: int, digest: bytes, view: int = 0) -> bytes:
    return sign_bytes(TAG_COMMIT, GENESIS.digest, 0, view, height, digest)


def proposal_bytes(height: int, digest: bytes, view: int = 0) -> bytes:
    return sign_bytes(TAG_PROPOSAL, GENESIS.digest, 0, view, height, digest)


def settle(hosts: Sequence[Host]) -> None:
    """Turns, and frames between all of them, until nobody has anything left to do."""
    busy = True
    while busy:
        busy = False
        for host in hosts:
            if not host.machine.has_work:
                continue
            busy = True
            for frame in host.turn().frames:
                for other in hosts:
                    if other is not host and (frame.to == "all" or other.index in frame.to):
                        other.take(host.index, frame)
