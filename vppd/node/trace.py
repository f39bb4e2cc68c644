"""What was said lately: the messages of the last heights, sent and received, in order.

The paper logs each message as status, data, sender and receiver (P0, section 4); so does this, in a
ring that is bounded in heights and bytes. Recording keeps a reference and nothing else: what a
frame says is looked at when somebody asks. A recorded run can be fed to a fresh replica
(:mod:`vppd.simulate.replay`), so a trace has whatever decides; pings, statuses, transactions on
their way and requests decide nothing and are left out.
"""

from __future__ import annotations

import base64
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

from vppd.codec import encode
from vppd.consensus.messages import (
    TYPE_OF,
    Agree,
    Block,
    BlockBody,
    Blocks,
    Collected,
    Evidence,
    GetBlock,
    GetBlocks,
    NewView,
    Path,
    Ping,
    PrePrepared,
    Reply,
    Status,
    Tx,
    Txs,
    Type,
    ViewChange,
)
from vppd.crypto import key_text
from vppd.net.gate import PeerMessage, decode_message
from vppd.types import Height, PeerNumber, PublicKey, TimeMs

BYTES = 8 * 1024 * 1024
"""Of recorded messages, about; beyond that the oldest heights are forgotten."""
PER_HEIGHT = 4_096
"""Messages; what comes beyond is left out, and counted."""
TOKEN_BYTES = 512
"""What a message counts beside its transactions."""
PAGE_BYTES = 256 * 1024
"""Of messages in one answer, but at least one message."""
QUIET = frozenset({Type.STATUS, Type.PING, Type.TX, Type.TXS, Type.GET_BLOCK, Type.GET_BLOCKS})

Everybody: TypeAlias = tuple[PeerNumber, ...] | None
"""Receivers; ``None``: all others."""


class Who(NamedTuple):
    """A node, as a trace names it."""

    name: str
    key: PublicKey
    """Two nodes have had one name where a key was replaced."""


Whose: TypeAlias = Callable[[PeerNumber], Who]
"""Who has a number."""


class Entry(NamedTuple):
    """One message."""

    unix_ms: TimeMs
    sender: PeerNumber | None
    """``None``: an observer."""
    to: Everybody
    said: PeerMessage | tuple[Type, bytes]
    """As it came, or the frame that left."""

    @property
    def message(self) -> PeerMessage:
        """What was said."""
        return decode_message(*self.said) if isinstance(self.said, tuple) else self.said


class _Shelf:
    """The messages of one height in flight."""

    __slots__ = ("entries", "left_out", "size")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.size = 0
        self.left_out = 0


class Trace:
    """The messages of the last heights, filed under the height in flight when they passed.

    Args:
        heights: how many; 0: record nothing.
        most_bytes: of all of them, about.
    """

    def __init__(self, heights: int, most_bytes: int = BYTES) -> None:
        self._heights = heights
        self._most_bytes = most_bytes
        self._shelves: OrderedDict[Height, _Shelf] = OrderedDict()
        self._size = 0

    def note(
        self,
        unix_ms: TimeMs,
        height: Height,
        sender: PeerNumber | None,
        to: Everybody,
        said: PeerMessage | tuple[Type, bytes],
    ) -> None:
        """A message leaves, or has come and is believed.

        Args:
            unix_ms: now.
            height: in flight: last executed + 1.
            sender: who hands it over.
            to: to whom.
            said: it, or type and payload.
        """
        type_ = said[0] if isinstance(said, tuple) else TYPE_OF[type(said)]
        if type_ in QUIET or not self._heights:
            return
        shelf = self._shelves.get(height)
        if shelf is None:
            shelf = self._shelves[height] = _Shelf()
        size = TOKEN_BYTES + _weight(said)
        full = shelf.size + size > self._most_bytes or len(shelf.entries) >= PER_HEIGHT
        if full:
            shelf.left_out += 1
        else:
            shelf.entries.append(Entry(unix_ms, sender, to, said))
            shelf.size += size
            self._size += size
        while len(self._shelves) > self._heights or self._size > self._most_bytes:
            _, oldest = self._shelves.popitem(last=False)
            self._size -= oldest.size

    @property
    def heights(self) -> tuple[Height, ...]:
        """Those recorded, ascending."""
        return tuple(self._shelves)

    def page(
        self, height: Height, first: int, whose: Whose
    ) -> tuple[list[dict[str, Any]], int | None, int]:
        """Rows of messages filed under a height.

        Args:
            height: in flight when they passed.
            first: of its messages, from 0.
            whose: names the nodes.

        Returns:
            The rows, where the next page begins, and how many were left out.

        Raises:
            KeyError: nothing is recorded of that height.
        """
        shelf = self._shelves[height]
        rows: list[dict[str, Any]] = []
        size = 0
        for at, entry in enumerate(shelf.entries[first:], first):
            size += TOKEN_BYTES + _weight(entry.said)
            if rows and size > PAGE_BYTES:
                return rows, at, shelf.left_out
            rows += rows_of(entry, whose, height)
        return rows, None, shelf.left_out


