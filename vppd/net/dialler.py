"""Keeps the links up that this node has to make: dials, waits, dials again.

A node that is refused as a validator comes back as an observer: it can follow the chain, and learn
there what has become of it. While it believes to be a validator it keeps asking as one beside that
link, since the other side may be the one behind.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

from vppd.config.node import is_loopback
from vppd.config.values import parse_address
from vppd.net.dial import Backoff, dial
from vppd.net.directory import Directory, Slot
from vppd.net.hello import Kind, RefusalCode
from vppd.net.limits import Offences
from vppd.net.link import Deadlines, Link
from vppd.net.tls import Tls, explain, explain_handshake

AGAIN_SECONDS = 2.0
"""Between two attempts as a validator where a link as an observer is up."""


class Dialler:
    """Dials the peers of a directory.

    Args:
        directory: says whom, and as what.
        make: a link to a slot, greeting as that kind.
        tls: ``None``: plain, on this machine only.
        deadlines: how long anything may take.
        backoff: waits between attempts.
        chance: for their jitter.
        offences: who is not dialled for a while.
        not_reached: is told why an attempt has failed.
        told: is told of a validator that takes this node for none, with its words.
    """

    def __init__(
        self,
        directory: Directory,
        make: Callable[[Slot, Kind], Link],
        tls: Tls | None,
        deadlines: Deadlines,
        backoff: Backoff,
        chance: random.Random,
        offences: Offences,
        *,
        not_reached: Callable[[Slot, str], None],
        told: Callable[[Slot, str], None],
    ) -> None:
        self._directory = directory
        self._make = make
        self._tls = tls
        self._deadlines = deadlines
        self._backoff = backoff
        self._chance = chance
        self._offences = offences
        self._not_reached = not_reached
        self._told = told

    async def keep(self, slot: Slot) -> None:
        """Keep a link to that peer, until it is the one that dials."""
        failures = 0
        now = asyncio.get_running_loop().time
        while (kind := self._directory.greeting(slot)) is not None:
            there = slot.link
            if there is not None and (kind is Kind.OBSERVER or there.greeted_as is kind):
                await self._until_gone_or_asked_again(slot, there)
                continue
            why = self._obstacle(slot.entry.addr)
            if why:
                self._not_reached(slot, why)
                failures += 1
            else:
                failures = await self._attempt(slot, kind, failures) + 1
            barred = self._offences.barred_seconds(slot.entry.key, now())
            await asyncio.sleep(barred + self._backoff.wait(failures, self._chance))
        slot.dialling = None

    async def _attempt(self, slot: Slot, kind: Kind, failures: int) -> int:
        """Connect once and stay until the link is gone; how many failures in a row there are."""
        try:
            link = slot.attempt = await dial(
                slot.entry.addr,
                lambda: self._make(slot, kind),
                self._tls,
                self._deadlines.handshake,
            )
        except OSError as err:
            self._not_reached(slot, explain(err) if self._tls is None else explain_handshake(err))
        else:
            await self._until_gone_or_asked_again(slot, link)
            slot.attempt = None
            if kind is Kind.VALIDATOR and link.refusal is RefusalCode.NO_VALIDATOR:
                self._told(slot, link.why)
                return 0
            if not link.up:
                self._not_reached(slot, link.why)
            elif link.refusal is not RefusalCode.LIVE_SESSION:
                failures = 0  # else its refusal is in the books; ask again after a while
        if self._directory.is_ours_to_dial(slot):
            slot.as_observer = False
        return failures

    async def _until_gone_or_asked_again(self, slot: Slot, link: Link) -> None:
        """Stay with a link, but for one as an observer of a node that takes itself for more."""
        doubted = slot.as_observer and self._directory.kind is Kind.VALIDATOR
        if not doubted or not self._directory.is_ours_to_dial(slot):
            await link.gone.wait()
            return
        while not link.gone.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_SECONDS):
                    await link.gone.wait()
            if link.up:
                break
        slot.as_observer = False

    def _obstacle(self, addr: str) -> str:
        """Why there is no use in dialling; empty: there is."""
        if not addr:
            return "its address is not known: vppd peers add"
        if self._tls is None and not is_loopback(parse_address(addr)[0]):
            return f'{addr} is not on this machine, and transport = "plain" stays on it'
        return ""
