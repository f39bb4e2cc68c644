"""Recorded messages, told again: ``python -m tests.hostile.replay --messages 100000``.

Everything that replica 2 heard in the play is told to it once more, at every later point of the
play, by everybody: unchanged, or stamped with another epoch, view or height. The same goes to a
replica of another chain with the same keys. Nothing of that may change anything. The one exception
is a status, which has no signature: it says where its *sender* stands, and is believed of nobody
else; even then only that note may change, and only its sender may be reminded of something.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from tests.hostile.picture import picture
from tests.hostile.scene import LIARS, VICTIM, Actor, Heard, play, victim
from tests.node.plant import GENESIS, KEYS
from vppd.codec import encode
from vppd.consensus.messages import Ping, Status, Tx, Txs, Type
from vppd.crypto import sha256, verify
from vppd.errors import PeerFault
from vppd.ledger.execution import Ledger
from vppd.net.gate import decode_message
from vppd.node.beats import Frame
from vppd.node.machine import Machine
from vppd.node.mempool import Refused

SENDERS = (0, 1, 3, None)
"""Each of them hands over what anybody said; ``None`` is an observer."""
FOREIGN = msgspec.structs.replace(GENESIS, digest=sha256(b"another genesis, the same members"))
STAMPS = ("epoch", "view", "height", "decided", "first")


class Told(NamedTuple):
    """What one message did."""

    type: str
    outcome: str
    """``ignored``, the name of an error, or ``noted``: a status."""


def tell(actor: Actor, sender: int | None, frame: Frame) -> Told:
    """One message more.

    Raises:
        AssertionError: it changed something.
    """
    machine = actor.machine
    before, stood, pending = picture(machine), standing(machine), len(actor.log)
    name = frame.type.name
    message = decode_message(frame.type, frame.payload)
    outcome = "ignored"
    try:
        hand(actor, sender, frame)
    except (PeerFault, Refused) as err:
        outcome = type(err).__name__
    said = actor.turns()
    words = f"{name} from {sender} at height {machine.ledger.height}: {frame.payload.hex()}"
    assert len(actor.log) == pending, f"written because of a replay: {words}"
    heard = f"said because of a replay: {[f.type.name for f in said]}, {words}"
    if isinstance(message, Status):
        assert all(frame.to == (sender,) for frame in said), heard
        assert standing(machine) == stood, words
        return Told(name, "noted")
    assert not said, heard
    assert picture(machine) == before, f"changed by a replay: {words}"
    return Told(name, outcome)


def hand(actor: Actor, sender: int | None, frame: Frame) -> None:
    """A frame, taken as the daemon takes it.

    Raises:
        PeerFault, Refused: it is not taken.
    """
    machine = actor.machine
    message = decode_message(frame.type, frame.payload)
    if isinstance(message, Tx):
        machine.submit(message.raw, actor.ms, own=False)
    elif isinstance(message, Txs):
        for raw in message.raws:
            machine.submit(raw, actor.ms, own=False)
    elif not isinstance(message, Ping) and machine.wants(sender, message):
        machine.gate.check(message)
        machine.receive(sender, message)


def standing(machine: Machine) -> tuple[object, ...]:
    """All but what is noted of others."""
    return machine.engine.status(), machine.ledger.state_root, picture(machine.mempool)


def stamped(frame: Frame) -> Iterator[Frame]:
    """The same signatures under other numbers."""
    message: Any = decode_message(frame.type, frame.payload)
    for changed in _restamp(message):
        yield frame._replace(payload=encode(changed))


def _restamp(message: Any) -> Iterator[Any]:
    for name in message.__struct_fields__:
        value = getattr(message, name)
        if isinstance(value, msgspec.Struct):
            for inner in _restamp(value):
                yield msgspec.structs.replace(message, **{name: inner})
        elif name in STAMPS and isinstance(value, int) and not isinstance(message, Status):
            for other in (value + 1, value - 1):
                if other >= 0:
                    yield msgspec.structs.replace(message, **{name: other})


def again(limit: int, step: int = 1) -> Counter[Told]:
    """What was heard, told again at every point of the play (every ``step``-th)."""
    told: Counter[Told] = Counter()
    script = play().script
    for points in itertools.count():
        for cut in range(points % step, len(script) + 1, step):
            actor = victim(cut)
            heard = [act.frame for act in script[:cut] if isinstance(act, Heard)]
            for frame, sender in itertools.product(heard, SENDERS):
                told[tell(actor, sender, frame)] += 1
                if told.total() >= limit:
                    return told
    return told


def restamped() -> Counter[Told]:
    """What the liar and everybody else had signed, under other numbers, at three points."""
    told: Counter[Told] = Counter()
    script = play().script
    for cut in (len(script) // 3, 2 * len(script) // 3, len(script)):
        actor = victim(cut)
        for sender, frame in play().said:
            for other in stamped(frame):
                told[tell(actor, sender if sender != VICTIM else LIARS[0], other)] += 1
    return told


def abroad() -> Counter[Told]:
    """All that anybody said, to a replica of another chain; but for statuses, which name none.

    No status comes that way: the hello of every link names and signs the chain.
    """
    told: Counter[Told] = Counter()
    actor = Actor(VICTIM)
    actor.machine = Machine(FOREIGN, KEYS[VICTIM], verify, Ledger.from_genesis(FOREIGN))
    actor.start()
    actor.turns()
    for sender, frame in play().said:
        if frame.type is not Type.STATUS:
            told[tell(actor, sender if sender != VICTIM else LIARS[0], frame)] += 1
    return told


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    options = parser.parse_args()
    runs = {
        "again": again(options.messages),
        "restamped": restamped(),
        "another chain": abroad(),
    }
    print("| replay | messages | ignored | refused | status noted | changes |")  # noqa: T201
    print("|---|---|---|---|---|---|")  # noqa: T201
    for name, told in runs.items():
        by: Counter[str] = Counter()
        for each, count in told.items():
            by[each.outcome] += count
        refused = told.total() - by["ignored"] - by["noted"]
        row = (f"{told.total():,}", f"{by['ignored']:,}", f"{refused:,}", f"{by['noted']:,}", "0")
        print(f"| {name} | {' | '.join(row)} |")  # noqa: T201 - the report
    return 0


if __name__ == "__main__":
    sys.exit(main())