def rows_of(entry: Entry, whose: Whose, height: Height) -> Iterator[dict[str, Any]]:
    """A message for people and for a replay; several blocks are as many rows.

    Args:
        entry: the message.
        whose: names the nodes.
        height: to file a message under that names none.
    """
    message = entry.message
    if isinstance(message, Blocks) and len(message.blocks) > 1:
        for block in message.blocks:
            yield from rows_of(entry._replace(said=Blocks((block,))), whose, height)
        return
    about, view, digest, path = _about(message)
    sender = None if entry.sender is None else whose(entry.sender)
    yield {
        "time_ms": entry.unix_ms,
        "sender": "observer" if sender is None else sender.name,
        "sender_key": None if sender is None else key_text(sender.key),
        "receiver": "all" if entry.to is None else ",".join(whose(i).name for i in entry.to),
        "message": TYPE_OF[type(message)].name.lower(),
        "height": height if about is None else about,
        "view": view,
        "digest8": None if digest is None else digest.hex()[:8],
        "path": _PATHS.get(path),
        "frame": base64.b64encode(
            bytes([TYPE_OF[type(message)]]) + encode(message)
        ).decode("ascii"),
    }  # fmt: skip


def frame_of(row: dict[str, Any]) -> tuple[int, bytes]:
    """Type and payload of a row's frame.

    Raises:
        ValueError: it has none.
    """
    raw = base64.b64decode(row["frame"], validate=True)
    if not raw:
        raise ValueError("an empty frame")
    return raw[0], raw[1:]


def write_lines(head: dict[str, Any], rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """A trace file: what it is of, then one message a line, as JSON."""
    for part in (head, *rows):
        yield json.dumps(part, separators=(",", ":")) + "\n"


def _weight(said: PeerMessage | tuple[Type, bytes]) -> int:
    match said:
        case (_, payload):
            return len(payload)
        case Block(txs=txs) | BlockBody(txs=txs):
            return sum(map(len, txs))
        case Blocks(blocks):
            return sum(len(raw) for block in blocks for raw in block.txs)
        case _:
            return 0


_PATHS: dict[int | None, str] = {path.value: path.name.lower() for path in Path}
_About: TypeAlias = tuple[Height | None, int | None, bytes | None, int | None]


def _about(message: PeerMessage) -> _About:
    """Height, view, digest and path, as far as it names them."""
    match message:
        case Block(_, view, height, digest, path):
            return height, view, digest, path
        case PrePrepared(_, view, height, digest) | Collected(_, view, height, digest):
            return height, view, digest, Path.COLLECT
        case Agree(c):
            return c.height, c.view, c.digest, None
        case Reply(_, height, digest):
            return height, None, digest, None
        case ViewChange(s):
            return s.decided + 1, s.view, s.head, None
        case NewView(_, view, height, choice):
            return height, view, choice, None
        case Blocks(blocks) if blocks:
            c = blocks[-1].certificate
            return c.height, c.view, c.digest, None
        case Blocks() | Evidence() | Status() | GetBlock() | GetBlocks() | Tx() | Txs() | Ping():
            return None, None, None, None
        case _:
            return message.height, message.view, message.digest, None
