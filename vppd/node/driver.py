"""Drives the machine on the event loop: drain, persist, release — one turn at a time.

Everything that arrived in one turn of the event loop becomes one step and one synced transaction
(group commit); whatever arrives during the write waits for the next. A failed write, or a ledger
that disagrees with the plant, ends the process: see :class:`~vppd.errors.LocalFault`.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import structlog

from vppd.consensus.boundary import Timer
from vppd.consensus.evidence import charge_of
from vppd.errors import LocalFault
from vppd.node.beats import Committed, Effects, Frame, Turn
from vppd.node.clock import now
from vppd.node.machine import Machine
from vppd.node.metrics import Metrics
from vppd.store.chain import ChainStore, ExecutionRow
from vppd.types import Digest

HOUSEKEEPING_S = 0.25
log = structlog.get_logger("vppd.node")


class Disk(NamedTuple):
    """Where the store is, and what must stay free there (architecture.md, §7)."""

    folder: Path
    min_free_bytes: int

    def is_low(self) -> bool:
        """Whether less is left.

        Raises:
            LocalFault: the disk does not say, so it cannot be relied upon.
        """
        try:
            return shutil.disk_usage(self.folder).free < self.min_free_bytes
        except OSError as err:
            raise LocalFault(f"{self.folder}: {err.strerror or err}") from err


class Driver:
    """Owns the machine's time and disk.

    Args:
        machine: started by :meth:`run`.
        store: where promises go.
        transmit: queues a frame for its peers.
        announce: tells subscribers about a decided and executed block, and what it ruled out.
        metrics: phase times and counts.
        disk: how much of it must stay free.
    """

    def __init__(
        self,
        machine: Machine,
        store: ChainStore,
        transmit: Callable[[Frame], None],
        announce: Callable[[Committed, tuple[Digest, ...]], None],
        metrics: Metrics,
        disk: Disk,
    ) -> None:
        self._machine = machine
        self._store = store
        self._transmit = transmit
        self._announce = announce
        self._metrics = metrics
        self._disk = disk
        self._disk_low = False
        self._awake = asyncio.Event()
        self._timers: dict[Timer, asyncio.TimerHandle] = {}
        self._loop = asyncio.get_running_loop()

    def wake(self) -> None:
        """Something has arrived at the machine."""
        self._awake.set()

    @property
    def disk_low(self) -> bool:
        """Less than ``min_free`` is left: nothing is signed, reads are still served."""
        return self._disk_low

    async def run(self, first: Turn) -> None:
        """Until cancelled.

        Args:
            first: what :meth:`Machine.start` returned.

        Raises:
            LocalFault: a promise could not be written, or the ledger diverged.
        """
        machine = self._machine
        tidy = self._loop.create_task(self._housekeeping())
        try:
            self._look_at_disk()
            await self._take(first)
            self._name()
            while True:
                await self._awake.wait()
                self._awake.clear()
                if tidy.done():
                    tidy.result()
                while machine.has_work and not self._disk_low:
                    await self._take(machine.turn(now()))
        finally:
            tidy.cancel()
            for handle in self._timers.values():
                handle.cancel()

    async def _take(self, turn: Turn) -> None:
        if turn.records:
            with self._metrics.persist():
                await self._store.persist(turn.records)
        for decision in turn.step.commit:
            self._metrics.decided(decision.height)
        effects = self._machine.release(turn, now())
        for frame in effects.frames:
            self._transmit(frame)
        dropped = tuple(tx.id for tx in effects.dropped)
        for block in effects.committed:
            self._keep(block)
            self._announce(block, dropped)
            dropped = ()
        if effects.committed:
            self._metrics.stands(self._machine.engine.status())
        self._set_timers(effects)
        for fault in effects.faults:
            signer, kind, epoch, view, height = charge_of(fault)
            term = self._machine.terms.of(epoch)
            who = signer if term is None else term.validators.members[signer].name
            log.warning(
                "misbehaviour", replica=who, kind=kind, epoch=epoch, view=view, height=height
            )
        if self._machine.has_work:
            self._awake.set()

    def _keep(self, block: Committed) -> None:
        decision, execution = block
        self._store.put_execution(ExecutionRow.of(execution))
        self._metrics.committed(block)
        log.debug(
            "decided",
            height=decision.height,
            digest=decision.digest.hex()[:16],
            txs=len(decision.txs),
        )

    def _set_timers(self, effects: Effects) -> None:
        for timer, delay_ms in effects.timers:
            handle = self._timers.pop(timer, None)
            if handle is not None:
                handle.cancel()
            if delay_ms is not None:
                self._timers[timer] = self._loop.call_later(delay_ms / 1_000, self._ring, timer)

    def _ring(self, timer: Timer) -> None:
        self._timers.pop(timer, None)
        self._machine.fire(timer)
        self.wake()

    async def _housekeeping(self) -> None:
        try:
            await self._keep_tidy()
        finally:
            self._awake.set()  # an error here is the driver's

    async def _keep_tidy(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            self._look_at_disk()
            if self._disk_low:
                self._transmit(self._machine.standing())  # peers cut a link that is silent
                continue
            self._name()
            self._machine.housekeeping(now().monotonic_ms)
            self._metrics.stands(self._machine.engine.status())
            if self._machine.has_work:
                self.wake()

    def _name(self) -> None:
        """A memory that was lost or never voted gets a nonce, whenever that shows (§4)."""
        if self._machine.nameless:
            self._machine.draw(secrets.token_bytes(32))
            self.wake()

    def _look_at_disk(self) -> None:
        low = self._disk.is_low()
        if low != self._disk_low:
            self._disk_low = low
            say = log.error if low else log.info
            say("disk_low" if low else "disk_free_again", min_free=self._disk.min_free_bytes)
