"""Export and import: what comes out goes in again, and nothing else does."""

from __future__ import annotations

import hashlib
import io
import random
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import msgspec
import pytest

from tests.store import builders as b
from tests.store import real_chain as real
from tests.store.real_chain import Maker, write
from vppd.crypto import sha256
from vppd.errors import UserError
from vppd.store.archive import export_chain, import_chain
from vppd.store.chain import ChainStore
from vppd.store.verify import verify_chain

HEIGHTS = 12
TABLES = ("decisions", "executions", "places", "state")


@pytest.fixture(scope="module")
def maker() -> Maker:
    made = Maker()
    made.add_typical(HEIGHTS)
    return made


@pytest.fixture
async def full(tmp_path: Path, maker: Maker) -> Path:
    path = tmp_path / "full.db"
    await write(path, maker)
    return path


@pytest.fixture
async def archive(full: Path) -> bytes:
    out = io.BytesIO()
    export_chain(full, real.GENESIS, out)
    return out.getvalue()


@pytest.fixture
async def empty(tmp_path: Path) -> Path:
    path = tmp_path / "empty.db"
    await ChainStore.create(path, real.GENESIS.digest)
    return path


def objects(data: bytes) -> list[list[Any]]:
    return list(msgpack.Unpacker(io.BytesIO(data), raw=False))


def packed(*parts: object) -> bytes:
    pack = msgpack.Packer(use_bin_type=True).pack
    return b"".join(pack(part) for part in parts)


def sealed(*parts: list[Any]) -> bytes:
    """With an end that vouches for it."""
    body = packed(*parts)
    return body + packed(["end", len(parts) - 1, hashlib.sha256(body).digest()])


def refused(path: Path, data: bytes) -> UserError:
    before = {file.name: file.read_bytes() for file in path.parent.glob(f"{path.name}*")}
    with pytest.raises(UserError) as caught:
        import_chain(path, real.GENESIS, io.BytesIO(data))
    after = {file.name: file.read_bytes() for file in path.parent.glob(f"{path.name}*")}
    after.pop(path.name + ".lock")
    before.pop(path.name + ".lock", None)
    assert after.keys() <= before.keys(), "files were left behind"
    assert after[path.name] == before[path.name], "the store was touched"
    return caught.value


async def test_what_comes_out_goes_in_and_is_the_same(
    full: Path, archive: bytes, empty: Path
) -> None:
    safety = b.raw_rows(empty, "SELECT * FROM safety")
    moved = import_chain(empty, real.GENESIS, io.BytesIO(archive))
    assert (moved.first, moved.last, moved.size_bytes) == (1, HEIGHTS, len(archive))
    for table in TABLES:
        query = f"SELECT * FROM {table} ORDER BY 1"  # noqa: S608 - our names
        assert b.raw_rows(empty, query) == b.raw_rows(full, query)
    assert b.raw_rows(empty, "SELECT * FROM safety") == safety, "nothing was promised"
    assert verify_chain(empty, real.GENESIS).last == HEIGHTS
    again = io.BytesIO()
    export_chain(empty, real.GENESIS, again)
    assert again.getvalue() == archive
    async with await ChainStore.open(empty, real.GENESIS.digest) as store:
        resume = await store.resume()
        assert (resume.decided, resume.executed) == (HEIGHTS, HEIGHTS)


def test_another_library_reads_what_the_page_says(archive: bytes, maker: Maker) -> None:
    head, *blocks, end = objects(archive)
    assert head == ["vppd-archive", 1, real.GENESIS.digest, real.GENESIS.name, 1, HEIGHTS]
    for made, (word, height, header, txs, certificate) in zip(maker.blocks, blocks, strict=True):
        assert (word, height) == ("block", made.header.height)
        assert (header, tuple(txs)) == (made.header.encode(), made.txs)
        fields = msgspec.structs.astuple(made.certificate)
        assert certificate == [*fields[:-1], list(fields[-1])]
    assert end == ["end", HEIGHTS, hashlib.sha256(archive[: -len(packed(end))]).digest()]


