"""Whether SQLite's write-ahead log was damaged in its middle.

Reading a log, SQLite stops at the first frame whose checksum does not hold, and whatever comes
after is as if it had never been. After a power cut that is right for the one transaction that was
being written. But each transaction is synced before the next one begins, so at most one can be
torn: if a frame of the same log follows the commit of a transaction beyond SQLite's stop, then that
transaction had been synced, and damage has taken it. The format: sqlite.org/fileformat2.html, 4.1.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from pathlib import Path
from typing import NamedTuple

_HEADER = struct.Struct(">IIIIIIII")
"""Magic, version, page size, checkpoints, two salts, two checksums."""
_BIG_ENDIAN = 0x377F0683
"""Magic of a log with checksums over big-endian words; one less: little-endian."""
_FRAME = struct.Struct(">II8s")
"""Page; pages of the database after a commit, else 0; the salts, the same all through one log."""
_FRAME_HEADER_BYTES = 24
_PAGE_BYTES = 4096
"""SQLite's default, which is ours; so a damaged header does not hide where frames begin."""


_INDEX = struct.Struct("=12xBBHI")
"""Head of the index of a log, -shm: set, byte order, page size, frames of whole transactions."""


class Frame(NamedTuple):
    """The head of a frame, as it lies in the file."""

    salts: bytes
    ends: bool
    """Whether it claims to be the last of a transaction."""


class Log(NamedTuple):
    """A log as it lies in the file, whatever holds of it."""

    salts: bytes | None
    """Of the log that is being written; ``None``: its header is damaged."""
    frames: tuple[Frame, ...]
    """Those of earlier logs, not yet overwritten, come last and have other salts."""

    def lost(self, valid: int) -> int:
        """Frames from SQLite's stop to the last one there, if damage took a synced transaction.

        Args:
            valid: frames that SQLite takes.

        Returns:
            0 if nothing was lost for certain.
        """
        if not self.frames:
            return 0
        salts = self.frames[0].salts if self.salts is None else self.salts
        beyond = [
            (number, frame.ends)
            for number, frame in enumerate(self.frames[valid:], start=1)
            if frame.salts == salts
        ]
        first_end = next((number for number, ends in beyond if ends), None)
        if first_end is None or beyond[-1][0] == first_end:
            return 0
        return beyond[-1][0]


def read_log(path: Path) -> Log:
    """The log of the database at ``path``; reads the heads of its frames only.

    Raises:
        OSError: it cannot be read.
    """
    try:
        fd = os.open(path.with_name(path.name + "-wal"), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Log(None, ())
    try:
        header = os.pread(fd, _HEADER.size, 0)
        if len(header) < _HEADER.size:
            return Log(None, ())
        frames: list[Frame] = []
        at = _HEADER.size
        while len(head := os.pread(fd, _FRAME.size, at)) == _FRAME.size:
            _, pages, salts = _FRAME.unpack(head)
            frames.append(Frame(salts, pages != 0))
            at += _FRAME_HEADER_BYTES + _PAGE_BYTES
        return Log(header[16:24] if _holds(header) else None, tuple(frames))
    finally:
        os.close(fd)


def frames_taken(connection: sqlite3.Connection, path: Path) -> int:
    """Frames of the log that SQLite takes: up to the last commit whose checksums all hold.

    Args:
        connection: to the database at ``path``; that it reads makes SQLite go through the log.
        path: the database file.

    Raises:
        sqlite3.Error: not readable.
        OSError: the index of the log is missing; SQLite has one as long as it is connected.
    """
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    with path.with_name(path.name + "-shm").open("rb") as index:
        _, _, _, frames = _INDEX.unpack(index.read(_INDEX.size))
    return int(frames)


def _holds(header: bytes) -> bool:
    """Whether a log's header has its checksum."""
    magic, _, page_bytes, *_ = _HEADER.unpack(header)
    order = ">" if magic == _BIG_ENDIAN else "<"
    words = struct.unpack(order + "6I", header[:24])
    a = b = 0
    for first, second in zip(words[::2], words[1::2], strict=True):
        a = (a + first + b) & 0xFFFFFFFF
        b = (b + second + a) & 0xFFFFFFFF
    known = magic in (_BIG_ENDIAN - 1, _BIG_ENDIAN) and page_bytes == _PAGE_BYTES
    return known and struct.pack(">II", a, b) == header[24:]
