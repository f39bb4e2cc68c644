"""Faults between real daemons, where their frames leave: delays, and links that fail.

A node sends through these links only if ``python -m vppd.bench.daemon`` runs it, which nothing but
the bench does; ``vppd start`` has no way to them. Loss and delay lie with the sender, on every link
between two nodes; clients' connections are as ever.
"""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from vppd.bench.cores import Core
from vppd.consensus.messages import Type
from vppd.net.hello import Kind
from vppd.net.link import Link
from vppd.simulate.weather import FailingLinks
from vppd.types import Height, Ppm, ReplicaIndex

FILE = "bench.toml"
"""In a home that the bench has written: what its daemon is to suffer."""
_PAYLOAD_AT = 5
_PLACED = {
    Type.BLOCK, Type.RECEIVED, Type.PRE_PREPARED, Type.PREPARE, Type.COMMIT, Type.BLOCK_BODY,
}  # fmt: skip
"""Messages that begin with epoch, view and height."""


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plant is to suffer; the same at each of its nodes."""

    own: ReplicaIndex
    delay_us: int = 0
    """One way."""
    fail: tuple[tuple[ReplicaIndex, Ppm], ...] = ()
    """Nodes that are cut off in such a share of the heights."""
    seed: int = 1
    core: Core = "shipped"

    def write(self, home: Path) -> None:
        """Into a home."""
        fail = ", ".join(f"[{node}, {share}]" for node, share in self.fail)
        lines = [f"own = {self.own}", f"delay_us = {self.delay_us}", f"fail = [{fail}]"]
        lines += [f"seed = {self.seed}", f'core = "{self.core}"']
        text = "\n".join(lines) + "\n"
        (home / FILE).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, home: Path) -> Faults:
        """From a home.

        Raises:
            OSError: the bench has not written it.
            msgspec.ValidationError: damaged.
        """
        return msgspec.toml.decode((home / FILE).read_bytes(), type=cls)


class Late(NamedTuple):
    """A frame on its way."""

    at: float
    frame: bytes


def faulty_links(faults: Faults) -> type[Link]:
    """Links of a node of that plant."""
    failing = FailingLinks(faults.fail, faults.seed)
    delay_s = faults.delay_us / 1e6

    class FaultyLink(Link):
        """Sends late, or not at all."""

        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            self._late: deque[Late] = deque()

        def send(self, frame: bytes) -> bool:
            """As :meth:`Link.send`; a frame that is lost or late counts as sent."""
            peer = self.peer
            if not self.up or peer is None or peer.kind is Kind.CLIENT:
                return super().send(frame)
            if peer.index is not None:
                height = height_of(frame)
                if height is not None and failing.stops(faults.own, peer.index, height):
                    return True
            if not delay_s:
                return super().send(frame)
            # Not the loop's clock: that stands still while a callback runs.
            self._late.append(Late(time.monotonic() + delay_s, frame))
            if len(self._late) == 1:
                self._loop.call_later(delay_s, self._deliver)
            return True

        def _deliver(self) -> None:
            while self._late and self._late[0].at <= time.monotonic() and not self.closed:
                super().send(self._late.popleft().frame)
            if self._late and not self.closed:
                left_s = self._late[0].at - time.monotonic()
                self._loop.call_later(max(0.0, left_s), self._deliver)

    return FaultyLink


def height_of(frame: bytes) -> Height | None:
    """The height that a frame is about; ``None``: it is about none, or about a decided one."""
    type_ = frame[_PAYLOAD_AT - 1]
    if type_ == Type.AGREE:  # its only field is a certificate: kind, epoch, view, height
        return _numbers(frame, _PAYLOAD_AT + 2, 4)[3]
    if type_ in _PLACED:
        return _numbers(frame, _PAYLOAD_AT + 1, 3)[2]
    return None


def _numbers(frame: bytes, at: int, count: int) -> list[int]:
    """Unsigned MessagePack integers from ``at`` on."""
    found = []
    for _ in range(count):
        first = frame[at]
        width = 0 if first < 0x80 else 1 << (first - 0xCC)
        found.append(first if width == 0 else int.from_bytes(frame[at + 1 : at + 1 + width]))
        at += 1 + width
    return found
