"""Machines to measure on: real sshd's, each in a network namespace of its own where that can be.

Host keys and user keys are made here, for one test run. Without the right to make namespaces the
hosts are loopback addresses of this machine; without an sshd, :mod:`tests.bench.stand_in` serves.
:attr:`Hosts.how` and :attr:`Hosts.server` say which it is.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin:/usr/bin")
MARK = os.getpid()
"""Several test runs may be under way on one machine: each has its own names, network and port."""
BRIDGE = f"vb{MARK}"
NETWORK = f"10.231.{MARK % 250}"
PORT = 20_000 + MARK % 10_000
UP_S = 20.0
ROOT = Path(__file__).parents[2]


class Machine(NamedTuple):
    """One of them."""

    name: str
    address: str
    namespace: str | None
    sshd: subprocess.Popen[bytes]


class Hosts(NamedTuple):
    """All of them."""

    how: str
    """``namespaces`` or ``loopback``."""
    server: str
    """``sshd`` or ``stand-in``."""
    machines: tuple[Machine, ...]
    folder: Path
    """Keys, and where each host keeps its temporary files."""

    def inventory(self, **changes: str) -> str:
        """A file that lists them."""
        lines = ["schema = 1"]
        for machine in self.machines:
            host = {
                "name": machine.name,
                "address": machine.address,
                "user": getpass.getuser(),
                "key": str(self.folder / "user"),
                "known_hosts": str(self.folder / "known_hosts"),
                "python": self.python(machine.name),
            } | changes
            lines += ["[[host]]", f"port = {PORT}"]
            lines += [f'{key} = "{value}"' for key, value in host.items()]
        return "\n".join(lines) + "\n"

    def python(self, name: str) -> str:
        """An interpreter without any packages, that keeps its temporary files apart."""
        return str(self.folder / name / "python")

    def scraps(self, name: str) -> list[str]:
        """What lies in a host's folder for temporary files."""
        return sorted(path.name for path in (self.folder / name / "tmp").iterdir())

    def cut(self, machine: Machine) -> None:
        """Take its cable out: packets vanish, nothing is closed."""
        ip("link", "set", cable(machine.name), "down")

    def mend(self, machine: Machine) -> None:
        """Put it back in."""
        ip("link", "set", cable(machine.name), "up")


def cable(name: str) -> str:
    """This side's end of what connects a machine."""
    return f"v{MARK}{name}"


def ip(*words: str, check: bool = True) -> None:
    """``ip`` of iproute2."""
    subprocess.run(["ip", *words], check=check, capture_output=True)


def _may_namespaces() -> bool:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    tried = subprocess.run(["ip", "netns", "add", f"probe{MARK}"], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "del", f"probe{MARK}"], check=False, capture_output=True)
    return tried.returncode == 0


@contextmanager
def running(folder: Path, count: int, sshd: str | None = SSHD) -> Iterator[Hosts]:
    """So many machines with a server each, until the end of the block."""
    make_keys(folder)
    spaces = _may_namespaces()
    if sshd is not None and os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    if spaces:
        _bridge()
    machines: list[Machine] = []
    public = (folder / "host.pub").read_text().strip()
    try:
        for i in range(count):
            name = f"h{i}"
            address = f"{NETWORK}.{i + 2}" if spaces else f"127.0.0.{i + 2}"
            namespace = f"vppd{MARK}{name}" if spaces else None
            if namespace is not None:
                _namespace(namespace, name, address)
            _interpreter(folder / name)
            machines.append(
                Machine(name, address, namespace, _serve(folder, address, namespace, sshd))
            )
        known = (f"[{m.address}]:{PORT} {public}" for m in machines)
        (folder / "known_hosts").write_text("\n".join(known) + "\n")
        for machine in machines:
            wait_for(machine.address)
        how, server = ("namespaces" if spaces else "loopback"), ("sshd" if sshd else "stand-in")
        yield Hosts(how, server, tuple(machines), folder)
    finally:
        for machine in machines:
            machine.sshd.terminate()
            machine.sshd.wait()
            if machine.namespace is not None:
                ip("netns", "del", machine.namespace, check=False)
        if spaces:
            ip("link", "del", BRIDGE, check=False)


def make_keys(folder: Path) -> None:
    """Of the hosts, all the same one, and of the user."""
    import asyncssh

    for name in ("host", "user"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        (folder / name).touch(0o600)
        key.write_private_key(str(folder / name))
        key.write_public_key(str(folder / f"{name}.pub"))
    shutil.copy(folder / "user.pub", folder / "authorized_keys")


def _bridge() -> None:
    ip("link", "add", BRIDGE, "type", "bridge")
    ip("addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
    ip("link", "set", BRIDGE, "up")


def _namespace(namespace: str, name: str, address: str) -> None:
    ip("netns", "add", namespace)
    ip("link", "add", cable(name), "type", "veth", "peer", "name", "eth0", "netns", namespace)
    ip("link", "set", cable(name), "master", BRIDGE, "up")
    ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
    ip("-n", namespace, "link", "set", "eth0", "up")
    ip("-n", namespace, "link", "set", "lo", "up")


def _interpreter(home: Path) -> None:
    """This Python, but without the packages of this environment."""
    (home / "tmp").mkdir(parents=True)
    base = Path(sys.base_prefix) / "bin" / "python3"
    python = home / "python"
    lines = ["#!/bin/sh", f"TMPDIR={home / 'tmp'}", "export TMPDIR", f'exec {base} -s "$@"']
    python.write_text("\n".join(lines) + "\n")
    python.chmod(0o755)


def _serve(
    folder: Path, address: str, namespace: str | None, sshd: str | None
) -> subprocess.Popen[bytes]:
    options = {
        "ListenAddress": address, "Port": str(PORT), "HostKey": str(folder / "host"),
        "AuthorizedKeysFile": str(folder / "authorized_keys"), "PidFile": "none",
        "StrictModes": "no", "UsePAM": "no", "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
    }  # fmt: skip
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    command = [str(sshd), "-D", "-e", "-f", "/dev/null", *words]
    if sshd is None:
        command = [sys.executable, "-m", "tests.bench.stand_in", str(folder), address, str(PORT)]
    inside = ["ip", "netns", "exec", namespace] if namespace is not None else []
    with (folder / f"server-{address}.log").open("wb") as log:
        return subprocess.Popen([*inside, *command], cwd=ROOT, stdout=log, stderr=log)


def wait_for(address: str, port: int = PORT) -> None:
    """Until an SSH server answers there."""
    end = time.monotonic() + UP_S
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection((address, port), timeout=1) as talk:
            if talk.recv(3) == b"SSH":
                return
        time.sleep(0.05)
    raise RuntimeError(f"no SSH server comes up at {address}")
