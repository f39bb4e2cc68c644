"""A stored chain is checked from genesis: any byte that is touched is found, at its height."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.store import builders as b
from tests.store import real_chain as real
from vppd.codec import encode
from vppd.config.genesis import Genesis
from vppd.consensus.messages import CertificateKind
from vppd.crypto import sha256
from vppd.errors import UserError
from vppd.ledger.receipts import receipts_root
from vppd.ledger.transaction import Transfer
from vppd.store.chain import ChainStore
from vppd.store.verify import Part, verify_chain

HEIGHTS = 7


@pytest.fixture(scope="module")
def maker() -> real.Maker:
    made = real.Maker()
    made.add_typical(HEIGHTS)
    return made


@pytest.fixture(scope="module")
def written(maker: real.Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(maker, tmp_path_factory.mktemp("written"))


@pytest.fixture
def chain(written: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copy(written, tmp_path))


def write(maker: real.Maker, folder: Path, executed: int | None = None) -> Path:
    path = folder / "chain.db"
    asyncio.run(real.write(path, maker, executed))
    return path


def update(table: str, column: str) -> str:
    return f"UPDATE {table} SET {column} = ? WHERE {KEY[table]} = ?"  # noqa: S608  # our names


def tamper(path: Path, statement: str, *parameters: object) -> None:
    """As somebody with the file in his hands would: triggers first."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            for (name,) in triggers.fetchall():
                connection.execute(f"DROP TRIGGER {name}")
            changed = connection.execute(statement, parameters).rowcount
    finally:
        connection.close()
    assert changed == 1


def failure(path: Path, first: int = 1, last: int | None = None) -> tuple[int, Part]:
    report = verify_chain(path, real.GENESIS, first, last)
    assert report.failure is not None
    assert not report.ok
    assert report.problem is not None
    assert report.problem.startswith(
        f"height {report.failure.height}: {report.failure.part.value}: "
    )
    return report.failure.height, report.failure.part


# ---------------------------------------------------------------- in order


def test_an_untouched_chain_is_in_order(chain: Path, maker: real.Maker) -> None:
    seen: list[tuple[int, int]] = []
    report = verify_chain(chain, real.GENESIS, progress=lambda *at: seen.append(at))
    assert report.ok, report.failure
    assert (report.first, report.last, report.executed) == (1, HEIGHTS, HEIGHTS)
    assert report.problem is None
    assert report.transactions == sum(len(block.txs) for block in maker.blocks)
    assert seen == [(height, HEIGHTS) for height in range(1, HEIGHTS + 1)]


def test_verifying_changes_nothing(chain: Path) -> None:
    before = b.content(chain)
    assert verify_chain(chain, real.GENESIS).ok
    assert b.content(chain) == before


async def test_a_running_node_can_be_verified(chain: Path) -> None:
    async with await ChainStore.open(chain, real.GENESIS.digest) as store:
        assert verify_chain(chain, real.GENESIS).last == HEIGHTS
        assert await store.decided() == HEIGHTS


