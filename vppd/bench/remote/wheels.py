"""The packages a host is sent: vppd and what it needs, in exactly the versions of this machine.

A wheel is a zip file; on a host it is unpacked into a folder and put on Python's path, so that
neither pip nor a virtual environment has to be there. Where the host is of this machine's kind, the
dependencies are those installed here; for another kind pip downloads their wheels, same versions.
"""

from __future__ import annotations

import io
import platform
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import vppd
from vppd.errors import UserError

NEWEST_OLD_GLIBC = 17
"""``manylinux2014`` is glibc 2.17; wheels for anything from there to the host's own will do."""
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def needed() -> list[Distribution]:
    """What vppd needs to run here beside itself, without extras, each distribution once.

    Raises:
        UserError: E457, one of them is not installed.
    """
    found: dict[str, Distribution] = {}
    waiting = _requirements(_distribution("vppd"))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _distribution(name)
            waiting += _requirements(found[name])
    return [found[name] for name in sorted(found)]


def _requirements(of: Distribution) -> list[str]:
    """Their names. One with a condition that is not installed is one whose condition is not met."""
    names = []
    for line in of.requires or ():
        spec, _, condition = line.partition(";")
        match = _NAME.match(spec)
        if match is None or "extra" in condition:
            continue
        try:
            distribution(match[0])
        except PackageNotFoundError:
            if condition:
                continue
        names.append(match[0].lower().replace("_", "-"))
    return names


def _distribution(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as err:
        raise _unavailable(f"{name} is not installed on this machine") from err


def _unavailable(why: str) -> UserError:
    return UserError(
        "E457",
        "the packages for a host cannot be had",
        facts={"why": why},
        hint="--wheel with a wheel of vppd, or --wheels with a folder of all the host needs",
    )


def same_kind(host: dict[str, Any]) -> bool:
    """Whether what is installed here runs there: interpreter, processor, and a libc as new."""
    libc, version = platform.libc_ver()
    return (
        host["python"][:2] == list(sys.version_info[:2])
        and host["implementation"] == sys.implementation.name
        and (host["system"], host["machine"]) == (platform.system(), platform.machine())
        and host["libc"][0] == libc
        and _numbers(host["libc"][1]) >= _numbers(version)
    )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdecimal()]


def make_wheel(folder: Path) -> Path:
    """Build vppd's wheel from the sources beside this package.

    Raises:
        UserError: E457, there are none, or it cannot be built.
    """
    root = Path(vppd.__file__).parent.parent
    if not (root / "pyproject.toml").is_file():
        raise _unavailable(f"there are no sources of vppd in {root} to build a wheel from")
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(root))
    return next(folder.glob("vppd-*.whl"))


def _pip(*arguments: str) -> None:
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "pip", arguments[0], *quiet, *arguments[1:]],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise _unavailable("\n".join(said[-6:]) or f"pip {arguments[0]} failed")


def download(host: dict[str, Any], wheel: Path, folder: Path) -> list[Path]:
    """Wheels of vppd's dependencies for a host of another kind, in the versions installed here.

    Args:
        host: its facts, as its agent says them.
        wheel: vppd's.
        folder: where to put them.

    Raises:
        UserError: E457, there are none for it.
    """
    pins = folder / "pins.txt"
    pins.write_text("".join(f"{d.metadata['Name']}=={d.version}\n" for d in needed()))
    major, minor = host["python"][:2]
    _pip(
        "download", "--only-binary=:all:", "--dest", str(folder), "--constraint", str(pins),
        "--python-version", f"{major}.{minor}", "--implementation", "cp",
        "--abi", f"cp{major}{minor}", "--abi", "abi3", "--abi", "none",
        *(word for tag in platforms(host) for word in ("--platform", tag)), str(wheel),
    )  # fmt: skip
    return sorted(path for path in folder.glob("*.whl") if not path.name.startswith("vppd-"))


def platforms(host: dict[str, Any]) -> list[str]:
    """Platform tags of wheels that run on a host.

    Raises:
        UserError: E457, it is no Linux with glibc: packages for it must be given.
    """
    kind, version = host["libc"]
    if host["system"] != "Linux" or kind != "glibc":
        raise _unavailable(f"the host runs {host['system']} with {kind or 'another libc'}")
    newest, machine = _numbers(version)[1], host["machine"]
    made = [f"manylinux_2_{m}_{machine}" for m in range(newest, NEWEST_OLD_GLIBC - 1, -1)]
    return [*made, f"manylinux2014_{machine}", f"linux_{machine}"]


def site(wheels: Sequence[Path], installed: Sequence[Distribution]) -> bytes:
    """A compressed tar archive of everything that goes onto a host's path.

    Raises:
        UserError: E457, one of the wheels is none.
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=3) as tar:
        for wheel in wheels:
            try:
                with zipfile.ZipFile(wheel) as packed:
                    for name in packed.namelist():
                        _add(tar, name, packed.read(name))
            except (OSError, zipfile.BadZipFile) as err:
                raise _unavailable(f"{wheel} is no wheel: {err}") from err
        for package in installed:
            for file in package.files or ():
                if ".." not in file.parts and "__pycache__" not in file.parts:
                    _add(tar, str(file), Path(str(file.locate())).read_bytes())
    return archive.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    if not name.endswith("/"):
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o644
        tar.addfile(info, io.BytesIO(content))


def pack_folder(folder: Path) -> bytes:
    """A tar archive of a node's home, modes kept: keys stay private."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
        for path in sorted(folder.rglob("*")):
            tar.add(path, path.relative_to(folder), recursive=False)
    return archive.getvalue()
