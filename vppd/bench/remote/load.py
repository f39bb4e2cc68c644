"""The load processes of a remote run: those of every run, each beside the node that it talks to.

``python -m vppd.bench.client`` runs on the host and is spoken to through its agent. Its clock is
the host's monotonic one, so the word to go names the same moment in each host's time.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path, PurePosixPath
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from vppd.bench.client import Done, Failed, Go, Job, Ready, Said, Standing
from vppd.bench.load import Listen
from vppd.bench.remote.host import Remote
from vppd.bench.samples import Samples
from vppd.bench.wire import Entry
from vppd.errors import UserError

S = TypeVar("S", Ready, Done)
HOME, SENDERS = "home", "senders"
"""In the agent's folder."""
POLL_S = 0.2
ARGV = ("-m", "vppd.bench.client")


def there(job: Job, number: int) -> Job:
    """A job with the paths of the host that does it."""
    return replace(
        job,
        entry=Entry(kind="socket", where=f"{HOME}/vppd.sock"),
        genesis=f"{HOME}/genesis.toml",
        keys=tuple(f"{SENDERS}/{PurePosixPath(key).name}" for key in job.keys),
        samples=f"client-{number}.u32",
    )


class RemoteClient:
    """One load process on a host; what the run sees is as of a local one.

    Args:
        number: of this client.
        job: what it does, as :func:`there` has it.
        remote: where.
        ahead_ns: that host's monotonic clock against this machine's.
        listen: told how it stands.
    """

    def __init__(
        self, number: int, job: Job, remote: Remote, ahead_ns: int, listen: Listen
    ) -> None:
        self.number = number
        self._job = job
        self._remote = remote
        self._ahead_ns = ahead_ns
        self._listen = listen
        self._name = f"client-{number}"
        self._heard = 0
        """Bytes of what it has said."""

    async def prepare(self) -> Ready:
        """Start it, and wait until everything is made.

        Raises:
            UserError: E458, it has failed; E459, its host is lost.
        """
        await self._remote.ask("start", name=self._name, argv=ARGV, stdin=True)
        await self._tell(self._job)
        return await self._hear(Ready)

    async def go(self, start_ns: int) -> None:
        """Let it begin, by its host's clock.

        Raises:
            UserError: E459.
        """
        await self._tell(Go(start_ns + self._ahead_ns))

    async def done(self) -> Done:
        """Wait for its end.

        Raises:
            UserError: E458, E459.
        """
        return await self._hear(Done)

    async def samples(self) -> Samples:
        """What it has written.

        Raises:
            UserError: E459.
        """
        flat = await self._remote.read(self._job.samples)
        with tempfile.TemporaryDirectory(prefix="vppd-samples-") as folder:
            path = Path(folder) / "samples"
            path.write_bytes(flat)
            return Samples.read(path)

    async def _tell(self, message: Job | Go) -> None:
        line = msgspec.json.encode(message).decode()
        await self._remote.ask("tell", name=self._name, line=line)

    async def _hear(self, kind: type[S]) -> S:
        why = ""
        while True:
            said = await self._remote.ask("hear", name=self._name, offset=self._heard)
            self._heard = said["offset"]
            for line in said["lines"]:
                message = msgspec.json.decode(line, type=Said)
                if isinstance(message, kind):
                    return message
                if isinstance(message, Standing):
                    self._listen(self.number, message)
                elif isinstance(message, Failed):
                    why = message.why
            if said["code"] is not None and not said["lines"]:
                break
            await asyncio.sleep(POLL_S)
        words = (await self._remote.read(f"{self._name}.err")).decode(errors="replace").strip()
        raise UserError(
            "E458",
            f"the load on {self._remote.host.name} has failed",
            facts={"why": why or words[-500:] or f"exit code {said['code']}"},
            hint="the host needs memory for all transactions of the run, made before it begins",
        )
