"""``python -m vppd.bench.client``: one load process.

It is spoken to in lines of JSON: a :class:`Job` first, which it answers with a :class:`Ready` when
every transaction is made and signed; then a :class:`Go`, after which it sends, and says once a
second how it stands; last a :class:`Done`. When its standard input ends, so does it.

A transaction goes out when it is due, whatever became of those before it, but for one rule: nonces
are strict, so behind one that the node has refused the other transactions of its sender wait until
it has been taken. It keeps its due time, and what it waits counts.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import time
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Literal, TypeAlias, TypeVar

import msgspec

from vppd.bench.samples import NEVER, Samples
from vppd.bench.wire import Connection, Entry, Piece
from vppd.bench.workload import Kind, Load, Sender, Slots, Supply
from vppd.codec import encode
from vppd.config.genesis_file import load_genesis
from vppd.config.keys import load_key
from vppd.crypto import SigningKey, key_text
from vppd.errors import Exit, PeerFault, UserError
from vppd.ledger.transaction import transaction_id
from vppd.net.frames import PUSH, REFUSE, REQUEST, RESPONSE, encode_frame
from vppd.net.hello import refusal_reason
from vppd.net.requests import (
    Accepted,
    Ask,
    DecidedView,
    Document,
    Failure,
    FailureCode,
    GetDecided,
    Request,
    Result,
    Submit,
    SubmitMany,
    Subscribe,
    Subscribed,
    Taken,
    View,
    decode_push,
    decode_response,
)
from vppd.node.mempool import MAX_PER_ACCOUNT, MAX_TXS
from vppd.types import Digest, Height

PIECE, PIECE_BYTES = 256, 48 * 1024
"""Transactions in one request, at most: fine enough to know when each was taken."""
WINDOW = 9 * MAX_TXS // 10
"""Of all clients, under way at a time: what is due beyond that waits here, not in a mempool that
would refuse it again and again. It keeps its due time, and what it waits counts."""
TICKED_RATE, TICK_NS = 2_000, 1_000_000
"""From so many transactions per second on, those of a millisecond leave together."""
AHEAD = 2
"""Requests under way: what becomes due meanwhile goes together with the next one. One is being
answered, and one is there when that is done."""
RETRY, RETRY_NS = 16, 20_000_000
"""So many transactions of a sender are tried again, so long after a refusal."""
PER_SENDER = 3 * MAX_PER_ACCOUNT // 4
"""Under way of one sender."""
RECONNECT_NS = 100_000_000
LONGEST_SLEEP_S, LONGEST_SLEEP_NS = 0.25, 250_000_000
NOT_YET = -1
FIRST_QUESTION = 2**40
ANSWER_S = 10.0
"""For the node to answer before the load begins."""


class Job(msgspec.Struct, frozen=True, kw_only=True, tag="job"):
    """What a client is to do."""

    entry: Entry
    genesis: str
    keys: tuple[str, ...]
    """Key files of its senders."""
    kinds: tuple[Kind, ...]
    """What each of them sends."""
    ops: int
    size: int | None
    unsigned: bool
    slots: Slots
    clients: int
    """Load processes in all."""
    rate: float
    """Transactions per second of this client; of a closed loop, made ahead."""
    arrival: Literal["poisson", "constant"]
    phase: float
    """Of constant arrivals: where in the interval the first one lies, 0…1."""
    closed: int | None
    """Outstanding of this client."""
    total_s: float
    grace_s: float
    seed: int
    samples: str
    """File for the raw samples."""


class Go(msgspec.Struct, frozen=True, tag="go"):
    """Begin at this monotonic time."""

    start_ns: int


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Everything is made."""

    transactions: int
    mean_bytes: float


