"""The day's daemons: real processes, started, watched, restarted when they die, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vppd.client.client import Disconnected, RequestFailed, connect
from vppd.errors import UserError

POLL_S = 0.1
RESTART_S = 2.0
STOP_S = 15.0


class NodeProcess:
    """One ``vppd start`` and its log; comes back after a death, as under systemd.

    Args:
        name: of the node.
        home: its folder.
        say: where news for the person watching goes.
        program: module and first arguments that start it, for ``python -m``.
    """

    def __init__(
        self,
        name: str,
        home: Path,
        say: Callable[[str], None],
        program: Sequence[str] = ("vppd", "start"),
    ) -> None:
        self.name = name
        self.home = home
        self.restarts = 0
        self._say = say
        self._program = program
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def socket(self) -> Path:
        """Where its clients connect."""
        return self.home / "vppd.sock"

    @property
    def log_file(self) -> Path:
        """What it says while it runs."""
        return self.home / "vppd.log"

    @property
    def pid(self) -> int | None:
        """Of the living process."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Start, and keep alive until :meth:`stop`."""
        await self._spawn()
        self._keeper = asyncio.create_task(self._keep())

    async def _spawn(self) -> None:
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *self._program, "--home", str(self.home),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip

    async def _keep(self) -> None:
        while self._process is not None:
            code = await self._process.wait()
            if self._stopping:
                return
            if self.restarts >= 5:
                raise UserError(
                    "E420",
                    f"{self.name} does not stay alive",
                    facts={"exit code": str(code), "last words": self.last_words()},
                    hint=f"read {self.log_file}",
                )
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            self._say(f"{self.name} died ({how}); starting it again in {RESTART_S:.0f} s")
            await asyncio.sleep(RESTART_S)
            self.restarts += 1
            await self._spawn()

    def last_words(self) -> str:
        """The last lines of its log."""
        with suppress(OSError):
            return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-5:])
        return "(no log)"

    async def stop(self) -> int | None:
        """SIGTERM, and SIGKILL for one that does not listen; returns its exit code."""
        self._stopping = True
        process = self._process
        if process is None:
            return None
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), STOP_S)
            except TimeoutError:
                self._say(f"{self.name} does not stop; killed")
                process.kill()
                await process.wait()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})  # why it failed is :meth:`kept`'s to say
        return process.returncode

    def kill(self) -> None:
        """SIGKILL; it comes back."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def kept(self) -> asyncio.Task[None]:
        """Ends with E420 when the process does not stay alive; a process must have been started."""
        assert self._keeper is not None  # noqa: S101  # started before it is watched
        return self._keeper

    def failed(self) -> BaseException | None:
        """Why it is not kept alive any more."""
        keeper = self._keeper
        if keeper is None or not keeper.done() or keeper.cancelled():
            return None
        return keeper.exception()

    async def status(self) -> dict[str, Any] | None:
        """Its ``status`` view; ``None`` while it does not answer."""
        try:
            async with asyncio.timeout(2), connect(self.socket) as client:
                status: dict[str, Any] = await client.view("status")
                return status
        except (UserError, RequestFailed, Disconnected, TimeoutError):
            return None


async def all_answer(
    nodes: Sequence[NodeProcess], accept: Callable[[dict[str, Any]], bool], deadline_s: float
) -> list[dict[str, Any]] | None:
    """Poll until every node's status is accepted.

    Returns:
        The statuses in node order, or ``None`` when the time is up.
    """
    end = asyncio.get_running_loop().time() + deadline_s
    while asyncio.get_running_loop().time() < end:
        for node in nodes:
            failure = node.failed()
            if failure is not None:
                raise failure
        statuses = [await node.status() for node in nodes]
        answered = [s for s in statuses if s is not None and accept(s)]
        if len(answered) == len(nodes):
            return answered
        await asyncio.sleep(POLL_S)
    return None
