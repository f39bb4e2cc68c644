"""Clients' sessions: requests answered in the order they came, blocks pushed to subscribers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from vppd.codec import encode
from vppd.errors import PeerFault
from vppd.net.frames import ANSWER_CAPS, PUSH, RESPONSE, encode_frame
from vppd.net.link import Link
from vppd.net.requests import Failure, FailureCode, Response
from vppd.node.beats import Committed
from vppd.node.service import Service, committed_push
from vppd.types import Digest

REQUESTS_AHEAD = 32
"""Of one client, waiting for their turn; beyond that it is not read from until they have had it."""
REQUESTS_AHEAD_BYTES = 256 * 1024


class Sessions:
    """The clients of one node.

    Args:
        service: what answers.
        spawn: runs something for a session, as the node keeps its tasks.
    """

    def __init__(
        self, service: Service, spawn: Callable[[Link, Coroutine[Any, Any, None]], bool]
    ) -> None:
        self._service = service
        self._spawn = spawn
        self._subscribers: dict[Link, None] = {}
        self._requests: dict[Link, deque[bytes]] = {}
        """Of clients that wait for an answer, in the order they came."""

    def take(self, session: Link, payload: bytes) -> None:
        """A request; all but the first wait for the answers before theirs."""
        waiting = self._requests.get(session)
        if waiting is None:
            waiting = self._requests[session] = deque()
            self._spawn(session, self._answer_in_turn(session, waiting))
        waiting.append(payload)
        if _is_enough(waiting):
            session.pause_reading()

    def forget(self, session: Link) -> None:
        """A client has left."""
        self._subscribers.pop(session, None)

    def announce(self, block: Committed, dropped: tuple[Digest, ...]) -> None:
        """Push a block, and what it made impossible, to who asked for blocks."""
        if not self._subscribers:
            return
        payload = committed_push(block, dropped)
        if len(payload) > ANSWER_CAPS[PUSH]:
            payload = committed_push(block, dropped, receipts=False)
        push = encode_frame(PUSH, payload)
        for session in tuple(self._subscribers):
            session.send(push)

    async def _answer_in_turn(self, session: Link, waiting: deque[bytes]) -> None:
        try:
            while waiting and not session.closed:
                await session.drained()  # before the next answer; none, if it has gone
                await self._serve(session, waiting.popleft())
                if not _is_enough(waiting):
                    session.resume_reading()
                await asyncio.sleep(0)  # many requests never wait: let others have their turn
        finally:
            del self._requests[session]

    async def _serve(self, session: Link, payload: bytes) -> None:
        try:
            response, subscribed = await self._service.answer(payload)
        except PeerFault as err:
            session.cut(str(err))
            return
        if subscribed and not session.closed:
            self._subscribers[session] = None
        payload = encode(response)
        if len(payload) > ANSWER_CAPS[RESPONSE]:
            text = f"the answer has {len(payload)} bytes, a frame takes {ANSWER_CAPS[RESPONSE]}"
            payload = encode(Response(response.id, Failure(FailureCode.REFUSED, text)))
        session.send(encode_frame(RESPONSE, payload))


def _is_enough(waiting: deque[bytes]) -> bool:
    """Whether a client has asked far enough ahead."""
    return len(waiting) >= REQUESTS_AHEAD or sum(map(len, waiting)) >= REQUESTS_AHEAD_BYTES
