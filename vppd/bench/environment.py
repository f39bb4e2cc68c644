"""Where a run took place: machine, system, libraries."""

from __future__ import annotations

import os
import platform
import resource
import sqlite3
import ssl
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import vppd
from vppd.bench.plan import Plan

LIBRARIES = ("aiosqlite", "msgspec", "msgpack", "pynacl", "uvloop", "prometheus-client")
_MEMORY = {"tmpfs", "ramfs"}


def environment(plan: Plan, disk: Path) -> dict[str, Any]:
    """What somebody needs who is to compare results; the load average is that before the run."""
    return machine() | {
        "tls": "TLSv1.3" if plan.transport == "tls" else None,
        "disk": filesystem(disk),
        "page_bytes": resource.getpagesize(),
        "load_before": os.getloadavg(),
    }


def machine() -> dict[str, Any]:
    """Cores, system, libraries, and which commit of vppd."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "machine": platform.machine(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "vppd": vppd.__version__,
        "commit": commit(),
        "libraries": {name: _version(name) for name in LIBRARIES}
        | {"sqlite": sqlite3.sqlite_version, "openssl": ssl.OPENSSL_VERSION},
    }


def commit() -> str | None:
    """The commit that this code is of, with ``+`` if it was changed since; ``None``: no clone."""
    root = Path(vppd.__file__).parent.parent
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        done = subprocess.run(  # noqa: S603
            ["git", "-C", str(root), *words],  # noqa: S607
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def filesystem(folder: Path) -> dict[str, str] | None:
    """Device and type of what a folder lies on, where the system says so."""
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found: dict[str, str] | None = None
    longest = -1
    for device, mount, kind in (line.split()[:3] for line in lines):
        if folder.resolve().is_relative_to(mount) and len(mount) >= longest:
            longest, found = len(mount), {"device": device, "mount": mount, "type": kind}
    return found


def in_memory(folder: Path) -> bool:
    """Whether what is written there never reaches a disk."""
    found = filesystem(folder)
    return found is not None and found["type"] in _MEMORY


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in {"model name", "Model"}:
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