def test_a_fresh_store_is_in_order(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    asyncio.run(ChainStore.create(path, real.GENESIS.digest))
    assert verify_chain(path, real.GENESIS) == (1, 0, 0, 0, None, 0)


def test_blocks_that_are_not_executed_yet_are_in_order(tmp_path: Path, maker: real.Maker) -> None:
    for executed in (0, 3):
        folder = tmp_path / str(executed)
        folder.mkdir()
        path = write(maker, folder, executed)
        report = verify_chain(path, real.GENESIS)
        assert report.ok, report.failure
        assert (report.last, report.executed) == (HEIGHTS, executed)


def test_a_transaction_decided_twice_is_in_order(tmp_path: Path) -> None:
    maker = real.Maker()
    maker.add_typical(2)
    maker.add(*maker.blocks[0].txs)  # the nonces are used up, so each of them fails
    path = write(maker, tmp_path)
    report = verify_chain(path, real.GENESIS)
    assert report.ok, report.failure


# ---------------------------------------------------------------- one byte of any column

BLOBS = {
    ("decisions", "digest"): (Part.BODY,),
    ("decisions", "certificate"): (Part.CERTIFICATE,),
    ("bodies", "digest"): (Part.BODY,),
    ("bodies", "header"): (Part.HEADER,),
    ("bodies", "txs"): (Part.BODY,),
    ("bodies", "proposal_sig"): (Part.BODY,),
    ("executions", "state_root"): (Part.STATE,),
    ("executions", "receipts_root"): (Part.RECEIPTS,),
    ("executions", "receipts"): (Part.RECEIPTS,),
    ("places", "ids"): (Part.INDEX,),
    ("places", "counts"): (Part.INDEX,),
    ("state", "key"): (Part.STATE,),
    ("state", "value"): (Part.STATE,),
    ("safety", "record"): (Part.SAFETY,),
    ("new_views", "digest"): (Part.SAFETY,),
    ("new_views", "record"): (Part.SAFETY,),
    ("safety", "checksum"): (Part.SAFETY,),
}
INTEGERS = {
    ("decisions", "height"): (Part.DECISION,),
    ("bodies", "height"): (Part.BODY,),
    ("bodies", "view"): (Part.BODY,),
    ("executions", "height"): (Part.RECEIPTS,),
    ("executions", "next_due_ms"): (Part.STATE,),
    ("places", "first"): (Part.INDEX,),
    ("places", "last"): (Part.INDEX,),
    ("safety", "generation"): (Part.SAFETY,),
}
OF_NO_HEIGHT = {"state", "safety", "new_views"}
"""Tables that describe the end of the chain."""
KEY = {
    "decisions": "height",
    "bodies": "id",
    "executions": "height",
    "places": "id",
    "state": "key",
    "safety": "id",
    "new_views": "seq",
}


def rows_of(path: Path, table: str, column: str) -> list[tuple[object, int, object]]:
    """Key, height and value of every row whose column holds something to flip."""
    height = str(HEIGHTS) if table in OF_NO_HEIGHT else "last" if table == "places" else "height"
    query = f"SELECT {KEY[table]}, {height}, {column} FROM {table}"  # noqa: S608  # our names
    if column == "view":  # nobody vouches for the view of a body that came without a proposal
        query += " WHERE length(proposal_sig) > 0"
    found = b.raw_rows(path, f"{query} ORDER BY 1")
    return [(key, h, v) for key, h, v in found if isinstance(h, int) and v not in (None, b"")]


def flipped(value: object, rng: random.Random) -> object:
    if isinstance(value, int):
        return value ^ 64
    assert isinstance(value, bytes)
    position = rng.randrange(len(value))
    byte = value[position] ^ rng.randrange(1, 256)
    return value[:position] + bytes([byte]) + value[position + 1 :]


@pytest.mark.parametrize(
    ("table", "column", "parts"),
    [(*name, parts) for name, parts in {**BLOBS, **INTEGERS}.items()],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_byte_of_any_column_is_found_at_its_height(
    written: Path, tmp_path: Path, table: str, column: str, parts: tuple[Part, ...]
) -> None:
    rng = random.Random(f"{table}.{column}")
    rows = rows_of(written, table, column)
    assert rows
    for key, height, value in rng.sample(rows, min(5, len(rows))):
        copy = shutil.copyfile(written, tmp_path / "copy.db")
        tamper(copy, update(table, column), flipped(value, rng), key)
        found_height, found_part = failure(copy)
        assert (found_height, found_part in parts) == (height, True), (found_part, key)


def test_no_column_is_left_out(chain: Path) -> None:
    columns = b.raw_rows(
        chain,
        "SELECT t.name, c.name FROM pragma_table_list t, pragma_table_info(t.name) c "
        "WHERE t.schema = 'main' AND t.name NOT LIKE 'sqlite_%' "
        "AND t.name NOT IN ('meta', 'evidence', 'base', 'pruned', 'eras', 'links')",
    )
    row_numbers = {("bodies", "id"), ("safety", "id"), ("new_views", "seq"), ("places", "id")}
    assert set(columns) - row_numbers == {*BLOBS, *INTEGERS}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32 - 1))
