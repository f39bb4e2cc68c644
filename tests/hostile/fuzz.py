"""Structure-aware fuzzing of all that is read: ``python -m tests.hostile.fuzz --frames 5000000``.

Frames between nodes go into a whole machine (decode, gate, engine, ledger) that has lived through
some part of a real chain; hellos go into a handshake; requests into their decoder and, where they
submit, into the machine. What must hold, frame by frame:

* nothing comes out but a :class:`~vppd.errors.PeerFault`, or the mempool's refusal;
* a frame that is refused changes nothing (one in :data:`LOOK` is looked at in every detail);
* whatever one liar has signed, only the blocks of the real chain are ever decided;
* memory stays flat, and no frame keeps the node for long.

Frame types come from the decoder's own table: a new one is covered as soon as it has a sample.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.hostile.mutations import Mutator, Sample, apart, sample_of
from tests.hostile.picture import picture
from tests.hostile.scene import LIARS, VICTIM, Actor, play, victim
from tests.wire_samples import ALICE, ASKS, BOB, SAMPLES, SEALS, VALIDATORS, D, meet
from vppd.codec import encode
from vppd.consensus.messages import (
    TYPE_OF,
    GetBlock,
    GetBlocks,
    Ping,
    Reply,
    Tx,
    Txs,
    Type,
)
from vppd.errors import PeerFault
from vppd.net.frames import HELLO, OPENING_CAPS, PROOF, REFUSE, REQUEST, announced, encode_frame
from vppd.net.gate import decode_message
from vppd.net.hello import Channel, Handshake, Kind, Refuse, Self
from vppd.net.requests import Request, Submit, SubmitMany, decode_request
from vppd.net.sync import SYNC_TYPES
from vppd.node.beats import Frame
from vppd.node.mempool import Refused
from vppd.node.replies import Replies

EPISODE = 5_000
"""Frames for one victim, which is then replaced by one at another point of the chain."""
LOOK = 100
"""One refused frame in so many is checked for having changed anything at all."""
TIMER = 400
"""One of the victim's timers runs out after so many frames, about."""
MEETING = meet()
SHARES = (("node", 90), ("hello", 5), ("request", 5))


class Wrong(AssertionError):
    """What the fuzzer looks for; the text reproduces it."""


class Figures:
    """What came of the frames."""

    def __init__(self) -> None:
        self.frames: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.errors: Counter[str] = Counter()
        self.taken = 0
        self.looked = 0
        self.decided = 0
        self.longest = (0.0, "none")

    def note(self, name: str, seconds: float, error: Exception | None) -> None:
        """One frame is done with."""
        self.frames[name] += 1
        self.seconds[name] += seconds
        if seconds > self.longest[0]:
            self.longest = (seconds, name)
        if error is None:
            self.taken += 1
        else:
            self.errors[type(error).__name__] += 1


