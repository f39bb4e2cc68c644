"""Tables, keys in meaningful order, undoing and sealing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.chain import ANN, BOB
from vppd.codec import Malformed, encode
from vppd.ledger.records import Account, GridAccount, Register, SlotRecord
from vppd.ledger.state import (
    ACCOUNT,
    GRID_ACCOUNT,
    METER,
    ORDER,
    ORDERED,
    REGISTER,
    SETTLEMENT,
    SLOT,
    TABLES,
    TRADE,
    State,
)

u64 = st.integers(0, 2**63 - 1)
RECORD = SlotRecord(1, 2, 3)


def test_keys_are_a_prefix_and_fixed_width_parts() -> None:
    assert ACCOUNT.key(ANN.public_key) == b"\x01" + ANN.public_key
    assert ORDER.key(1, 258) == b"\x04" + bytes(7) + b"\x01" + bytes(6) + b"\x01\x02"
    assert REGISTER.key(ANN.public_key, 1) == b"\x06" + ANN.public_key + bytes(7) + b"\x01"
    assert GRID_ACCOUNT.key() == b"\x08"
    tables = (ACCOUNT, METER, SLOT, ORDER, TRADE, REGISTER, SETTLEMENT, GRID_ACCOUNT, ORDERED)
    assert tuple(TABLES.values())[:9] == tables
    assert list(TABLES) == sorted(TABLES), "keys sort by table"
    assert all(number == table.number for number, table in TABLES.items())


@settings(deadline=None)
@given(st.lists(st.tuples(u64, u64)))
def test_keys_sort_as_what_they_name(parts: list[tuple[int, int]]) -> None:
    assert sorted(ORDER.key(*pair) for pair in parts) == [
        ORDER.key(*pair) for pair in sorted(parts)
    ]


def test_a_scan_sees_one_group_in_key_order() -> None:
    state = State()
    for slot, meter in ((300, b"a" * 32), (2, b"a" * 32), (1, b"b" * 32), (256, b"a" * 32)):
        state.put(REGISTER, Register(slot, 0, 1), meter, slot)
    assert [slot for slot, _ in state.scan(REGISTER, b"a" * 32)] == [2, 256, 300]
    assert [r.import_wh for _, r in state.scan(REGISTER, b"b" * 32)] == [1]
    assert list(state.scan(REGISTER, b"c" * 32)) == []
    state.put(SLOT, RECORD, 9)
    state.put(SLOT, RECORD, 8)
    assert [slot for slot, _ in state.scan(SLOT)] == [8, 9]


def test_records_may_go_while_they_are_scanned() -> None:
    state = State()
    for slot in range(5):
        state.put(SLOT, RECORD, slot)
    for slot, _ in state.scan(SLOT):
        state.remove(SLOT, slot)
    assert list(state.scan(SLOT)) == []
    state.remove(SLOT, 1)
    assert all(value is None for _, value in state.seal())


def test_need_is_for_what_must_be_there() -> None:
    state = State()
    assert state.get(SLOT, 1) is None
    with pytest.raises(KeyError):
        state.need(SLOT, 1)
    state.put(SLOT, RECORD, 1)
    assert state.get(SLOT, 1) == state.need(SLOT, 1) == RECORD


writes = st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 3)), max_size=20)


def write(state: State, steps: list[tuple[int, int | None]]) -> None:
    for slot, value in steps:
        if value is None:
            state.remove(SLOT, slot)
        else:
            state.put(SLOT, SlotRecord(1, value, 0), slot)


@settings(deadline=None)
@given(writes, writes)
def test_undo_takes_back_everything_since_the_mark(
    first: list[tuple[int, int | None]], second: list[tuple[int, int | None]]
) -> None:
    state, twin = State(), State()
    write(state, first)
    write(twin, first)
    mark = state.mark()
    write(state, second)
    state.undo(mark)
    assert list(state.scan(SLOT)) == list(twin.scan(SLOT))
    assert state.seal() == twin.seal()


@settings(deadline=None)
@given(st.lists(writes, max_size=5))
def test_sealed_bytes_are_the_state(blocks: list[list[tuple[int, int | None]]]) -> None:
    state = State()
    kept: dict[bytes, bytes] = {}
    for steps in blocks:
        write(state, steps)
        sealed = state.seal()
        assert [key for key, _ in sealed] == sorted({key for key, _ in sealed})
        for key, value in sealed:
            if value is None:
                kept.pop(key, None)
            else:
                kept[key] = value
        assert state.seal() == ()
    assert list(State.load(kept.items()).scan(SLOT)) == list(state.scan(SLOT))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"", b""),
        (b"\x63", encode(GridAccount(0))),
        (b"\x08\x00", encode(GridAccount(0))),
        (ACCOUNT.key(ANN.public_key)[:-1], encode(Account(0, 0, 0, 0, 0))),
        (ACCOUNT.key(ANN.public_key), encode(GridAccount(0))),
        (ACCOUNT.key(ANN.public_key), encode(Account(0, 0, -1, 0, 0))),
        (b"\x08", b"\x91"),
    ],
    ids=["empty", "table", "long key", "short key", "other record", "range", "truncated"],
)
def test_foreign_entries_are_refused(key: bytes, value: bytes) -> None:
    with pytest.raises(Malformed):
        State.load([(key, value)])


@given(st.sets(st.integers(0, 60), max_size=12), st.integers(0, 60))
def test_neighbours_are_those_a_scan_would_find(slots: set[int], slot: int) -> None:
    state = State()
    for other in slots:
        state.put(REGISTER, Register(other, 0, 1), ANN.public_key, other)
    state.put(REGISTER, Register(0, 0, 1), BOB.public_key, slot + 1)
    found = [number for number, _ in state.scan(REGISTER, ANN.public_key)]
    before = max((number for number in found if number < slot), default=None)
    after = min((number for number in found if number > slot), default=None)
    assert state.around(REGISTER, ANN.public_key, slot) == (before, after)
