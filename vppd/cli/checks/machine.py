"""The machine: versions, the kernel's clock, the disk under the store."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import sqlite3
import ssl
import struct
import tempfile
import time
from importlib import metadata
from pathlib import Path

from vppd.cli.checks.finding import Finding, fail, ok, unknown, warn
from vppd.crypto import SigningKey, verify

SYNCS = 50
SYNC_BYTES = 4096
SLOW_SYNC_MS = 100.0
"""Half of the syncs: a block costs several, one after the other."""
STALLED_SYNC_MS = 1_000.0
"""The worst one: leaders are deposed for a silence of ``view_timeout_ms``, 2 s."""

_RFC8032_SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
_RFC8032_SIGNATURE = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
    "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
)
"""RFC 8032, section 7.1, test 1: over the empty message."""

_TIMEX = struct.Struct("@I4li")
"""How ``struct timex`` begins (adjtimex(2)): modes, offset, freq, maxerror, esterror, status."""
_TIMEX_ROOM = 1024
_STA_UNSYNC = 0x40
_VOLATILE = {"tmpfs", "ramfs"}
_SHARED = re.compile(r"nfs\d?|cifs|smb\d?|9p|ceph|glusterfs|afs|fuse\..*|virtiofs|vboxsf")
_ODD = {
    "overlay": "a container's own layer, gone with the container",
    "vfat": "FAT has no journal, no permissions and no links",
    "exfat": "exFAT has no journal, no permissions and no links",
}


def versions() -> Finding:
    """What this build runs on; Python's own libraries included."""
    return ok(
        "python",
        f"{platform.python_version()}, {ssl.OPENSSL_VERSION.partition('  ')[0]}, "
        f"SQLite {sqlite3.sqlite_version}",
    )


def signatures() -> Finding:
    """libsodium, through PyNaCl: does it make and accept the signature of RFC 8032?"""
    key = SigningKey(_RFC8032_SEED)
    made = key.sign(b"")
    forged = bytes([made[0] ^ 1]) + made[1:]
    right = made == _RFC8032_SIGNATURE and verify(key.public_key, b"", made)
    if not right or verify(key.public_key, b"", forged):
        return fail(
            "libsodium",
            "signs or verifies other than RFC 8032 says",
            "install vppd again, with pynacl from its own wheel",
        )
    version = _sodium_version() or "which does not tell its version"
    return ok("libsodium", f"{version}, PyNaCl {metadata.version('pynacl')}: ed25519 as RFC 8032")


def _sodium_version() -> str | None:
    """Of a library that PyNaCl shares with the system; the one in its wheel has no such name."""
    from nacl import _sodium

    try:
        tell = ctypes.CDLL(_sodium.__file__).sodium_version_string
    except (AttributeError, OSError):
        return None
    tell.restype = ctypes.c_char_p
    text: bytes = tell()
    return text.decode()


def clock() -> Finding:
    """Whether the kernel's clock is kept by NTP or PTP, as the kernel says (adjtimex(2))."""
    try:
        call = ctypes.CDLL(None, use_errno=True).adjtimex
    except (AttributeError, OSError):
        return unknown("clock", "this system does not say whether its clock is synchronised")
    state = ctypes.create_string_buffer(_TIMEX_ROOM)  # modes 0: nothing is set
    if call(state) < 0:
        return unknown("clock", f"the kernel does not say: {os.strerror(ctypes.get_errno())}")
    *_, max_error_us, _, status = _TIMEX.unpack_from(state.raw)
    if status & _STA_UNSYNC:
        return warn(
            "clock",
            "the kernel says its clock is not synchronised",
            "timedatectl set-ntp true, or install chrony; a virtual machine may get its time "
            "from its host",
        )
    return ok("clock", f"synchronised, to {max_error_us / 1000:.0f} ms at most")


# ---------------------------------------------------------------- disk


def space(folder: Path, min_free_bytes: int) -> Finding:
    """Free room under the store against ``min_free``."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as err:
        return unknown("disk space", f"{folder}: {err.strerror}")
    says = f"{_mib(free)} free, the node signs nothing below {_mib(min_free_bytes)}"
    hint = f"make room on the disk of {folder}, or lower [store] min_free in node.toml"
    if free < min_free_bytes:
        return fail("disk space", says, hint)
    return warn("disk space", says, hint) if free < 2 * min_free_bytes else ok("disk space", says)


def syncs(folder: Path) -> Finding:
    """How long a small write takes until it is on the disk: 50 of them, in a file that goes."""
    taken: list[float] = []
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(SYNCS):
                os.pwrite(file.fileno(), os.urandom(SYNC_BYTES), 0)
                before = time.perf_counter()
                os.fdatasync(file.fileno())
                taken.append(1000 * (time.perf_counter() - before))
    except OSError as err:
        return fail(
            "disk sync",
            f"cannot write to {folder}: {err.strerror}",
            "check owner, permissions, free space and health of the disk",
        )
    taken.sort()
    p50, p99 = taken[SYNCS // 2], taken[-1]
    says = f"{SYNCS} writes of {SYNC_BYTES} bytes: p50 {p50:.2f} ms, p99 {p99:.2f} ms"
    if p50 > SLOW_SYNC_MS or p99 > STALLED_SYNC_MS:
        return warn("disk sync", says, "every block waits for several of these: use a faster disk")
    return ok("disk sync", says)


def filesystem(folder: Path, table: Path = Path("/proc/self/mountinfo")) -> Finding:
    """Whether a sync means anything on the filesystem of the store.

    Args:
        folder: of the store.
        table: the kernel's list of mounts (proc_pid_mountinfo(5)).
    """
    try:
        mounted = _mount_of(folder.resolve(), table.read_text(encoding="utf-8"))
    except OSError as err:
        return unknown("filesystem", f"{table}: {err.strerror}")
    if mounted is None:
        return unknown("filesystem", f"{folder} is under no mount of {table}")
    point, kind = mounted
    says = f"{kind} at {point}"
    move = "[store] path in node.toml on a local disk with ext4, xfs or btrfs"
    if kind in _VOLATILE:
        return warn("filesystem", f"{says}: memory, gone when the power is", move)
    if _SHARED.fullmatch(kind):
        return warn("filesystem", f"{says}: locks and syncs go through somebody else", move)
    if kind in _ODD:
        return warn("filesystem", f"{says}: {_ODD[kind]}", move)
    return ok("filesystem", says)


def _mount_of(folder: Path, table: str) -> tuple[Path, str] | None:
    """The mount that holds ``folder``: where it is, and of what kind; a later one hides earlier."""
    found: tuple[Path, str] | None = None
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        point = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), before.split()[4]))
        if folder.is_relative_to(point) and (
            found is None or len(point.parts) >= len(found[0].parts)
        ):
            found = point, after.split()[0]
    return found


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.0f} MiB"
