"""No bomb goes off: each is refused as malformed, in little memory."""

from __future__ import annotations

import struct
import tracemalloc
from collections import defaultdict
from collections.abc import Callable

import pytest

from tests.hostile.bombs import Bomb, aimed, swollen
from tests.hostile.picture import picture
from tests.hostile.scene import victim
from tests.wire_samples import BOB, VALIDATORS, D, meet
from vppd.consensus.messages import CAP, Tx, Type
from vppd.errors import PeerFault
from vppd.net.frames import HELLO, PEER_CAPS, PROOF, REFUSE, REQUEST, FrameError, FrameParser
from vppd.net.gate import decode_message
from vppd.net.hello import Handshake, Kind, Self
from vppd.net.requests import decode_request
from vppd.node.machine import Machine
from vppd.node.mempool import Refused

KEPT = 4
"""Times its own length that a refused payload may have needed at the most, and 64 KiB."""
RESIDUAL = 32
"""The same for what has the right shape: reliability.md, Part 3, "msgpack bombs"."""

AIMED: dict[int, list[Bomb]] = defaultdict(list)
for _type, _cap, _bomb in aimed():
    assert len(_bomb.payload) <= _cap or _type == REQUEST
    AIMED[_type].append(_bomb)


def receiver(type_: int) -> Callable[[bytes], object]:
    """What reads frames of this type."""
    if type_ == REQUEST:
        return decode_request
    if type_ in (HELLO, PROOF, REFUSE):
        handshake = Handshake(Self(Kind.VALIDATOR, "der-1", BOB, D), VALIDATORS, bytes(32))
        if type_ == PROOF:
            handshake.receive(HELLO, meet().hellos[0][5:])
        return lambda payload: handshake.receive(type_, payload)
    return lambda payload: decode_message(type_, payload)


def peak(work: Callable[[], None]) -> int:
    """Bytes that ``work`` needed at its worst."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_every_type_that_is_read_is_aimed_at() -> None:
    assert set(AIMED) == {*Type, HELLO, PROOF, REFUSE, REQUEST}
    assert min(map(len, AIMED.values())) > 100


HARMLESS = {
    (Type.TX, b"\x91\xc4\x03bin"),  # the gate looks inside
    (Type.BLOCKS, b"\x91\x90"),  # and refuses an empty range
}
"""Of the bombs for all, those that are a message of one type."""


@pytest.mark.parametrize("type_", sorted(AIMED))
def test_bombs_are_refused_before_they_grow(type_: int) -> None:
    for bomb in AIMED[type_]:
        if (type_, bomb.payload) in HARMLESS:
            continue
        receive = receiver(type_)
        refused = False

        def take(bomb: Bomb = bomb, receive: Callable[[bytes], object] = receive) -> None:
            nonlocal refused
            try:
                receive(bomb.payload)
            except PeerFault:
                refused = True

        needed = peak(take)
        assert refused, f"{bomb.name} was taken: {bomb.payload[:40].hex()}"
        assert needed <= KEPT * len(bomb.payload) + 64 * 1024, f"{bomb.name}: {needed} bytes"


@pytest.mark.parametrize(("type_", "bomb"), [*swollen()], ids=lambda x: getattr(x, "name", ""))
def test_what_is_right_in_shape_and_huge_in_number_is_refused_within_a_bound(
    type_: int, bomb: Bomb
) -> None:
    assert len(bomb.payload) <= CAP[Type(type_)]
    machine = victim(20).machine
    before = picture(machine)

    def take() -> None:
        with pytest.raises((PeerFault, Refused)):
            check(machine, type_, bomb.payload)

    assert peak(take) <= RESIDUAL * len(bomb.payload)
    assert picture(machine) == before


class Unwanted(PeerFault):
    """Not looked at any further."""


def check(machine: Machine, type_: int, payload: bytes) -> None:
    """What the daemon does before a message may change anything."""
    message = decode_message(type_, payload)
    if isinstance(message, Tx):
        machine.submit(message.raw, 0, own=False)
    elif not machine.wants(0, message):
        raise Unwanted
    machine.gate.check(message)


@pytest.mark.parametrize("type_", sorted(CAP))
def test_a_frame_longer_than_its_cap_is_refused_by_its_first_five_bytes(type_: int) -> None:
    parser = FrameParser(PEER_CAPS)
    with pytest.raises(FrameError, match="announces"):
        list(parser.feed(struct.pack(">IB", CAP[Type(type_)] + 2, type_)))


def test_reading_what_is_announced_takes_memory_only_for_what_has_come() -> None:
    parser = FrameParser(PEER_CAPS)

    def feed() -> None:
        list(parser.feed(struct.pack(">IB", CAP[Type.BLOCK], Type.BLOCK) + bytes(1_000)))

    assert peak(feed) < 16 * 1024
