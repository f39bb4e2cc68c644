"""A proxy between nodes that knows frames: it loses, holds, delays, doubles and cuts them by rule.

It listens where peers.toml says the nodes are; the nodes listen elsewhere. Who dials is learnt from
the ``hello`` frames of both sides, so the plant must use ``transport = "plain"``, which only exists
on loopback: under TLS nobody in between sees a frame, let alone loses one.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple

from vppd.codec import Decoder
from vppd.config.values import parse_address
from vppd.net.frames import (
    ANSWER_CAPS,
    HELLO,
    OPENING_CAPS,
    PEER_CAPS,
    REQUEST_CAPS,
    Frame,
    FrameParser,
    encode_frame,
)
from vppd.net.hello import Hello, Kind
from vppd.types import PublicKey

CAPS = {**REQUEST_CAPS, **ANSWER_CAPS, **OPENING_CAPS, **PEER_CAPS}
READ_BYTES = 256 * 1024
CLIENT = "client"
_decode_hello = Decoder(Hello)


class Action(StrEnum):
    """What happens to a frame."""

    DROP = "drop"
    """It is gone; the connection stays. TCP would not do that: nodes must bear it all the same."""
    HOLD = "hold"
    """It waits, and so does everything behind it, until the rules change: a dead line under TCP."""
    CUT = "cut"
    """The connection is closed, in both directions; without types, as soon as the rule is set."""
    DELAY = "delay"
    """It comes later, and nothing behind it comes before it."""
    TWICE = "twice"
    """It comes twice; the frames of the hello, of which a second is refused, do not."""


class Rule(NamedTuple):
    """What is done to which frames. The first rule that matches a frame decides."""

    action: Action
    sources: Collection[str] | None = None
    """Names of nodes; ``None``: any."""
    targets: Collection[str] | None = None
    types: Collection[int] | None = None
    chance: float = 1.0
    """Portion of the matching frames that are meant."""
    delay_s: float = 0.0

    def concerns(self, source: str, target: str) -> bool:
        """Whether it speaks of this direction."""
        return (self.sources is None or source in self.sources) and (
            self.targets is None or target in self.targets
        )


Hear = Callable[[str, str, Frame], None]
"""Told of each frame as it arrives, before anything is done to it: source, target, frame."""


class Proxy:
    """All connections between the nodes of a plant.

    Args:
        names: of the nodes, by key.
        ways: for each node's name, where others dial it and where it listens.
        hear: told of every frame.
        seed: for rules with a chance.
    """

    def __init__(
        self,
        names: Mapping[PublicKey, str],
        ways: Mapping[str, tuple[str, str]],
        hear: Hear,
        seed: int = 0,
    ) -> None:
        self.names = names
        self.hear = hear
        self.chance = random.Random(seed)
        self.done: Counter[str] = Counter()
        """Frames by what was done to them; ``passed`` for those that nothing was done to."""
        self.failures: list[BaseException] = []
        """Of ``hear``, or of a frame that is none: the connection was cut over it."""
        self._ways = ways
        self._rules: tuple[Rule, ...] = ()
        self._changed = asyncio.Event()
        self._servers: list[asyncio.Server] = []
        self._pipes: dict[_Pipe, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Listen for every node."""
        for name, (front, back) in self._ways.items():
            host, port = parse_address(front)

            async def accepted(
                reader: asyncio.StreamReader,
                writer: asyncio.StreamWriter,
                name: str = name,
                back: str = back,
            ) -> None:
                pipe = _Pipe(self, name, reader, writer)
                task = asyncio.ensure_future(pipe.run(back))
                self._pipes[pipe] = task
                try:
                    await asyncio.wait({task})
                finally:
                    del self._pipes[pipe]
                    task.cancel()
                if not task.cancelled() and (err := task.exception()) is not None:
                    self.failures.append(err)

            self._servers.append(await asyncio.start_server(accepted, host, port))

    async def stop(self) -> None:
        """Close everything."""
        for server in self._servers:
            server.close()
        while self._pipes:  # a connection may be accepted while the others end
            for pipe in self._pipes:
                pipe.cut()
            await asyncio.wait(self._pipes.values())
            await asyncio.sleep(0)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Those in force."""
        return self._rules

    def set_rules(self, rules: Iterable[Rule]) -> None:
        """From now on these hold, and no others; frames that wait are looked at again."""
        self._rules = tuple(rules)
        self._changed.set()
        self._changed = asyncio.Event()
        for pipe in tuple(self._pipes):
            if pipe.dialer and self.is_cut(pipe.dialer, pipe.target):
                self.done[Action.CUT] += 1
                pipe.cut()

    def is_cut(self, one: str, other: str) -> bool:
        """Whether a connection of these two may not be at all."""
        return any(
            rule.action is Action.CUT
            and rule.types is None
            and (rule.concerns(one, other) or rule.concerns(other, one))
            for rule in self._rules
        )

    async def verdict(self, source: str, target: str, type_: int) -> Rule | None:
        """The rule for a frame, as soon as none holds it."""
        while True:
            rule = self._match(source, target, type_)
            if rule is None or rule.action is not Action.HOLD:
                self.done["passed" if rule is None else rule.action] += 1
                return rule
            self.done[Action.HOLD] += 1
            await self._changed.wait()

    def _match(self, source: str, target: str, type_: int) -> Rule | None:
        for rule in self._rules:
            if (
                rule.concerns(source, target)
                and (rule.types is None or type_ in rule.types)
                and (rule.chance >= 1 or self.chance.random() < rule.chance)
            ):
                return rule
        return None


class _Pipe:
    """One connection: two directions, each a reader that queues and a sender that decides."""

    def __init__(
        self,
        proxy: Proxy,
        target: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._reader, self._writer = reader, writer
        self._back: asyncio.StreamWriter | None = None
        self._known = asyncio.Event()
        self.target = target
        """Who was dialled."""
        self.dialer = ""
        """Who dialled; empty until it has said hello, and for ever if a side closed before."""

    def cut(self) -> None:
        """Close both connections at once."""
        for writer in (self._writer, self._back):
            if writer is not None:
                writer.transport.abort()

    async def run(self, back: str) -> None:
        """Until either side has closed and the other has been told."""
        host, port = parse_address(back)
        try:
            reader, self._back = await asyncio.open_connection(host, port)
        except OSError:  # the node is not there: the caller sees its connection close
            self.cut()
            return
        pumps = [
            asyncio.ensure_future(pump)
            for pump in (
                self._pump(self._reader, self._back, inward=True),
                self._pump(reader, self._writer, inward=False),
            )
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.cut()
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)
        for pump in pumps:
            if not pump.cancelled():
                pump.result()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, inward: bool
    ) -> None:
        queue: asyncio.Queue[tuple[float, Frame] | None] = asyncio.Queue()
        sending = asyncio.ensure_future(self._send(queue, writer, inward=inward))
        parser = FrameParser(CAPS)
        loop = asyncio.get_running_loop()
        try:
            while data := await reader.read(READ_BYTES):
                for frame in parser.feed(data):
                    self._note(frame, inward=inward)
                    queue.put_nowait((loop.time(), frame))
        except OSError:
            pass  # reset by its process, or by cut()
        else:
            queue.put_nowait(None)
            self._known.set()  # or it never will be, and nobody may wait for that
            with suppress(OSError):
                await sending
        finally:
            sending.cancel()
            await asyncio.wait({sending})

    def _note(self, frame: Frame, *, inward: bool) -> None:
        if frame.type == HELLO:
            hello = _decode_hello(frame.payload)
            name = CLIENT if hello.kind == Kind.CLIENT else self._proxy.names[hello.key]
            if inward:
                self.dialer = name
                self._known.set()
            elif name != self.target:
                raise AssertionError(f"{name} answers where {self.target} was dialled")
        if self.dialer:
            self._proxy.hear(*self._ends(inward=inward), frame)

    def _ends(self, *, inward: bool) -> tuple[str, str]:
        return (self.dialer, self.target) if inward else (self.target, self.dialer)

    async def _send(
        self,
        queue: asyncio.Queue[tuple[float, Frame] | None],
        writer: asyncio.StreamWriter,
        *,
        inward: bool,
    ) -> None:
        loop = asyncio.get_running_loop()
        await self._known.wait()
        if not self.dialer:
            self.cut()
            return
        if self._proxy.is_cut(self.dialer, self.target):
            self._proxy.done[Action.CUT] += 1
            self.cut()
            return
        while (item := await queue.get()) is not None:
            arrived, frame = item
            rule = await self._proxy.verdict(*self._ends(inward=inward), frame.type)
            action = None if rule is None else rule.action
            if rule is not None and action is Action.DELAY:
                await asyncio.sleep(arrived + rule.delay_s - loop.time())
            if action is Action.CUT:
                self.cut()
                return
            data = encode_frame(*frame)
            if action is not Action.DROP:
                writer.write(data)
            if action is Action.TWICE and frame.type not in OPENING_CAPS:
                writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()