class Standing(msgspec.Struct, frozen=True, tag="standing"):
    """So far."""

    sent: int
    committed: int
    refused: int


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The samples are written."""

    sent: int
    committed: int
    refused: int
    """Answers that said no; the transaction may have been taken later."""
    first_refusal: str
    reconnects: int
    exhausted: bool
    """A closed loop could have sent more than was made."""
    late_ms: float
    """99 of 100 transactions had their turn so soon after they were due."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """It could not begin."""

    why: str


R = TypeVar("R")
Said: TypeAlias = Ready | Standing | Done | Failed


def say(message: Said) -> None:
    """One line to whoever has started this process."""
    sys.stdout.write(msgspec.json.encode(message).decode() + "\n")
    sys.stdout.flush()


def due_times_ns(job: Job) -> array[int]:
    """When each transaction is due, nanoseconds after the beginning."""
    end, due = int(job.total_s * 1e9), array("q")
    chance = Random(f"arrivals {job.seed}")  # noqa: S311
    step = 1e9 / job.rate
    at = step * job.phase if job.arrival == "constant" else chance.expovariate(1) * step
    while at < end:
        due.append(int(at))
        at += step if job.arrival == "constant" else chance.expovariate(1) * step
    return due


class Stopped(Exception):
    """Whoever has started this process wants no more of it."""


class LoadClient:
    """Sends a supply of transactions to one node, and notes what becomes of each.

    Args:
        job: what to do.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._genesis = load_genesis(Path(job.genesis))
        self._line = Connection(job.entry, self._genesis)
        self._flight: dict[Digest, int] = {}
        """Handed to the connection and not committed."""
        self._next = 0
        self._told = 0
        """So many have become due."""
        self._waiting: dict[int, list[int]] = {}
        """By sender: refused ones and what has become due behind them, in order."""
        self._retries: deque[tuple[int, int]] = deque()
        """When to try a sender again; one entry for each that waits."""
        self._height: Height = 0
        """Of the last block this client knows the transactions of."""
        self._questions = 0
        self._requests = 0
        self._asked: dict[int, Sequence[int]] = {}
        """Transactions of each request that is not answered."""
        self._refused = 0
        self._first_refusal = ""
        self._reconnects = 0
        self._committed = 0
        self._sent = 0
        self._come_back_ns = 0

    # ------------------------------------------------------------ before

    def prepare(self) -> Ready:
        """Connect, ask for nonces, make and sign everything.

        Raises:
            OSError: the node is not reached.
            PeerFault: it does not let us in, or a key has no account.
            UserError: E431, its transactions are too long.
        """
        job = self._job
        self._line.open()
        self._height = self._ask_now(Subscribe(), Subscribed).height
        senders = [
            Sender(key, kind, self._nonce(key))
            for key, kind in zip((load_key(Path(p)) for p in job.keys), job.kinds, strict=True)
        ]
        load = Load(
            self._genesis.digest,
            self._height + self._genesis.consensus.max_tx_lifetime,
            job.ops,
            job.size,
            job.unsigned,
            job.slots,
            [sender.signer.public_key for sender in senders],
        )
        made = int(job.rate * job.total_s)
        self._due = due_times_ns(job) if job.closed is None else array("q", [NOT_YET]) * made
        self._count = count = len(self._due)
        self._supply = Supply(senders, load, count, job.seed)
        mean = self._supply.tx_bytes / max(1, count)
        most = self._genesis.consensus.max_tx_bytes
        if mean > most:
            raise UserError(
                "E431", f"no run: a transaction of {mean:.0f} bytes, this chain takes {most}",
                hint="fewer --ops, or fewer --bytes", exit_code=Exit.USAGE,
            )  # fmt: skip
        self._out = array("q", [NOT_YET]) * count
        """When it was each one's turn; all times are since the beginning."""
        self._taken = array("q", [NOT_YET]) * count
        self._accepted = array("q", [NOT_YET]) * count
        self._decided = array("q", [NOT_YET]) * count
        self._piece = max(1, min(PIECE, int(PIECE_BYTES / max(1.0, mean))))
        self._window = min(WINDOW // job.clients, PER_SENDER * len(senders))
        return Ready(count, mean)

    def _nonce(self, key: SigningKey) -> int:
        document = self._ask_now(View("account", key_text(key.public_key)), Document)
        nonce: int = msgspec.json.decode(document.json)["nonce"]
        return nonce

    def _ask_now(self, ask: Ask, kind: type[R]) -> R:
        """A question before the load begins."""
        self._ask(ask)
        give_up = time.monotonic() + ANSWER_S
        while time.monotonic() < give_up:
            list(self._line.write())
            if not self._line.buffered:
                self._line.wait(LONGEST_SLEEP_S)
            for type_, payload in self._line.read():
                if type_ == REFUSE:
                    raise PeerFault(refusal_reason(payload))
                if type_ == RESPONSE:
                    result = decode_response(payload).result
                    if isinstance(result, kind):
                        return result
                    raise PeerFault(getattr(result, "text", type(result).__name__))
        raise PeerFault(f"no answer to {type(ask).__name__} within {ANSWER_S:.0f} s")

    def _ask(self, ask: Ask) -> None:
        """A request of this client's own: its number is above those of the transactions."""
        self._questions += 1
        frame = encode_frame(REQUEST, encode(Request(FIRST_QUESTION + self._questions, ask)))
        self._line.put(Piece(memoryview(frame)))

    # ------------------------------------------------------------ the load

    def run(self, start_ns: int) -> Done:
        """Send from ``start_ns`` on, wait for what is under way, and write the samples.

        Raises:
            Stopped: standard input has ended.
        """
        job = self._job
        end = int(job.total_s * 1e9)
        stop = end + int(job.grace_s * 1e9)
        told = 1
        now = time.monotonic_ns() - start_ns
        while now < stop and (now < end or self._unfinished):
            if self._line.open_socket is None:
                self._come_back(now)
            if now >= 0:
                self._retry(now)
                if now < end or self._job.closed is None:
                    self._hand_out(now)
            self._turn(start_ns, self._wake_at(now, end) - now)
            now = time.monotonic_ns() - start_ns
            if now >= told * 1_000_000_000:
                told += 1
                say(Standing(self._sent, self._committed, self._refused))
        self._line.close()
        self._write_samples()
        begun = max(self._told, self._next)
        late = sorted(self._out[i] - self._due[i] for i in range(begun) if self._out[i] >= 0)
        return Done(
            self._sent,
            self._committed,
            self._refused,
            self._first_refusal,
            self._reconnects,
            job.closed is not None and self._next >= self._count,
            round(late[int(0.99 * len(late))] / 1e6, 3) if late else 0.0,
        )

    @property
    def _unfinished(self) -> bool:
        due = self._job.closed is None and self._next < self._count
        return due or bool(self._flight or self._waiting)

    def _wake_at(self, now: int, end: int) -> int:
        """When something is to be done again, if the node says nothing."""
        at = now + LONGEST_SLEEP_NS
        if now < 0:
            at = min(at, 0)
        elif now < end and self._told < self._count and self._job.closed is None:
            tick = TICK_NS if self._job.rate >= TICKED_RATE else 0
            at = min(at, max(self._due[self._told], now + tick))
        if self._retries:
            at = min(at, self._retries[0][0])
        return at

    def _hand_out(self, now: int) -> None:
        if self._job.closed is not None:
            first = self._next
            while self._next - self._committed < self._job.closed and self._next < self._count:
                self._due[self._next] = self._out[self._next] = now
                self._next += 1
            end = self._next
        else:
            while self._told < self._count and self._due[self._told] <= now:
                self._out[self._told] = now  # this client is in time, whatever the node is
                self._told += 1
            first, room = self._next, max(0, self._window - (self._next - self._committed))
            room = min(room, self._piece * max(0, AHEAD - len(self._asked)))
            end = self._next = min(self._told, self._next + room)
        if not self._waiting:
            self._put(range(first, end))
            return
        through: list[int] = []
        for i in range(first, end):
            behind = self._waiting.get(i % self._supply.senders)
            if behind is None:
                through.append(i)
            else:
                behind.append(i)
        self._put(through)

    def _put(self, which: Sequence[int]) -> None:
        """Ask the node to take these, in as few requests as they fit."""
        for first in range(0, len(which), self._piece):
            piece = which[first : first + self._piece]
            raws = self._supply.raws(piece)
            ask = Submit(raws[0]) if len(raws) == 1 else SubmitMany(raws)
            self._requests += 1
            self._asked[self._requests] = piece
            frame = encode_frame(REQUEST, encode(Request(self._requests, ask)))
            self._line.put(Piece(memoryview(frame), piece))
            flight, tx_id = self._flight, self._supply.tx_id
            for i in piece:
                flight[tx_id(i)] = i

    def _refuse(self, i: int, why: str, now: int, *, again: bool = True) -> None:
        """A transaction was refused, or is not held by the node any more."""
        self._refused += 1
        self._first_refusal = self._first_refusal or why
        sender = i % self._supply.senders
        behind = self._waiting.get(sender)
        if behind is None:
            behind = self._waiting[sender] = []
            if again:
                self._retries.append((now + RETRY_NS, sender))
        at = bisect_left(behind, i)
        if behind[at : at + 1] != [i]:
            behind.insert(at, i)

    def _retry(self, now: int) -> None:
        again: list[int] = []
        while self._retries and self._retries[0][0] <= now:
            _, sender = self._retries.popleft()
            behind = [i for i in self._waiting.pop(sender) if self._decided[i] < 0]
            again += behind[:RETRY]
            if behind[RETRY:]:
                self._waiting[sender] = behind[RETRY:]
                self._retries.append((now + RETRY_NS, sender))
        self._put(again)

    # ------------------------------------------------------------ the connection

    def _turn(self, start_ns: int, wait_ns: int) -> None:
        """Write what is queued, wait until there is something to do, read."""
        line = self._line
        try:
            for which in line.write():
                self._note_taken(which, time.monotonic_ns() - start_ns)
            sock = line.open_socket
            wait_s = 0.0 if line.buffered else max(0, wait_ns) / 1e9
            reads = [sys.stdin] if sock is None else [sock, sys.stdin]
            writes = [sock] if line.backlog and sock is not None else []
            readable, _, _ = select.select(reads, writes, [], wait_s)
            if sys.stdin in readable and not os.read(sys.stdin.fileno(), 4_096):
                raise Stopped
            if sock is not None and (sock in readable or line.buffered):
                now = time.monotonic_ns() - start_ns
                for type_, payload in line.read():
                    self._take(type_, payload, now)
        except OSError as err:
            self._first_refusal = self._first_refusal or f"connection lost: {err}"
            line.close()

    def _note_taken(self, which: Sequence[int], now: int) -> None:
        taken, sent = self._taken, 0
        for i in which:
            if taken[i] < 0:
                taken[i] = now
                sent += 1
        self._sent += sent

    def _come_back(self, now: int) -> None:
        """Connect again, now and then; what was under way is sent again."""
        if now < self._come_back_ns:
            return
        self._come_back_ns = now + RECONNECT_NS
        try:
            self._line.open()
        except (OSError, PeerFault):
            return
        self._reconnects += 1
        self._asked.clear()
        self._ask(Subscribe())
        self._put(sorted(self._flight.values()))

    def _take(self, type_: int, payload: bytes, now: int) -> None:
        if type_ == PUSH:
            block = decode_push(payload)
            self._height = block.height
            self._commit(block.tx_ids, now)
            for tx_id in block.dropped:
                i = self._flight.get(tx_id)
                if i is not None:
                    self._refuse(i, "the node holds it no longer", now)
        elif type_ == RESPONSE:
            response = decode_response(payload)
            if response.id >= FIRST_QUESTION:
                self._learn(response.result, now)
            else:
                self._answered(self._asked.pop(response.id), response.result, now)
        elif type_ == REFUSE:
            raise ConnectionResetError(refusal_reason(payload))

    def _answered(self, which: Sequence[int], result: Result, now: int) -> None:
        """What became of a request with these transactions."""
        accepted = self._accepted
        if isinstance(result, Taken):
            turned = {refusal.position: refusal for refusal in result.turned}
            for position, i in enumerate(which):
                refusal = turned.get(position)
                if refusal is not None:
                    self._turned(i, refusal.code, refusal.text, now)
                elif accepted[i] < 0:
                    accepted[i] = now
        elif isinstance(result, Accepted):
            if accepted[which[0]] < 0:
                accepted[which[0]] = now
        elif isinstance(result, Failure):  # of a request of several: none of them was looked at
            for i in which:
                self._turned(i, result.code, result.text, now)

    def _turned(self, i: int, code: int, why: str, now: int) -> None:
        if self._decided[i] < 0:
            self._refuse(i, why, now, again=code != FailureCode.INVALID)

    def _learn(self, result: Result, now: int) -> None:
        """The blocks that went by while the connection was lost."""
        if isinstance(result, Subscribed):
            for height in range(self._height + 1, result.height + 1):
                self._ask(GetDecided(height))
            self._height = max(self._height, result.height)
        elif isinstance(result, DecidedView):
            self._commit(tuple(map(transaction_id, result.txs)), now)

    def _commit(self, tx_ids: tuple[Digest, ...], now: int) -> None:
        take, decided, committed = self._flight.pop, self._decided, 0
        for tx_id in tx_ids:
            i = take(tx_id, NOT_YET)
            if i >= 0:
                decided[i] = now
                committed += 1
        self._committed += committed

    # ------------------------------------------------------------ after

    def _write_samples(self) -> None:
        flat = array("I")
        for times in zip(self._due, self._taken, self._accepted, self._decided, strict=True):
            if times[0] >= 0:  # of a closed loop, not everything was sent
                flat.extend(NEVER if at < 0 else at // 1_000 for at in times)
        Samples(flat).write(Path(self._job.samples))


def main() -> int:
    """Serve one job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever has started it ends it
    try:
        client = LoadClient(msgspec.json.decode(sys.stdin.buffer.readline(), type=Job))
        say(client.prepare())
    except (UserError, PeerFault, OSError) as err:
        say(Failed(str(err)))
        return 1
    gc.collect()
    gc.freeze()
    gc.disable()
    line = sys.stdin.buffer.readline()
    if not line:
        return 0
    try:
        say(client.run(msgspec.json.decode(line, type=Go).start_ns))
    except Stopped:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
