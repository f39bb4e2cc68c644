"""The node behind a network: who gets frames and news."""

from __future__ import annotations

from typing import Protocol

from vppd.net.link import Link
from vppd.types import PeerNumber


class Handler(Protocol):
    """The node, as the network sees it. Calls come from the event loop and must not block.

    A :class:`~vppd.errors.PeerFault` raised by a frame handler cuts the link with its text as the
    reason; any other exception goes to :meth:`on_fatal`.
    """

    def on_frame(self, peer: PeerNumber | None, link: Link, type_: int, payload: bytes) -> None:
        """A frame from a validator, or from an observer (``None``: answer through ``link``)."""
        ...

    def on_connect(self, peer: PeerNumber) -> None:
        """A validator's link is up."""
        ...

    def on_guest(self, link: Link) -> None:
        """A node that is no validator is coming up; its key is proven."""
        ...

    def on_disconnect(self, peer: PeerNumber, why: str) -> None:
        """It is down; may come from within ``send`` or ``broadcast``."""
        ...

    def on_client_frame(self, session: Link, type_: int, payload: bytes) -> None:
        """A client's request; answer through ``session.send``."""
        ...

    def on_client_gone(self, session: Link) -> None:
        """A client has left."""
        ...

    def on_fatal(self, err: BaseException) -> None:
        """Our own fault: the process is to stop."""
        ...
