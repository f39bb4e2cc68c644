"""The load processes, as the run sees them: started, spoken to, and always ended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

import msgspec

from vppd.bench.client import Done, Failed, Go, Job, Ready, Said, Standing
from vppd.bench.plan import Plan
from vppd.bench.plant import Plant
from vppd.bench.samples import Samples
from vppd.errors import UserError
from vppd.types import ReplicaIndex

S = TypeVar("S", Ready, Done)
STOP_S = 5.0
Listen: TypeAlias = Callable[[int, Standing], None]
"""Told a client's number and how it stands, once a second."""


class Client(Protocol):
    """A load process, wherever it runs."""

    async def prepare(self) -> Ready:
        """Start it, and wait until everything is made."""
        ...

    async def go(self, start_ns: int) -> None:
        """Let it begin at that time of this machine's monotonic clock."""
        ...

    async def done(self) -> Done:
        """Wait for its end."""
        ...

    async def samples(self) -> Samples:
        """What it has written."""
        ...


class LoadProcess:
    """One ``python -m vppd.bench.client``.

    Args:
        number: of this client.
        job: what it does.
        listen: told how it stands.
    """

    def __init__(self, number: int, job: Job, listen: Listen) -> None:
        self.number = number
        self.job = job
        self._listen = listen
        self._process: asyncio.subprocess.Process | None = None

    async def prepare(self) -> Ready:
        """Start it, and wait until everything is made.

        Raises:
            UserError: E438.
        """
        with self._words.open("wb") as words:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "vppd.bench.client",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=words,
            )  # fmt: skip
        self._say(self.job)
        return await self._hear(Ready)

    @property
    def _words(self) -> Path:
        return Path(self.job.samples).with_suffix(".err")

    async def go(self, start_ns: int) -> None:
        """Let it begin."""
        self._say(Go(start_ns))

    async def done(self) -> Done:
        """Wait for its end.

        Raises:
            UserError: E438.
        """
        return await self._hear(Done)

    async def samples(self) -> Samples:
        """What it has written."""
        return await asyncio.to_thread(Samples.read, Path(self.job.samples))

    def _say(self, message: Job | Go) -> None:
        assert self._process is not None and self._process.stdin is not None  # noqa: S101, PT018  # started
        self._process.stdin.write(msgspec.json.encode(message) + b"\n")

    async def _hear(self, kind: type[S]) -> S:
        process = self._process
        assert process is not None and process.stdout is not None  # noqa: S101, PT018  # started
        why = ""
        while line := await process.stdout.readline():
            said = msgspec.json.decode(line, type=Said)
            if isinstance(said, kind):
                return said
            if isinstance(said, Standing):
                self._listen(self.number, said)
            elif isinstance(said, Failed):
                why = said.why
        await process.wait()
        tail = await asyncio.to_thread(self._words.read_text, errors="replace")
        raise UserError(
            "E438",
            f"load process {self.number} has failed",
            facts={"why": why or tail.strip()[-500:] or f"exit code {process.returncode}"},
            hint="see why; with --peers: are the addresses, certificates and keys of that plant?",
        )

    async def stop(self) -> None:
        """End it, whatever it does."""
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()


def jobs(plan: Plan, plant: Plant, folder: Path, leader: ReplicaIndex) -> list[Job]:
    """What each client does: senders are dealt to clients, clients to nodes or to the leader."""
    senders, found = plant.senders, []
    for c in range(plan.clients):
        closed = None
        if plan.closed is not None:
            closed = plan.closed // plan.clients + (c < plan.closed % plan.clients)
        found.append(
            Job(
                entry=plant.entry(
                    leader if plan.to == "leader" else c % len(plant.seats), plan.entry
                ),
                genesis=str(plant.genesis_file),
                keys=tuple(map(str, senders.keys[c :: plan.clients])),
                kinds=senders.kinds[c :: plan.clients],
                ops=plan.ops,
                size=plan.bytes,
                unsigned=plan.unsigned,
                slots=senders.slots,
                clients=plan.clients,
                rate=plan.supply_per_s / plan.clients,
                arrival=plan.arrival,
                phase=c / plan.clients,
                closed=closed,
                total_s=plan.total_s,
                grace_s=plan.grace_s,
                seed=1_000 * plan.seed + c,
                samples=str(folder / f"client-{c}.u32"),
            )
        )
    return found


@asynccontextmanager
async def load_processes(work: Sequence[Job], listen: Listen) -> AsyncIterator[Sequence[Client]]:
    """Load processes that are ready to go; none of them is left afterwards.

    Raises:
        UserError: E438, one cannot begin.
    """
    clients = [LoadProcess(c, job, listen) for c, job in enumerate(work)]
    try:
        yield clients
    finally:
        await asyncio.gather(*(client.stop() for client in clients))
