"""A plant of real processes: started, asked, killed, started again, and always stopped."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

from vppd.cli.testnet import Member, Testnet, write_testnet
from vppd.client.client import Client, Disconnected, connect
from vppd.config.keys import load_key
from vppd.crypto import SigningKey
from vppd.errors import UserError
from vppd.ledger.transaction import Op, make_transaction

T = TypeVar("T")
PATIENCE_S = 20.0
POLL_S = 0.03
LIFETIME_BLOCKS = 1_000


class Ran(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Its JSON."""
        return json.loads(self.out)


def vppd(
    *args: object,
    cwd: Path | None = None,
    stdin: bytes = b"",
    seconds: float = 60,
    hash_seed: str = "random",
) -> Ran:
    """``vppd ARGS…``, as typed."""
    done = subprocess.run(
        [sys.executable, "-m", "vppd", *map(str, args)],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        timeout=seconds,
        env={**os.environ, "COLUMNS": "100", "PYTHONHASHSEED": hash_seed},
        check=False,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


def eventually(look: Callable[[], T | None], what: str, within_s: float = PATIENCE_S) -> T:
    """What ``look`` finds, as soon as it finds something true."""
    deadline = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within_s:.0f} s: {what}")
        time.sleep(POLL_S)


async def eventually_async(
    look: Callable[[], Coroutine[Any, Any, T | None]], what: str, within_s: float = PATIENCE_S
) -> T:
    """The same on an event loop."""
    deadline = time.monotonic() + within_s
    while True:
        found = await look()
        if found:
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within_s:.0f} s: {what}")
        await asyncio.sleep(POLL_S)


WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
"""Test processes side by side look for ports in different places; ``vppd dev`` in yet another."""


def free_base_port(count: int, beside: Sequence[int] = (0, 1)) -> int:
    """Below the ports that outgoing connections get, ten apart, with room for HTTP beside each.

    Args:
        count: of nodes.
        beside: how far from a node's first port the ports lie that must be free.
    """
    chance = random.SystemRandom()
    first = 20_000 + 3_000 * WORKER
    while True:
        base = chance.randrange(first, first + 3_000 - 10 * count, 10)
        ports = [base + 10 * i + j for i in range(count) for j in beside]
        if all(_is_free(port) for port in ports):
            return base


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Node:
    """One node's folder, and its process while there is one."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.name = member.name
        self.home = member.home
        self.socket = member.home / "vppd.sock"
        self.log_file = member.home / "vppd.log"
        self.key: SigningKey = load_key(member.home / "node.key")
        self.program: tuple[str, ...] = ("vppd",)
        """A module and its first arguments, run with ``-m``."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The latest."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    @property
    def log(self) -> str:
        """Everything it has said."""
        return self.log_file.read_text()

    def start(self, *args: str, cwd: Path | None = None) -> None:
        """``vppd start``; on its home, unless told otherwise."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    *self.program,
                    "start",
                    *(args or ("--home", str(self.home))),
                ],
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def terminate(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """``kill -9``."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def end(self) -> None:
        """Whatever state it is in: gone afterwards."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def rss_kib(self) -> int:
        """Resident memory."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("a living process has memory")

    def vppd(self, *args: object, **options: Any) -> Ran:
        """A command for this node."""
        return vppd(*args, "--home", self.home, **options)

    @contextmanager
    def follow(self, *args: object) -> Iterator[list[bytes]]:
        """A command that does not end by itself, and the lines it has printed so far."""
        running = subprocess.Popen(
            [sys.executable, "-m", "vppd", *map(str, args), "--home", str(self.home)],
            stdout=subprocess.PIPE,
        )
        lines: list[bytes] = []
        pipe = running.stdout
        assert pipe is not None

        def read() -> None:
            for line in pipe:
                lines.append(line)  # noqa: PERF402 - each one counts as soon as it is there

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield lines
        finally:
            running.kill()
            running.wait()
            reader.join()
            pipe.close()

    def ask(self, work: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        """Connect, do something, hang up."""

        async def main() -> T:
            async with connect(self.socket) as client:
                return await work(client)

        return asyncio.run(main())

    def view(self, name: str, argument: str = "") -> Any:
        """A view."""
        return self.ask(lambda client: client.view(name, argument))

    def status(self) -> dict[str, Any] | None:
        """Where it stands; ``None`` while it does not answer."""
        try:
            status: dict[str, Any] = self.view("status")
        except (UserError, Disconnected):
            return None
        return status

    def peer(self, name: str) -> dict[str, Any]:
        """What it says about another node."""
        status = self.status() or {"peers": []}
        found: dict[str, Any] = next((p for p in status["peers"] if p["name"] == name), {})
        return found


class Plant:
    """All nodes of a testnet."""

    def __init__(self, testnet: Testnet) -> None:
        self.testnet = testnet
        self.genesis = testnet.genesis
        self.nodes = [Node(member) for member in testnet.nodes]

    def start(self) -> None:
        """All, until every one votes and sees every other."""
        for node in self.nodes:
            node.start()
        self.wait_complete()

    def wait_complete(self) -> None:
        """Until every node votes and sees every other."""
        eventually(lambda: all(map(_at_home, self.nodes)), self.last_words("complete"))

    def last_words(self, what: str) -> str:
        """For a failure's text."""
        return f"{what}; logs in {self.testnet.out}"

    def wait_equal(self, nodes: Sequence[Node] | None = None) -> tuple[int, str]:
        """Until all have the same head and have executed it; height and digest of it.

        One that is still joining stands at genesis, as everybody does in a plant without blocks.
        """
        chosen = self.nodes if nodes is None else nodes

        def look() -> tuple[int, str] | None:
            heads = {
                (s["height"], s["head"])
                if s and not s["joining"] and s["executed"] == s["height"]
                else None
                for s in (node.status() for node in chosen)
            }
            return heads.pop() if len(heads) == 1 else None

        return eventually(look, self.last_words("equal heads"))

    def sign(self, node: Node, *ops: Op, nonce: int | None = None) -> bytes:
        """A transaction of a member, with its next nonce."""
        account = node.view("account", node.name)
        due = account["nonce"] if nonce is None else nonce
        return make_transaction(
            node.key, self.genesis.digest, due, account["height"] + LIFETIME_BLOCKS, ops
        )


def _at_home(node: Node) -> bool:
    status = node.status()
    return bool(status and status["voting"] and all(p["connected"] for p in status["peers"]))


@contextmanager
def plant_of(out: Path, n: int, **options: Any) -> Iterator[Plant]:
    """A written plant; whatever of it runs at the end is killed."""
    made = Plant(write_testnet(out, n, base_port=free_base_port(n), **options))
    with ExitStack() as stack:
        for node in made.nodes:
            stack.callback(node.end)
        yield made
