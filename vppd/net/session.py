"""A client's side of the port: connect with a certificate of the plant and say hello.

What comes back is a pair of streams that speaks requests and answers, exactly like the one on the
Unix socket.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping

from vppd.config.values import parse_address
from vppd.errors import PeerFault
from vppd.net.frames import HEADER_BYTES, OPENING_CAPS, announced
from vppd.net.hello import PLAIN, Channel, Handshake, RefusedByPeer, Self, refuse_frame
from vppd.net.link import DEADLINES
from vppd.net.tls import Tls, peer_fingerprint
from vppd.types import PublicKey, ReplicaIndex


async def open_session(
    addr: str,
    me: Self,
    validators: Mapping[PublicKey, ReplicaIndex],
    tls: Tls | None,
    expected: PublicKey | None = None,
    seconds: float = DEADLINES.handshake,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a node's port as a client.

    Args:
        addr: ``host:port``.
        me: kind client, any key of one's own, and the chain.
        validators: index of each validator by key, as in genesis.
        tls: the client's certificate; ``None``: plain.
        expected: the node's key, if known.
        seconds: for TLS, and for the hello.

    Raises:
        OSError: not reached; :func:`~vppd.net.tls.explain` says why in words.
        PeerFault: not let in, or the node is not the one expected.
        TimeoutError: too slow.
    """
    host, port = parse_address(addr)
    async with asyncio.timeout(2 * seconds):
        if tls is None:
            reader, writer = await asyncio.open_connection(host, port)
            channel = PLAIN
        else:
            reader, writer = await asyncio.open_connection(
                host, port, ssl=tls.client, ssl_handshake_timeout=seconds
            )
            connection = writer.get_extra_info("ssl_object")
            channel = Channel(tls.fingerprint, peer_fingerprint(connection))
        handshake = Handshake(me, validators, secrets.token_bytes(32), channel, expected)
        try:
            await _say_hello(reader, writer, handshake)
        except BaseException:
            writer.transport.abort()
            raise
    return reader, writer


async def _say_hello(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handshake: Handshake
) -> None:
    writer.write(handshake.start())
    while handshake.peer is None:
        try:
            size, type_ = announced(await reader.readexactly(HEADER_BYTES), OPENING_CAPS)
            writer.write(handshake.receive(type_, await reader.readexactly(size)))
            await writer.drain()
        except asyncio.IncompleteReadError as err:
            raise ConnectionResetError(
                "closed during the hello; it may have refused our certificate, its log says why"
            ) from err
        except RefusedByPeer:
            raise
        except PeerFault as err:
            writer.write(refuse_frame(str(err)))
            writer.close()
            raise