@example(seed=1116)
def test_any_byte_at_any_position_is_found_at_its_height(
    seed: int, written: Path, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    table, column = rng.choice(sorted(BLOBS))
    key, height, value = rng.choice(rows_of(written, table, column))
    taken = {other for _, _, other in rows_of(written, table, column)}
    changed = flipped(value, rng)
    while changed in taken:  # what another row's key is already, the file cannot hold twice
        changed = flipped(value, rng)
    copy = shutil.copyfile(written, tmp_path / "copy.db")
    tamper(copy, update(table, column), changed, key)
    assert failure(copy)[0] == height


# ---------------------------------------------------------------- cleverer hands


def test_a_prepared_certificate_decides_nothing(chain: Path, maker: real.Maker) -> None:
    digest = maker.blocks[2].header.digest()
    prepared = real.certify(CertificateKind.PREPARED, 3, digest)
    tamper(chain, "UPDATE decisions SET certificate = ? WHERE height = 3", encode(prepared))
    assert failure(chain) == (3, Part.CERTIFICATE)


def test_a_certificate_of_another_height(chain: Path, maker: real.Maker) -> None:
    other = encode(maker.blocks[3].certificate)
    tamper(chain, "UPDATE decisions SET certificate = ? WHERE height = 3", other)
    assert failure(chain) == (3, Part.CERTIFICATE)


def test_a_signature_that_does_not_hold_is_named(chain: Path, maker: real.Maker) -> None:
    certificate = maker.blocks[4].certificate
    signatures = (*certificate.signatures[:2], bytes(64))
    forged = encode(certificate)[: -64 * 3 - 6]  # everything before the three signatures
    forged += b"".join(encode(signature) for signature in signatures)
    tamper(chain, "UPDATE decisions SET certificate = ? WHERE height = 5", forged)
    report = verify_chain(chain, real.GENESIS)
    assert report.failure is not None
    assert str(report.failure).startswith("height 5: certificate: signature of replica 2 ")
    assert report.last == 4


def test_a_whole_forged_block_lacks_a_certificate(chain: Path, maker: real.Maker) -> None:
    block = maker.blocks[5]
    header = block.header._replace(time_ms=block.header.time_ms + 1)
    tamper(
        chain,
        "UPDATE bodies SET digest = ?, header = ?, proposal_sig = x'' WHERE height = 6",
        header.digest(),
        header.encode(),
    )
    tamper(chain, "UPDATE decisions SET digest = ? WHERE height = 6", header.digest())
    assert failure(chain) == (6, Part.CERTIFICATE)


def test_receipts_forged_with_their_root(chain: Path, maker: real.Maker) -> None:
    receipts = (*maker.blocks[1].execution.receipts[:-1], b"all is well")
    tamper(
        chain,
        "UPDATE executions SET receipts = ?, receipts_root = ? WHERE height = 2",
        encode(receipts),
        receipts_root(receipts),
    )
    assert failure(chain) == (2, Part.RECEIPTS)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DELETE FROM decisions WHERE height = 4", (4, Part.DECISION)),
        ("DELETE FROM decisions WHERE height = 7", (7, Part.RECEIPTS)),
        ("DELETE FROM bodies WHERE height = 4", (4, Part.BODY)),
        ("DELETE FROM executions WHERE height = 4", (4, Part.RECEIPTS)),
        ("DELETE FROM state WHERE key = (SELECT min(key) FROM state)", (7, Part.STATE)),
        ("DELETE FROM state WHERE key = (SELECT max(key) FROM state)", (7, Part.STATE)),
        ("INSERT INTO state VALUES (x'ffffffff', x'00')", (7, Part.STATE)),
        ("INSERT INTO places VALUES (99, 3, 3, zeroblob(8), x'00000001')", (3, Part.INDEX)),
        ("INSERT INTO places VALUES (99, 8, 8, zeroblob(8), x'00000001')", (7, Part.INDEX)),
        ("DELETE FROM places WHERE first = 2", (2, Part.INDEX)),
        ("DELETE FROM places WHERE first = 7", (7, Part.INDEX)),
        ("DELETE FROM safety", (7, Part.SAFETY)),
        (
            "UPDATE places SET ids = CAST(substr(ids, 1, 8) || x'0101010101010101' || "
            "substr(ids, 17) AS BLOB) WHERE first = 2",
            (2, Part.INDEX),
        ),
        (
            "UPDATE places SET ids = CAST(ids || x'01' AS BLOB) WHERE first = 2",
            (2, Part.INDEX),
        ),
    ],
)
def test_rows_that_are_missing_or_too_many(
    chain: Path, statement: str, expected: tuple[int, Part]
) -> None:
    tamper(chain, statement)
    assert failure(chain) == expected


