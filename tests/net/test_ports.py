from __future__ import annotations

import asyncio
import socket
import stat
from contextlib import closing
from pathlib import Path

import pytest

from tests.net.plant import fresh_host
from vppd.errors import UserError
from vppd.net.ports import (
    PENDING,
    PENDING_PER_HOST,
    PENDING_PER_PEER_HOST,
    PENDING_STRANGERS,
    Listener,
    Pending,
    bind_tcp,
    bind_unix,
    require_loopback,
)


@pytest.mark.parametrize("addr", ["127.0.0.1:7440", "127.8.8.8:7440", "[::1]:7440", "localhost:1"])
def test_plain_is_allowed_on_this_machine(addr: str) -> None:
    require_loopback(addr)


@pytest.mark.parametrize("addr", ["0.0.0.0:7440", "192.168.10.2:7440", "[::]:7440", "gateway:7440"])
def test_plain_is_refused_beyond_it(addr: str) -> None:
    with pytest.raises(UserError) as refused:
        require_loopback(addr)
    assert refused.value.code == "E300"
    assert refused.value.facts["addr"] == addr


async def test_a_taken_port_is_named_with_what_to_try() -> None:
    addr = f"{fresh_host()}:7440"
    with closing(await bind_tcp(addr)):
        with pytest.raises(UserError, match=r"port .* is taken") as refused:
            await bind_tcp(addr)
        assert refused.value.code == "E301"
        assert addr.rpartition(":")[2] in refused.value.what
        assert "listen" in (refused.value.hint or "")


@pytest.mark.parametrize("addr", ["192.0.2.1:7440", "no-such-host.invalid:7440"])
async def test_an_address_of_another_machine_cannot_be_listened_on(addr: str) -> None:
    with pytest.raises(UserError) as refused:
        await bind_tcp(addr)
    assert refused.value.code == "E304"
    assert refused.value.facts["addr"] == addr


async def test_a_port_is_free_again_right_after_its_connections() -> None:
    addr = f"{fresh_host()}:7440"
    sock = await bind_tcp(addr)
    client = socket.create_connection(sock.getsockname())
    accepted, _ = await asyncio.get_running_loop().sock_accept(sock)
    for one in (accepted, client, sock):  # the node closes first: its side waits in TIME_WAIT
        one.close()
    (await bind_tcp(addr)).close()


def test_the_client_socket_is_for_owner_and_group(tmp_path: Path) -> None:
    path = tmp_path / "vppd.sock"
    with closing(bind_unix(path)):
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o660


def test_a_socket_left_by_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "vppd.sock"
    bind_unix(path).close()
    assert path.exists()
    with closing(bind_unix(path)), closing(socket.socket(socket.AF_UNIX)) as client:
        client.connect(str(path))


def test_a_socket_somebody_listens_on_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "vppd.sock"
    with closing(bind_unix(path)):
        with pytest.raises(UserError) as refused:
            bind_unix(path)
        assert refused.value.code == "E303"
        assert refused.value.facts == {"socket": str(path), "why": "a process listens on it"}
        assert path.exists()


def test_another_file_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "vppd.sock"
    path.write_text("precious")
    with pytest.raises(UserError) as refused:
        bind_unix(path)
    assert refused.value.code == "E303"
    assert path.read_text() == "precious"


@pytest.mark.parametrize("name", ["missing/vppd.sock", "x" * 200])
def test_a_place_that_cannot_hold_a_socket_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError) as refused:
        bind_unix(tmp_path / name)
    assert refused.value.code == "E304"


async def test_a_listener_gives_out_connections_until_it_is_closed() -> None:
    here = fresh_host()
    sock = await bind_tcp(f"{here}:7440")
    came: asyncio.Queue[tuple[socket.socket, str]] = asyncio.Queue()
    listener = Listener(sock, lambda conn, host: came.put_nowait((conn, host)))
    address = (here, listener.port)
    for _ in range(2):
        with closing(socket.create_connection(address)):
            conn, host = await came.get()
            assert host == "127.0.0.1"
            conn.close()
    await listener.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


PEERS = [f"10.0.0.{i}" for i in range(1, 10)]
PEER, STRANGERS = PEERS[0], [f"192.0.2.{i}" for i in range(100)]


def test_one_stranger_gets_four_places() -> None:
    pending = Pending(frozenset({PEER}))
    assert [pending.enter(STRANGERS[0]) for _ in range(6)] == [True] * 4 + [False] * 2
    assert PENDING_PER_HOST == 4


def test_one_peers_address_gets_eight_and_leaves_room_for_the_others() -> None:
    pending = Pending(frozenset(PEERS))
    assert sum(pending.enter(PEER) for _ in range(100)) == PENDING_PER_PEER_HOST == 8
    assert pending.enter(PEERS[1])


def test_all_strangers_together_leave_half_to_peers() -> None:
    pending = Pending(frozenset(PEERS))
    assert sum(pending.enter(host) for host in STRANGERS) == PENDING_STRANGERS == PENDING // 2
    assert sum(pending.enter(host) for host in PEERS * 8) == PENDING - PENDING_STRANGERS


def test_no_more_than_32_in_all() -> None:
    pending = Pending(frozenset(PEERS))
    assert sum(pending.enter(host) for host in PEERS * 8) == PENDING == 32
    assert not pending.enter(STRANGERS[0])


def test_a_plant_on_one_machine_may_use_them_all() -> None:
    pending = Pending(frozenset({"127.0.0.1"}))
    assert sum(pending.enter("127.0.0.1") for _ in range(100)) == PENDING


def test_places_are_given_back() -> None:
    pending = Pending(frozenset({PEER}))
    for _ in range(200):
        for host in (PEER, STRANGERS[0], "127.0.0.1"):
            assert pending.enter(host)
            pending.leave(host)
    assert pending.total == 0
    assert sum(pending.enter(host) for host in STRANGERS) == PENDING_STRANGERS


def test_addresses_become_known_and_are_forgotten_with_places_taken() -> None:
    pending = Pending(frozenset({PEER}))
    assert all(pending.enter(STRANGERS[0]) for _ in range(4))
    pending.know(frozenset({PEER, STRANGERS[0]}))
    assert sum(pending.enter(host) for host in STRANGERS[1:]) == PENDING_STRANGERS
    assert pending.enter(STRANGERS[0]), "a peer's address now: the other half is for it, too"
    pending.know(frozenset({PEER}))
    for host in [STRANGERS[0]] * 5:
        pending.leave(host)
    assert not pending.enter(STRANGERS[50]), "the half of strangers is still full"
    assert pending.enter(PEER)
