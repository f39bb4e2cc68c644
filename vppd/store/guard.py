"""The guard: a second, tiny file that says how far the safety record has come (docs/adr/0009).

SQLite takes a log whose tail is missing or rotten for one that ended earlier, and rightly so after
a power cut; but when the tail held votes, the node that goes on without it votes twice. So after
each durable promise, and before anything of it leaves, the number of the promise is noted beside
the database. A database that is behind its guard has lost what it had promised.

The note is not synced on its own: the promise is, and a note lost with the power says nothing
wrong, only less. It is written in turns to one of two sectors, so that a torn one leaves the other.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import NamedTuple, Self

from vppd.crypto import sha256
from vppd.store.owner import give_to_folders_owner
from vppd.types import Digest, Height

_MARK = struct.Struct(">8sQQ32s")
_MAGIC = b"VPPDGRD1"
_SECTOR = 4_096
"""So far apart lie the two notes: a torn write loses one sector, and disks have them of 4 KiB."""
_SEAL_BYTES = 32


class Mark(NamedTuple):
    """A promise that was durable when this was noted."""

    generation: int
    """How often the safety record had been written."""
    decided: Height
    checksum: Digest
    """Of the safety record."""


class Guard:
    """The guard of one database, open for writing.

    Args:
        fd: of the file; closed by :meth:`close`.
        turn: which sector is written next.
    """

    __slots__ = ("_fd", "_turn")

    def __init__(self, fd: int, turn: int = 0) -> None:
        self._fd = fd
        self._turn = turn

    @classmethod
    def create(cls, path: Path) -> Self:
        """A new guard for the database at ``path``, without a note; replaces what is there.

        Raises:
            OSError: it cannot be made.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        fd = os.open(guard_file(path), flags, 0o600)
        try:
            give_to_folders_owner(guard_file(path))
            os.pwrite(fd, bytes(2 * _SECTOR), 0)
            os.fsync(fd)
            _sync_folder(path.parent)
        except OSError:
            os.close(fd)
            raise
        return cls(fd)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The guard there is.

        Raises:
            OSError: it cannot be opened; ``FileNotFoundError``: there is none.
        """
        fd = os.open(guard_file(path), os.O_RDWR | os.O_CLOEXEC)
        first, second = _marks(os.pread(fd, 2 * _SECTOR, 0))
        keeps_first = first is not None and (second is None or first > second)
        return cls(fd, int(keeps_first))

    def note(self, mark: Mark) -> None:
        """Write a mark; it survives the process at once, the power soon.

        Raises:
            OSError: not written.
        """
        raw = _MARK.pack(_MAGIC, *mark)
        whole = raw + sha256(raw)
        if os.pwrite(self._fd, whole, self._turn * _SECTOR) != len(whole):
            raise OSError("the guard was written in part")
        self._turn ^= 1

    def sync(self) -> None:
        """Make the last mark survive the power.

        Raises:
            OSError: not durable.
        """
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Let go."""
        os.close(self._fd)


def guard_file(path: Path) -> Path:
    """Where the guard of the database at ``path`` is."""
    return path.with_name(path.name + "-guard")


def read_guard(path: Path) -> Mark | None:
    """The latest mark of the guard of ``path``; ``None``: none of its two can be read.

    Raises:
        OSError: the file cannot be read; ``FileNotFoundError``: there is none.
    """
    marks = _marks(guard_file(path).read_bytes())
    return max((mark for mark in marks if mark is not None), default=None)


def _marks(data: bytes) -> tuple[Mark | None, Mark | None]:
    return _parse(data[:_SECTOR]), _parse(data[_SECTOR:])


def _parse(sector: bytes) -> Mark | None:
    raw, seal = sector[: _MARK.size], sector[_MARK.size : _MARK.size + _SEAL_BYTES]
    if len(raw) < _MARK.size or sha256(raw) != seal or not raw.startswith(_MAGIC):
        return None
    _, generation, decided, checksum = _MARK.unpack(raw)
    return Mark(generation, decided, checksum)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