def test_a_block_that_breaks_the_rules_although_all_signed_it(tmp_path: Path) -> None:
    maker = real.Maker()
    maker.add_typical(2)
    transaction = maker.sign(real.KEYS[1], Transfer(real.KEYS[2].public_key, 1))
    maker.add(transaction[:-1] + bytes([transaction[-1] ^ 1]))
    path = write(maker, tmp_path)
    report = verify_chain(path, real.GENESIS)
    assert report.failure is not None
    assert (report.failure.height, report.failure.part) == (3, Part.BODY)
    assert "transaction 0" in report.failure.what


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"chain_id": sha256(b"other")}, "chain id"),
        ({"epoch": 1}, "epoch"),
        ({"height": 4}, "height 4"),
        ({"parent": bytes(32)}, "parent"),
        ({"time_ms": 0}, "time"),
        ({"proposer": bytes(32)}, "proposer"),
        ({"state_root": bytes(32)}, "state root"),
        ({"receipts_root": bytes(32)}, "receipts root"),
        ({"next_validators": bytes(32)}, "next validator set"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_field_of_a_header_is_checked(
    tmp_path: Path, change: dict[str, object], what: str
) -> None:
    maker = real.Maker()
    maker.add_typical(3)
    block = maker.blocks[2]
    header = block.header._replace(**change)  # type: ignore[arg-type]  # one field at a time
    certificate = real.certify(CertificateKind.COMMIT, 3, header.digest())
    path = write(maker, tmp_path)
    tamper(
        path,
        "UPDATE bodies SET digest = ?, header = ?, proposal_sig = x'' WHERE height = 3",
        header.digest(),
        header.encode(),
    )
    tamper(
        path,
        "UPDATE decisions SET digest = ?, certificate = ? WHERE height = 3",
        header.digest(),
        encode(certificate),
    )
    report = verify_chain(path, real.GENESIS)
    assert report.failure is not None
    assert (report.failure.height, report.failure.part) == (3, Part.HEADER)
    assert what in report.failure.what


# ---------------------------------------------------------------- ranges


def test_below_the_range_only_what_executing_needs_is_checked(chain: Path) -> None:
    tamper(chain, "UPDATE executions SET receipts = x'90' WHERE height = 2")
    assert failure(chain) == (2, Part.RECEIPTS)
    assert failure(chain, first=2) == (2, Part.RECEIPTS)
    report = verify_chain(chain, real.GENESIS, first=3)
    assert report.ok
    assert (report.first, report.last) == (3, HEIGHTS)
    tamper(chain, "DELETE FROM places WHERE first = 2")
    tamper(chain, "DELETE FROM executions WHERE height = 1")
    assert verify_chain(chain, real.GENESIS, first=3).ok
    tamper(chain, "UPDATE bodies SET txs = x'90' WHERE height = 1")
    assert failure(chain, first=3) == (1, Part.BODY)


def test_above_the_range_nothing_is_checked(chain: Path) -> None:
    tamper(chain, "UPDATE executions SET receipts = x'90' WHERE height = 5")
    report = verify_chain(chain, real.GENESIS, last=4)
    assert report.ok
    assert report.last == 4
    assert failure(chain, last=5) == (5, Part.RECEIPTS)
    assert verify_chain(chain, real.GENESIS, last=4, first=4).last == 4
    assert failure(chain, last=1_000) == (5, Part.RECEIPTS)


# ---------------------------------------------------------------- the file itself


def test_another_genesis_is_refused(chain: Path) -> None:
    other = Genesis(
        name="other",
        digest=sha256(b"other"),
        consensus=real.GENESIS.consensus,
        market=real.GENESIS.market,
        validators=real.GENESIS.validators,
    )
    with pytest.raises(UserError) as caught:
        verify_chain(chain, other)
    assert caught.value.code == "E251"


def test_there_must_be_a_store(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        verify_chain(tmp_path / "chain.db", real.GENESIS)
    assert caught.value.code == "E250"


def test_a_damaged_file_is_said_to_be_one(chain: Path) -> None:
    with chain.open("r+b") as file:
        file.truncate(chain.stat().st_size // 2)
    with pytest.raises(UserError) as caught:
        verify_chain(chain, real.GENESIS)
    assert caught.value.code == "E253"
