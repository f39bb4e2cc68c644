"""Faults between real nodes: what is lost, what is late, and who may have them at all."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.net.plant import CHAIN, KEYS, Got, Recorder, fresh_host
from tests.wire_samples import SAMPLES
from vppd.bench.daemon import bench_home, main
from vppd.bench.faults import FILE, Faults, faulty_links, height_of
from vppd.bench.plan import Plan
from vppd.bench.plant import write_plant
from vppd.codec import encode
from vppd.config.home import load_home
from vppd.consensus.messages import (
    TYPE_OF,
    Agree,
    Block,
    BlockBody,
    Certificate,
    Collected,
    Commit,
    Prepare,
    PrePrepared,
    Type,
)
from vppd.errors import ConfigError, Exit, UserError
from vppd.net.frames import encode_frame
from vppd.net.hello import Kind, Self
from vppd.net.link import Link
from vppd.net.peers import Network, PeerEntry

Pair = Callable[[Faults], Awaitable[tuple[Network, Recorder]]]
HALF = Faults(own=0, fail=((1, 500_000),), seed=3)


def vote(height: int) -> bytes:
    return encode_frame(Type.PREPARE, encode(Prepare(0, 0, height, bytes(32), 0, bytes(64))))


async def frame_at(far: Recorder) -> bytes:
    """The next one that has arrived."""
    got = await far.next(Got)
    assert isinstance(got, Got)
    return encode_frame(got.type, got.payload)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """Two networks; the first one's links have faults. Returns it, and what the second one gets."""
    async with AsyncExitStack() as stack:

        async def start(faults: Faults) -> tuple[Network, Recorder]:
            host = fresh_host()
            entries = [
                PeerEntry(i, f"node-{i}", KEYS[i].public_key, f"{host}:{7440 + 10 * i}")
                for i in range(2)
            ]
            made = []
            for i in range(2):
                me = Self(Kind.VALIDATOR, f"node-{i}", KEYS[i], CHAIN, secrets.token_bytes(16))
                seen = Recorder()
                network = Network(
                    me, entries, listen=entries[i].addr, tls=None, client_socket=None,
                    handler=seen, link=faulty_links(faults) if i == 0 else Link,
                )  # fmt: skip
                await network.start()
                stack.push_async_callback(network.stop)
                made.append((network, seen))
            await made[0][1].all_up([1])
            await made[1][1].all_up([0])
            return made[0][0], made[1][1]

        yield start


async def test_a_late_frame_comes_whole_and_in_order_and_not_before_its_time(pair: Pair) -> None:
    network, far = await pair(Faults(own=0, delay_us=40_000))
    begun = time.monotonic()
    for height in range(1, 21):
        assert network.send(1, vote(height))
    got = [await frame_at(far) for _ in range(20)]
    assert time.monotonic() - begun >= 0.039
    assert got == [vote(height) for height in range(1, 21)]


async def test_a_failing_link_loses_every_vote_of_a_height_or_none(pair: Pair) -> None:
    network, far = await pair(HALF)
    for height in range(1, 201):
        network.send(1, vote(height))
        network.send(1, vote(height))
    last = encode_frame(Type.PING, b"\x91\x01")
    network.send(1, last)
    got = []
    while (frame := await frame_at(far)) != last:
        got.append(height_of(frame) or 0)
    passed = set(got)
    assert sorted(got) == sorted([*passed, *passed])
    assert 60 < len(passed) < 140, "half of 200 heights, more or less"


async def test_the_same_seed_fails_the_same_heights_at_both_ends() -> None:
    from vppd.simulate.weather import FailingLinks

    here, there = FailingLinks(HALF.fail, 3), FailingLinks(HALF.fail, 3)
    assert all(here.stops(0, 1, h) == there.stops(1, 0, h) for h in range(200))
    assert not any(here.stops(0, 2, h) for h in range(200)), "others' links hold"


def test_the_height_of_every_message_that_decides_one() -> None:
    known = 0
    for message in SAMPLES:
        height = height_of(encode_frame(TYPE_OF[type(message)], encode(message)))
        if isinstance(message, Agree):
            assert height == message.certificate.height
        elif isinstance(message, Block | BlockBody | Collected | Commit | Prepare | PrePrepared):
            assert height == message.height
        else:
            assert height is None, message
            continue
        known += 1
    assert known == 7


@pytest.mark.parametrize("height", [0, 127, 128, 255, 256, 65_535, 65_536, 2**32, 2**63 - 1])
def test_heights_of_every_length(height: int) -> None:
    epoch, view = height // 3, height // 5
    prepare = Prepare(epoch, view, height, bytes(32), 3, bytes(64))
    assert height_of(encode_frame(TYPE_OF[Prepare], encode(prepare))) == height
    proof = Certificate(2, epoch, view, height, bytes(32), b"\x07", (bytes(64),) * 3)
    assert height_of(encode_frame(TYPE_OF[Agree], encode(Agree(proof)))) == height


# ---------------------------------------------------------------- who may have them


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A node that the bench has written."""
    plan = Plan(nodes=2, transport="plain", accounts=2, sync="off", delay_us=1_000)
    made, _ = write_plant(tmp_path / "plant", plan)
    return made.nodes[1].home


def test_what_the_bench_has_written_its_daemon_reads(home: Path) -> None:
    read, faults = bench_home(home)
    assert (read.name, read.node.synchronous) == ("der-1", "off")
    assert faults == Faults(own=1, delay_us=1_000)


def test_an_ordinary_start_refuses_its_unsynced_store(home: Path) -> None:
    with pytest.raises(ConfigError, match="E115"):
        load_home(home)


def test_without_the_bench_s_file_there_is_no_such_daemon(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / FILE).unlink()
    with pytest.raises(UserError, match="no node of a bench's plant") as caught:
        bench_home(home)
    assert (caught.value.code, caught.value.exit_code) == ("E434", Exit.BAD_CONFIG)
    assert main(["--home", str(home)]) == Exit.BAD_CONFIG
    assert "E434" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["own = 1\nunknown = 2\n", "delay_us = 1\n", "own = ", "own = -"])
def test_a_damaged_file_is_refused(home: Path, text: str) -> None:
    (home / FILE).write_text(text)
    with pytest.raises(UserError, match="E434"):
        bench_home(home)


@pytest.mark.parametrize("file", ["node.toml", "peers.toml"])
def test_beyond_loopback_there_is_no_such_daemon(home: Path, file: str) -> None:
    path = home / file
    path.write_text(path.read_text().replace("127.0.0.1", "192.0.2.1"))
    with pytest.raises(UserError, match=r"192\.0\.2\.1") as caught:
        bench_home(home)
    assert caught.value.code == "E434"


def test_faults_are_no_part_of_a_node_s_own_file(home: Path) -> None:
    with (home / "node.toml").open("a") as file:
        file.write("\n[bench]\ndelay_us = 1000\n")
    with pytest.raises(ConfigError, match="E102"):
        load_home(home, bench=True)