class Fuzzer:
    """Sends frames to victims.

    Args:
        seed: of everything.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._chance = random.Random(seed)
        self.figures = Figures()
        self._samples = [sample_of(frame) for _, frame in play().said]
        self._samples += [
            sample_of(Frame("all", TYPE_OF[type(message)], encode(message))) for message in SAMPLES
        ]
        known = {sample.type for sample in self._samples}
        if known != set(Type) - SYNC_TYPES:
            raise Wrong(f"no sample of {set(Type) - SYNC_TYPES - known}")
        self._requests = requests(self._samples)
        self._new_episode()

    def run(self, frames: int) -> None:
        """So many frames.

        Raises:
            Wrong: anything that must not be.
        """
        kinds: dict[str, Callable[[], None]] = {
            "node": self._node_frame,
            "hello": self._hello_frame,
            "request": self._request_frame,
        }
        chosen = [kinds[name] for name, _ in SHARES]
        weights = [weight for _, weight in SHARES]
        for number in range(1, frames + 1):
            self._chance.choices(chosen, weights)[0]()
            if number % EPISODE == 0:
                self._check_decided()
                self._new_episode()
        self._check_decided()

    # ------------------------------------------------------------ frames between nodes

    def _new_episode(self) -> None:
        chance = self._chance
        self._liar = chance.choice(LIARS)
        self._victim = victim(chance.randrange(len(play().script) + 1))
        machine = self._victim.machine
        self._replies = Replies(machine.gate, machine.terms)
        self._mutator = Mutator(chance, self._samples, self._liar)

    def _node_frame(self) -> None:
        actor, chance = self._victim, self._chance
        bent = self._mutator.next()
        sender = chance.choice((0, 1, 3, None))
        looking = chance.randrange(LOOK) == 0
        before = picture(actor.machine) if looking else b""
        shallow = _glance(actor)
        begun = time.thread_time()
        error = self._guard(bent.type, bent.payload, lambda: self._take(bent, sender))
        seconds = time.thread_time() - begun
        if error is not None:
            if _glance(actor) != shallow or (looking and picture(actor.machine) != before):
                raise self._wrong("a refused frame changed something", bent.type, bent.payload)
            self.figures.looked += looking
        begun = time.thread_time()
        self._guard(bent.type, bent.payload, lambda: self._turn(actor))
        seconds += time.thread_time() - begun
        name = Type(bent.type).name if bent.type in set(Type) else "no type"
        self.figures.note(name, seconds, error)
        actor.ms += chance.choice((0, 0, 0, 1))
        if chance.randrange(TIMER) == 0 and actor.due:
            timer = chance.choice(sorted(actor.due))
            actor.ms = max(actor.ms, actor.due.pop(timer))
            actor.machine.fire(timer)
            self._turn(actor)

    def _take(self, bent: Any, sender: int | None) -> None:
        """As the daemon does with a frame from a node."""
        machine = self._victim.machine
        message = decode_message(bent.type, bent.payload)
        match message:
            case Tx(raw):
                machine.gate.cost(message)
                machine.submit(raw, self._victim.ms, own=False)
            case Txs(raws):
                machine.gate.cost(message)
                for raw in raws:
                    with suppress(PeerFault, Refused):  # each by itself
                        machine.submit(raw, self._victim.ms, own=False)
            case Reply():
                self._replies.add(sender, message, machine.ledger.height)
                self._replies.proving(message.height)
            case Ping() | GetBlock() | GetBlocks():
                pass
            case _:
                if machine.wants(sender, message):
                    machine.gate.cost(message)
                    machine.gate.check(message)
                    machine.receive(sender, message)

    @staticmethod
    def _turn(actor: Actor) -> None:
        actor.turns()
        actor.log.clear()

    def _check_decided(self) -> None:
        """Only what the real chain decided."""
        digests = play().digests
        for done in self._victim.committed:
            height, digest = done.decision.height, done.decision.digest
            if height > len(digests) or digests[height - 1] != digest:
                raise Wrong(f"seed {self._seed}: height {height} decided as {digest.hex()}")
        self.figures.decided += len(self._victim.committed)

    # ------------------------------------------------------------ hellos and requests

    def _hello_frame(self) -> None:
        chance = self._chance
        type_, tree, payload = chance.choice(HELLOS)
        if chance.random() < 0.5:
            payload = self._mutator.bend_bytes(payload)
        elif chance.random() < 0.9:
            payload = self._mutator.bend_tree(tree)
        handshake = _fresh_handshake()
        if type_ == PROOF:
            handshake.receive(HELLO, MEETING.hellos[0][5:])

        def take() -> None:
            size, kind = announced(encode_frame(type_, payload)[:5], OPENING_CAPS)
            handshake.receive(kind, payload[:size])

        begun = time.thread_time()
        error = self._guard(type_, payload, take)
        name = {HELLO: "HELLO", PROOF: "PROOF", REFUSE: "REFUSE"}[type_]
        self.figures.note(name, time.thread_time() - begun, error)
        if handshake.peer is not None and payload != MEETING.proofs[0][5:]:
            raise self._wrong("a proof that was not made was believed", type_, payload)

    def _request_frame(self) -> None:
        chance = self._chance
        tree, payload = chance.choice(self._requests)
        if chance.random() < 0.5:
            payload = self._mutator.bend_bytes(payload)
        elif chance.random() < 0.9:
            payload = self._mutator.bend_tree(tree)

        def take() -> None:
            ask = decode_request(payload).ask
            if isinstance(ask, Submit):
                self._victim.machine.submit(ask.raw, self._victim.ms, own=True)
            elif isinstance(ask, SubmitMany):
                for raw in ask.raws:
                    with suppress(PeerFault, Refused):  # each by itself
                        self._victim.machine.submit(raw, self._victim.ms, own=True)

        shallow = _glance(self._victim)
        begun = time.thread_time()
        error = self._guard(REQUEST, payload, take)
        self.figures.note("REQUEST", time.thread_time() - begun, error)
        if error is not None and _glance(self._victim) != shallow:
            raise self._wrong("a refused request changed something", REQUEST, payload)
        self._turn(self._victim)

    # ------------------------------------------------------------ what must not be

    def _guard(
        self, type_: int, payload: bytes, work: Callable[[], None]
    ) -> PeerFault | Refused | None:
        try:
            work()
        except (PeerFault, Refused) as err:
            return err
        except Exception as err:
            raise self._wrong(f"{type(err).__name__}: {err}", type_, payload) from err
        return None

    def _wrong(self, what: str, type_: int, payload: bytes) -> Wrong:
        count = self.figures.frames.total()
        return Wrong(f"seed {self._seed}, frame {count}: {what}: type {type_}, {payload.hex()}")


def _glance(actor: Actor) -> tuple[object, ...]:
    """What changes whenever anything does, nearly."""
    machine = actor.machine
    pool = machine.mempool
    return machine.has_work, len(pool), pool.size_bytes, machine.ledger.height, len(actor.log)


def _fresh_handshake() -> Handshake:
    me = Self(Kind.VALIDATOR, "der-1", BOB, D)
    return Handshake(me, VALIDATORS, bytes([0xB2]) * 32, Channel(*SEALS[::-1]))


def _hellos() -> list[tuple[int, Any, bytes]]:
    frames = (
        (HELLO, MEETING.hellos[0][5:]),
        (PROOF, MEETING.proofs[0][5:]),
        (REFUSE, encode(Refuse(f"no room for {ALICE.public_key.hex()}"))),
    )
    return [(type_, apart(payload), payload) for type_, payload in frames]


HELLOS = _hellos()
"""Type, value and payload of each frame of a hello."""


def requests(samples: list[Sample]) -> list[tuple[Any, bytes]]:
    """Value and payload of a request of each kind."""
    raws = tuple(s.message.raw for s in samples if isinstance(s.message, Tx))
    asks = [*ASKS, *map(Submit, raws), SubmitMany(raws)]
    payloads = [encode(Request(5, ask)) for ask in asks]
    return [(apart(payload), payload) for payload in payloads]


def rss_kib() -> int:
    """Resident memory of this process."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def report(figures: Figures, growth_kib: int, seconds: float) -> str:
    """Markdown."""
    total = figures.frames.total()
    rows = ["| type | frames | frames/s |", "|---|---|---|"]
    for name, count in sorted(figures.frames.items()):
        rows.append(f"| {name} | {count:,} | {count / figures.seconds[name]:,.0f} |")
    errors = ", ".join(f"{name} {count:,}" for name, count in figures.errors.most_common())
    longest, which = figures.longest
    rows += [
        "",
        f"{total:,} frames in {seconds:.0f} s ({total / seconds:,.0f}/s with making them), "
        f"victim {VICTIM}, {figures.decided:,} real blocks decided meanwhile",
        f"taken {figures.taken:,}; refused: {errors}; anything else: 0",
        f"looked at in every detail: {figures.looked:,} refused frames, none changed anything",
        f"RSS growth {growth_kib / 1024:.1f} MiB; longest stall {longest * 1e3:.1f} ms ({which})",
    ]
    return "\n".join(rows)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    fuzzer = Fuzzer(options.seed)
    begun = time.monotonic()
    warm = min(options.frames, 4 * EPISODE)
    fuzzer.run(warm)  # what one victim needs at its largest is not growth
    before = rss_kib()
    step = 10 * EPISODE
    for done in range(warm, options.frames, step):
        fuzzer.run(min(step, options.frames - done))
        print(f"{min(done + step, options.frames):,}", file=sys.stderr)  # noqa: T201 - progress
    seconds = time.monotonic() - begun
    print(report(fuzzer.figures, rss_kib() - before, seconds))  # noqa: T201 - the report
    return 0


if __name__ == "__main__":
    sys.exit(main())
