"""One machine over SSH: connected, asked, and left as it was found."""

from __future__ import annotations

import asyncio
import base64
import json
import shlex
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vppd.bench.remote import agent
from vppd.bench.remote.inventory import Host
from vppd.errors import UserError

if TYPE_CHECKING:
    import asyncssh

CONNECT_S = 15.0
ANSWER_S = 120.0
"""Unpacking on a slow card takes its time."""
KEEPALIVE_S = 10
ROUND_TRIPS = 12
LEAST_PYTHON = [3, 11]
_AGENT = Path(agent.__file__).read_text(encoding="utf-8")


class Clock(NamedTuple):
    """A host's clock against this machine's, from the shortest of several round trips."""

    offset_ms: float
    """Positive: it is ahead."""
    rtt_ms: float
    """The offset is known to half of it."""
    monotonic_ns: int
    """Its monotonic clock against this machine's, as well known."""


class Remote:
    """A session with one machine's agent; :meth:`open` makes one.

    Args:
        host: which.
        connection: SSH.
        process: the agent.
        facts: what it said of its machine.
    """

    def __init__(
        self, host: Host, connection: asyncssh.SSHClientConnection, process: Any,
        facts: dict[str, Any],
    ) -> None:  # fmt: skip
        self.host = host
        self.facts = facts
        self.removed = False
        """The agent has said that nothing is left."""
        self._connection = connection
        self._process = process
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls, host: Host, silence_s: float = agent.SILENCE_S) -> Remote:
        """Connect and start the agent.

        Raises:
            UserError: E430, the extra ``bench`` is missing; E455, no connection; E456, no Python
                that will do.
        """
        try:
            import asyncssh
        except ImportError as err:
            raise UserError(
                "E430",
                "a library for SSH is missing",
                facts={"missing": str(err.name)},
                hint="pip install 'vppd[bench]'",
            ) from err
        try:
            async with asyncio.timeout(CONNECT_S):
                connection = await asyncssh.connect(host.address, **_options(host))
        except (OSError, asyncssh.Error, ValueError, TimeoutError) as err:
            raise _unreachable(host, err) from err
        try:
            words = [host.python, "-c", _AGENT, str(silence_s)]
            command = shlex.join([*words, host.folder] if host.folder else words)
            process = await connection.create_process(command, encoding=None)
            facts = await _first_words(host, process)
        except BaseException:
            connection.close()
            raise
        return cls(host, connection, process, facts)

    async def ask(self, do: str, payload: bytes = b"", **arguments: object) -> dict[str, Any]:
        """One question to the agent.

        Raises:
            UserError: E459, the connection is gone, or it could not do it.
        """
        line = json.dumps({"do": do, **arguments}).encode() + b"\n"
        try:
            async with self._turn, asyncio.timeout(ANSWER_S):
                self._process.stdin.write(line + payload)
                await self._process.stdin.drain()
                answer = await self._process.stdout.readline()
        except (OSError, TimeoutError) as err:
            raise self._lost(str(err) or "no answer") from err
        if not answer:
            raise self._lost("it ended the connection")
        said: dict[str, Any] = json.loads(answer)
        if "error" in said:
            raise self._lost(said["error"])
        return said

    def _lost(self, why: str) -> UserError:
        return UserError(
            "E459",
            f"{self.host.name} does not go on",
            facts={"host": f"{self.host.address}:{self.host.port}", "why": why},
            hint="nothing is left there a minute after it was heard of last; start again",
        )

    async def unpack(self, into: str, archive: bytes) -> None:
        """Send a tar archive into the agent's folder.

        Raises:
            UserError: E459.
        """
        await self.ask("unpack", archive, size=len(archive), into=into)

    async def read(self, name: str) -> bytes:
        """A file of the agent's folder.

        Raises:
            UserError: E459.
        """
        whole = b""
        while piece := (await self.ask("read", name=name, offset=len(whole)))["base64"]:
            whole += base64.b64decode(piece)
        return whole

    async def tunnel(self, here: Path, name: str) -> None:
        """Make a Unix socket here that leads to one in the agent's folder, until the end.

        Raises:
            UserError: E459, the server there does not allow it.
        """
        import asyncssh

        there = f"{self.facts['folder']}/{name}"
        try:
            await self._connection.forward_local_path(str(here), there)
        except (OSError, asyncssh.Error) as err:
            raise self._lost(f"no way to {there}: {err}") from err

    async def finish(self, name: str, argv: list[str], seconds: float) -> tuple[int, bytes, bytes]:
        """Run something to its end: exit code, output, errors.

        Raises:
            UserError: E459; also if it takes longer than ``seconds``.
        """
        await self.ask("start", name=name, argv=argv)
        end = time.monotonic() + seconds
        while (code := (await self.ask("poll", name=name))["code"]) is None:
            if time.monotonic() > end:
                raise self._lost(f"{name} is not done after {seconds:.0f} s")
            await asyncio.sleep(0.2)
        return code, await self.read(f"{name}.out"), await self.read(f"{name}.err")

    async def clock(self) -> Clock:
        """Its clock against ours, as NTP does it.

        Raises:
            UserError: E459.
        """
        best: Clock | None = None
        for _ in range(ROUND_TRIPS):
            sent = time.time_ns()
            said = await self.ask("clock")
            there: int = said["unix_ns"]
            back, now_ns = time.time_ns(), time.monotonic_ns()
            rtt_ms = (back - sent) / 1e6
            if best is None or rtt_ms < best.rtt_ms:
                offset_ms = (there - (sent + back) / 2) / 1e6
                ahead_ns = said["monotonic_ns"] - (now_ns - (back - sent) // 2)
                best = Clock(round(offset_ms, 3), round(rtt_ms, 3), ahead_ns)
        assert best is not None  # noqa: S101  # there is at least one round trip
        return best

    async def close(self) -> None:
        """Have everything there removed; a machine that is gone does it by itself."""
        with suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(CONNECT_S):
                self._process.stdin.write(b'{"do": "bye"}\n')
                answer = b"{}"
                while answer and b"removed" not in answer:
                    answer = await self._process.stdout.readline()
                self.removed = bool(answer) and json.loads(answer)["removed"]
        self._connection.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                await self._connection.wait_closed()


def _options(host: Host) -> dict[str, Any]:
    options: dict[str, Any] = {
        "port": host.port,
        "known_hosts": str(Path(host.known_hosts).expanduser()),
        "keepalive_interval": KEEPALIVE_S,
        "config": None,
    }
    if host.user:
        options["username"] = host.user
    if host.key:
        options["client_keys"] = [str(Path(host.key).expanduser())]
    return options


async def _first_words(host: Host, process: Any) -> dict[str, Any]:
    """What the agent says of its machine, if there is one that will do."""
    try:
        async with asyncio.timeout(CONNECT_S):
            line = await process.stdout.readline()
    except TimeoutError:
        line = b""
    try:
        facts: dict[str, Any] = json.loads(line)
    except ValueError as err:
        said = await _errors(process)
        raise _unfit(host, said or "it does not start our program") from err
    if facts["python"][:2] < LEAST_PYTHON:
        found = ".".join(map(str, facts["python"]))
        raise _unfit(host, f"it is Python {found}, vppd needs 3.11 or newer")
    return facts


async def _errors(process: Any) -> str:
    with suppress(TimeoutError):
        async with asyncio.timeout(2):
            text: str = (await process.stderr.read()).decode(errors="replace").strip()
            return text.rpartition("\n")[2][-300:]  # of a traceback, what it comes to
    return ""


def _unfit(host: Host, why: str) -> UserError:
    return UserError(
        "E456",
        f"{host.name} cannot run what it is sent",
        facts={"host": f"{host.address}:{host.port}", "python": host.python, "why": why},
        hint='python = "/usr/bin/python3.11" or folder = "/var/tmp" for that host in the inventory',
    )


def _unreachable(host: Host, err: BaseException) -> UserError:
    why = str(err) or type(err).__name__
    return UserError(
        "E455",
        f"no connection to {host.name}",
        facts={"host": f"{host.address}:{host.port}", "user": host.user or "yours", "why": why},
        hint=f"ssh -p {host.port} {host.address} must work without a password, its key known",
    )
