"""Small filesystems that fill up, break, or lose power. Needs root and ext4.

A process that is killed loses nothing that it has written: the kernel's page cache outlives it. A
machine that loses power loses what was not synced. The second is done for real here: ext4's own
shutdown call stops a filesystem between two instants without writing its journal or its cache back,
and mounting it again finds what a disk that honours fsync would have kept.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.plant import Node

_SHUTDOWN = 0x8004587D
"""``EXT4_IOC_SHUTDOWN``, ``_IOR('X', 125, __u32)``."""
_NOTHING_WRITTEN_BACK = 2
"""``EXT4_GOING_FLAGS_NOLOGFLUSH``"""


class Disk:
    """A mounted filesystem in a file.

    Attributes:
        folder: where it is mounted.
    """

    def __init__(self, image: Path, folder: Path) -> None:
        self._image = image
        self.folder = folder

    def mount(self) -> None:
        """Again, as after a power cut: the journal is replayed."""
        _run("mount", "-o", "loop", str(self._image), str(self.folder))

    def unmount(self) -> None:
        """Afterwards nothing may use it."""
        _run("umount", str(self.folder))

    def sync(self) -> None:
        """Everything that has been written is on the disk: an installation some time ago."""
        _run("sync", "-f", str(self.folder))

    def lose_power(self) -> None:
        """At this instant: nothing that is not on the disk will ever be, every call fails (EIO)."""
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, _SHUTDOWN, struct.pack("=I", _NOTHING_WRITTEN_BACK))
        finally:
            os.close(handle)


def _run(*command: str) -> None:
    """A tool of the system.

    Raises:
        AssertionError: it fails, with what it says.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


@contextmanager
def ext4(image: Path, folder: Path, mib: int) -> Iterator[Disk]:
    """A new one, mounted; unmounted at the end."""
    with image.open("wb") as file:
        file.truncate(mib * 1024 * 1024)
    _run("mkfs.ext4", "-q", "-m", "0", str(image))
    folder.mkdir(parents=True)
    disk = Disk(image, folder)
    disk.mount()
    try:
        (folder / "lost+found").rmdir()
        yield disk
    finally:
        disk.unmount()


@contextmanager
def own_disk(node: Node, image: Path, mib: int) -> Iterator[Disk]:
    """A stopped node's home moves to a disk of its own, and back; its process is ended."""
    aside = node.home.with_name(f"{node.home.name}-aside")
    node.home.rename(aside)
    with ext4(image, node.home, mib) as disk:
        shutil.copytree(aside, node.home, dirs_exist_ok=True)
        disk.sync()
        shutil.rmtree(aside)
        try:
            yield disk
        finally:
            node.end()
        shutil.copytree(node.home, aside, ignore=shutil.ignore_patterns("*.sock"))
    node.home.rmdir()
    aside.rename(node.home)