def test_an_archive_cut_anywhere_is_refused(archive: bytes, empty: Path) -> None:
    chance = random.Random(1)
    for size in [0, 1, len(archive) - 1, *chance.sample(range(len(archive)), 25)]:
        error = refused(empty, archive[:size])
        assert error.code == "E266", size
        assert "the file ends here" in error.facts["why"], size


def test_a_flipped_bit_anywhere_is_refused(archive: bytes, empty: Path) -> None:
    chance = random.Random(2)
    codes = set()
    for _ in range(60):
        data = bytearray(archive)
        at = chance.randrange(len(data))
        data[at] ^= 1 << chance.randrange(8)
        error = refused(empty, bytes(data))
        codes.add(error.code)
        assert error.code in ("E266", "E267", "E269"), f"seed 2, byte {at}: {error}"
    assert {"E266", "E269"} <= codes


def test_what_is_wrong_is_said_with_its_place(archive: bytes, empty: Path) -> None:
    head, *blocks, _ = objects(archive)
    swapped = [blocks[1], blocks[0], *blocks[2:]]
    cases: list[tuple[bytes, str, str]] = [
        (packed(head, *blocks, ["end", HEIGHTS, bytes(32)]), "E266", "another sum"),
        (sealed(head, *blocks) + b"\x00", "E266", "more after the end"),
        (sealed(head, *blocks[:-1]), "E266", f"promised blocks up to {HEIGHTS}"),
        (sealed(head, *swapped), "E266", "no block 1"),
        (sealed(["vppd-archive", 2, *head[2:]], *blocks), "E267", "format 1"),
        (sealed(["tar", 1], *blocks), "E267", "none"),
        (sealed(["vppd-archive", 1, bytes(32), *head[3:]], *blocks), "E267", "another chain"),
        (b"\xc1" + archive, "E266", "not MessagePack"),
        (packed({"a": 1}), "E266", "not an object"),
    ]
    for data, code, words in cases:
        error = refused(empty, data)
        assert error.code == code, words
        assert words in str(error), words


@pytest.mark.parametrize("part", ["signature", "header", "transaction", "swapped certificate"])
def test_a_block_that_does_not_hold_is_refused_however_well_it_is_sealed(
    archive: bytes, empty: Path, part: str
) -> None:
    head, *blocks, _ = objects(archive)
    block = blocks[4]
    match part:
        case "signature":
            sigs = block[4][6]
            sigs[0] = bytes(64)
        case "header":
            block[2] = block[2][:80] + bytes([block[2][80] ^ 1]) + block[2][81:]
        case "transaction":
            block[3][0] = block[3][0][:-1] + bytes([block[3][0][-1] ^ 1])
        case _:
            block[4] = blocks[5][4]
    error = refused(empty, sealed(head, *blocks))
    assert error.code == "E269"
    assert "block 5 of the archive" in str(error)


async def test_only_an_empty_store_takes_an_archive(full: Path, archive: bytes) -> None:
    assert refused(full, archive).code == "E268"


async def test_a_store_without_its_first_blocks_cannot_be_exported(
    tmp_path: Path, maker: Maker
) -> None:
    path = tmp_path / "pruned.db"
    await write(path, maker)
    async with await ChainStore.open(path, real.GENESIS.digest) as store:
        await store.prune(4)
    with pytest.raises(UserError) as caught:
        export_chain(path, real.GENESIS, io.BytesIO())
    assert caught.value.code == "E265"
    assert "from 5 on" in str(caught.value)


async def test_what_an_interrupted_import_left_is_no_obstacle(empty: Path, archive: bytes) -> None:
    empty.with_name(empty.name + ".importing").write_bytes(b"half of it")
    import_chain(empty, real.GENESIS, io.BytesIO(archive))
    assert not empty.with_name(empty.name + ".importing").exists()
    assert verify_chain(empty, real.GENESIS).ok


def test_the_sum_is_of_the_bytes(archive: bytes, empty: Path) -> None:
    """A number written longer than needed reads the same, and is another byte."""
    end = packed(objects(archive)[-1])
    longer = archive.replace(packed(["block", 3])[1:8], b"\xa5block\xcc\x03", 1)
    assert longer != archive
    assert objects(longer) == objects(archive)
    assert sha256(longer[: -len(end)]) != sha256(archive[: -len(end)])
    assert refused(empty, longer).code == "E266"
