"""One process per store: two writers under one key would sign twice."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from vppd.errors import UserError
from vppd.store.owner import give_to_folders_owner


class StoreLock:
    """An exclusive lock beside the database, held until :meth:`release` or the process ends.

    It lives on a side file, because closing any descriptor of the database itself would drop
    SQLite's own locks in this process. The file stays: removing it would race with the next owner.

    Args:
        path: the database.

    Raises:
        UserError: E254, somebody holds it; E256, the file cannot be made or locked.
    """

    __slots__ = ("_fd",)

    def __init__(self, path: Path) -> None:
        side = path.with_name(path.name + ".lock")
        try:
            self._fd = os.open(side, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            give_to_folders_owner(side)
        except OSError as err:
            raise _closed(side, err) from err
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip()
            os.close(self._fd)
            raise UserError(
                "E254",
                "the chain store is in use by another process",
                facts={"store": str(path), "process": holder or "unknown"},
                hint="stop the other daemon first; one key runs on one machine only",
            ) from err
        except OSError as err:
            os.close(self._fd)
            raise _closed(side, err) from err
        with suppress(OSError):  # a full disk: who holds it is for people, that it is held is not
            os.truncate(self._fd, 0)
            os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Let the next process in."""
        os.close(self._fd)


def holder(path: Path) -> str | None:
    """Which process holds the lock of the store at ``path``, in words; ``None``: nobody does.

    Looks by sharing the lock for an instant, and leaves no file behind.

    Raises:
        OSError: the lock's file cannot be opened or asked.
    """
    try:
        fd = os.open(path.with_name(path.name + ".lock"), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
    finally:
        os.close(fd)
    return None


def _closed(side: Path, err: OSError) -> UserError:
    return UserError(
        "E256",
        "the chain store cannot be opened",
        facts={"file": str(side), "reason": err.strerror or str(err)},
        hint="check owner, permissions and free space of the folder",
    )
