"""A load client's connection against a raw socket on the other end."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_testnet import write
from vppd.bench.wire import CHUNK, Connection, Entry, Piece
from vppd.config.genesis import Genesis
from vppd.net.frames import ANSWER_CAPS, PUSH, RESPONSE, encode_frame


@pytest.fixture(scope="module")
def genesis(tmp_path_factory: pytest.TempPathFactory) -> Genesis:
    return write(tmp_path_factory.mktemp("p") / "plant", 1).genesis


@pytest.fixture
def both(tmp_path: Path, genesis: Genesis) -> Iterator[tuple[Connection, socket.socket]]:
    """A connection, and the other end of it."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        near = Connection(Entry(kind="socket", where=str(tmp_path / "s")), genesis)
        near.open()
        far, _ = server.accept()
        with far:
            yield near, far
        near.close()


def test_frames_come_whole_in_whatever_pieces(both: tuple[Connection, socket.socket]) -> None:
    near, far = both
    frames = [(RESPONSE, b"a"), (PUSH, bytes(1_000)), (RESPONSE, b""), (PUSH, b"last")]
    data = b"".join(encode_frame(*frame) for frame in frames)
    got = []
    for at in range(0, len(data), 7):
        far.sendall(data[at : at + 7])
        near.wait(1)
        got += list(near.read())
    assert got == frames


def test_nothing_to_read_is_nothing(both: tuple[Connection, socket.socket]) -> None:
    assert list(both[0].read()) == []


@pytest.mark.parametrize(
    "header",
    [
        b"\0\0\0\0\x31",
        (ANSWER_CAPS[PUSH] + 2).to_bytes(4, "big") + bytes([PUSH]),
        b"\0\0\0\x05\xff",
    ],
)
def test_what_no_node_sends_ends_it(both: tuple[Connection, socket.socket], header: bytes) -> None:
    near, far = both
    far.sendall(header)
    near.wait(1)
    with pytest.raises(ConnectionResetError):
        list(near.read())


def test_the_end_of_the_connection_is_noticed(both: tuple[Connection, socket.socket]) -> None:
    near, far = both
    far.close()
    near.wait(1)
    with pytest.raises(ConnectionResetError, match="closed by the node"):
        list(near.read())


def test_a_piece_is_through_when_all_of_it_is(both: tuple[Connection, socket.socket]) -> None:
    near, far = both
    big = memoryview(bytes(8 * CHUNK))
    near.put(Piece(memoryview(b"x"), [0]))
    near.put(Piece(big, range(1, 5)))
    near.put(Piece(memoryview(b"y"), [5]))
    through = list(near.write())
    assert through == [[0]]
    assert near.backlog
    received = 0
    while near.backlog:
        received += len(far.recv(CHUNK))
        through += list(near.write())
    assert through == [[0], range(1, 5), [5]]
    while received < len(big) + 2:
        received += len(far.recv(CHUNK))
    assert received == len(big) + 2


def test_after_the_end_nothing_of_it_is_sent_on_a_new_connection(
    both: tuple[Connection, socket.socket],
) -> None:
    near, _ = both
    near.put(Piece(memoryview(b"old"), [0]))
    near.close()
    assert not near.backlog
    assert (near.open_socket, list(near.read()), list(near.write())) == (None, [], [])


def test_where_nobody_listens(tmp_path: Path, genesis: Genesis) -> None:
    nobody = Connection(Entry(kind="socket", where=str(tmp_path / "no")), genesis)
    with pytest.raises(FileNotFoundError):
        nobody.open()
    assert nobody.open_socket is None
