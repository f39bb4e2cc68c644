"""The mempool: strict in nonces, bounded in everything, fair between accounts."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.ledger.council import NODES, Council, Crimes
from tests.ledger.test_producers import Republic, dpos
from tests.node.plant import GENESIS, KEYS, decoded, payment
from vppd.consensus.messages import Round
from vppd.crypto import SigningKey, sha256
from vppd.ledger.execution import Ledger
from vppd.ledger.proofs import Accuse, Statement
from vppd.ledger.transaction import Transaction, Transfer, make_statement, make_transaction
from vppd.node import mempool
from vppd.node.mempool import (
    BROADCAST_AFTER_MS,
    MAX_GAP,
    MAX_PER_ACCOUNT,
    MAX_STATEMENTS,
    REMIND_AFTER_MS,
    Mempool,
    Refused,
    places,
)
from vppd.types import PublicKey

STRANGER = SigningKey(sha256(b"stranger"))
ROOM = 1_000_000


def tx(sender: int = 1, nonce: int = 0, *, amount: int = 1, expiry: int = 1_000) -> Transaction:
    return decoded(payment(sender, nonce, amount, expiry=expiry))


class Pool:
    """A mempool with a ledger of nonces."""

    def __init__(self) -> None:
        self.next: dict[PublicKey, int] = {key.public_key: 0 for key in KEYS}
        self.pool = Mempool(self.next.get, Ledger.from_genesis(GENESIS).judge_statement)

    def add(self, *txs: Transaction, own: bool = False, now_ms: int = 0) -> None:
        for each in txs:
            assert self.pool.add(each, now_ms, own=own)

    def take(self, height: int = 1, count: int = 100, room: int = ROOM) -> list[Transaction]:
        return [decoded(raw) for raw in self.pool.take(height, count, room, 10_000)]

    def decide(self, *txs: Transaction, height: int = 1, now_ms: int = 0) -> list[Transaction]:
        for each in txs:
            self.next[each.sender] = each.nonce + 1
        return self.pool.settle([each.id for each in txs], height, now_ms)


@pytest.fixture
def box() -> Pool:
    return Pool()


# ---------------------------------------------------------------- taking


def test_what_waits_is_counted_and_found(box: Pool) -> None:
    first, second = tx(1), tx(2)
    box.add(first, second)
    pool = box.pool
    assert (len(pool), pool.size_bytes) == (2, len(first.raw) + len(second.raw))
    assert first.id in pool
    assert pool.get(first.id) == first
    assert pool.get(bytes(32)) is None
    assert pool.known(first.raw) is not None
    assert pool.known(first.raw + b"x") is None


def test_the_same_transaction_waits_once(box: Pool) -> None:
    box.add(tx())
    assert not box.pool.add(tx(), 0, own=False)
    assert len(box.pool) == 1


def test_a_used_nonce_is_refused_as_a_replay(box: Pool) -> None:
    box.next[KEYS[1].public_key] = 3
    with pytest.raises(Refused, match=r"nonce 2 is used, the account's next is 3 \(a replay\?\)"):
        box.pool.add(tx(nonce=2), 0, own=False)


def test_a_replay_of_what_was_decided_is_refused(box: Pool) -> None:
    box.add(tx())
    box.decide(tx())
    with pytest.raises(Refused, match="a replay"):
        box.pool.add(tx(), 0, own=True)


def test_another_transaction_with_a_waiting_nonce_is_refused(box: Pool) -> None:
    box.add(tx(amount=1))
    with pytest.raises(Refused, match="another transaction with nonce 0 is waiting"):
        box.pool.add(tx(amount=2), 0, own=False)


def test_a_sender_without_an_account_is_refused(box: Pool) -> None:
    raw = make_transaction(STRANGER, bytes(32), 0, 10, (Transfer(bytes(32), 1),))
    with pytest.raises(Refused, match="no account"):
        box.pool.add(decoded(raw), 0, own=True)


def test_a_small_gap_is_kept_and_a_large_one_refused(box: Pool) -> None:
    box.add(tx(nonce=MAX_GAP))
    with pytest.raises(Refused, match=f"nonce {MAX_GAP + 1} is too far ahead, .* next is 0"):
        box.pool.add(tx(nonce=MAX_GAP + 1), 0, own=False)


def test_a_gap_is_counted_from_what_waits_without_one(box: Pool) -> None:
    box.add(tx(nonce=0), tx(nonce=1))
    box.add(tx(nonce=2 + MAX_GAP))
    with pytest.raises(Refused, match="too far ahead, the account's next is 2"):
        box.pool.add(tx(nonce=3 + MAX_GAP), 0, own=False)


def test_an_account_may_have_so_many_waiting(box: Pool) -> None:
    box.add(*(tx(nonce=n) for n in range(MAX_PER_ACCOUNT)))
    with pytest.raises(Refused, match=f"{MAX_PER_ACCOUNT} transactions of this account"):
        box.pool.add(tx(nonce=MAX_PER_ACCOUNT), 0, own=True)
    box.add(tx(2))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Room for so many of these transactions."""
    monkeypatch.setattr(mempool, "MAX_TXS", 6)
    return 6


def test_a_full_pool_is_full_for_who_holds_most_of_it(box: Pool, small: int) -> None:
    box.add(*(tx(1, n) for n in range(small)))
    with pytest.raises(Refused, match="nobody holds more of it than this account"):
        box.pool.add(tx(1, small), 0, own=True)
    assert len(box.pool) == small


def test_who_holds_most_makes_room_with_what_it_sent_last(box: Pool, small: int) -> None:
    box.add(*(tx(1, n) for n in range(small - 1)), tx(2))
    box.add(tx(3))
    assert tx(1, small - 2).id not in box.pool
    assert [t.nonce for t in box.take() if t.sender == tx(1).sender] == [0, 1, 2, 3]
    assert box.pool.waiting(tx(1).sender) == small - 2
    assert box.decide() == [tx(1, small - 2)], "and that is said"
    assert box.decide() == []


def test_in_the_end_all_hold_the_same(box: Pool, small: int) -> None:
    box.add(*(tx(1, n) for n in range(small)))
    box.add(*(tx(i, n) for n in range(2) for i in (2, 3)))
    for i in (1, 2, 3):
        assert box.pool.waiting(tx(i).sender) == 2
        with pytest.raises(Refused, match="the mempool is full"):
            box.pool.add(tx(i, 2), 0, own=False)


def test_nobody_gains_by_filling_the_pool_behind_a_gap(box: Pool, small: int) -> None:
    box.add(*(tx(1, n) for n in range(1, small + 1)))
    box.add(tx(2))
    assert box.take() == [tx(2)]
    box.add(tx(2, 1))
    assert len(box.pool) == small


def test_a_long_transaction_takes_the_places_of_several(box: Pool, small: int) -> None:
    transfers = [Transfer(KEYS[0].public_key, 1)] * 30
    long = decoded(make_transaction(KEYS[3], bytes(32), 0, 1_000, transfers))
    assert places(long) == 2
    assert places(tx()) == 1
    box.add(*(tx(1, n) for n in range(small)))
    box.add(long)
    assert box.pool.waiting(tx(1).sender) == small - 2
    assert len(box.pool) == small - 1


def test_what_fits_the_places_fits_both_caps() -> None:
    assert mempool.PLACE_BYTES * mempool.MAX_TXS <= mempool.MAX_BYTES


def test_whether_there_is_room_is_known_before_a_signature_is_checked(
    box: Pool, small: int
) -> None:
    box.add(*(tx(1, n) for n in range(small)))
    box.pool.admit(tx(2))
    box.pool.admit(tx(1, 0))
    with pytest.raises(Refused, match="the mempool is full"):
        box.pool.admit(tx(1, small))
    assert len(box.pool) == small


def test_a_refusal_leaves_nothing_behind(box: Pool) -> None:
    with pytest.raises(Refused):
        box.pool.add(tx(nonce=99), 0, own=True)
    assert (len(box.pool), box.pool.size_bytes, box.pool.own()) == (0, 0, [])
    assert box.pool.waiting(KEYS[1].public_key) == 0


# ---------------------------------------------------------------- work, and blocks


def order(taken: list[Transaction]) -> list[tuple[int, int]]:
    """Sender and nonce."""
    keys = [key.public_key for key in KEYS]
    return [(keys.index(t.sender), t.nonce) for t in taken]


def test_accounts_take_turns_beginning_with_the_oldest(box: Pool) -> None:
    box.add(tx(3), tx(1), tx(1, 1), tx(1, 2), tx(2), tx(2, 1))
    assert order(box.take()) == [(3, 0), (1, 0), (2, 0), (1, 1), (2, 1), (1, 2)]


def test_who_had_a_turn_is_last_the_next_time(box: Pool) -> None:
    box.add(*(tx(1, n) for n in range(4)), tx(2), tx(3))
    assert order(box.take(count=1)) == [(1, 0)]
    assert order(box.take(count=1)) == [(2, 0)]
    assert order(box.take()) == [(3, 0), (1, 0), (2, 0), (1, 1), (1, 2), (1, 3)]


def test_who_leaves_and_comes_back_is_last_too(box: Pool) -> None:
    box.add(tx(1), tx(2), tx(3))
    box.decide(tx(1))
    box.add(tx(1, 1))
    assert order(box.take()) == [(2, 0), (3, 0), (1, 1)]


def test_nonces_are_in_order_however_they_came(box: Pool) -> None:
    box.add(tx(nonce=2), tx(nonce=0), tx(nonce=1))
    assert [t.nonce for t in box.take()] == [0, 1, 2]


def test_what_waits_behind_a_gap_is_no_work(box: Pool) -> None:
    box.add(tx(nonce=1), now_ms=7)
    assert box.take() == []
    assert box.pool.pending_since_ms() is None
    box.add(tx(nonce=0), now_ms=9)
    assert [t.nonce for t in box.take()] == [0, 1]
    assert box.pool.pending_since_ms() == 9, "nobody could have executed anything before"


def test_work_is_pending_since_the_oldest_of_it_could_be_done(box: Pool) -> None:
    box.add(tx(1), now_ms=3)
    box.add(tx(2), tx(1, 1), now_ms=5)
    box.add(tx(3), now_ms=8)
    assert box.pool.pending_since_ms() == 3
    box.decide(tx(1), now_ms=9)
    assert box.pool.pending_since_ms() == 5
    box.decide(tx(2), tx(1, 1), now_ms=10)
    assert box.pool.pending_since_ms() == 8


def test_what_a_block_from_elsewhere_makes_ready_is_pending_from_then_on(box: Pool) -> None:
    box.add(tx(1, 1), now_ms=3)
    assert box.pool.pending_since_ms() is None
    box.decide(tx(1, 0), now_ms=11)
    assert box.pool.pending_since_ms() == 11
    assert order(box.take()) == [(1, 1)]


def test_what_follows_an_expired_transaction_waits_for_another_in_its_place(box: Pool) -> None:
    box.add(tx(1, 0, expiry=5), tx(1, 1), now_ms=3)
    assert box.decide(height=5, now_ms=8) == [tx(1, 0, expiry=5)]
    assert box.pool.pending_since_ms() is None
    assert box.take(height=6) == []
    box.add(tx(1, 0), now_ms=9)
    assert box.pool.pending_since_ms() == 9
    assert order(box.take(height=6)) == [(1, 0), (1, 1)]


def test_waiting_counts_what_has_no_gap_before_it(box: Pool) -> None:
    box.add(tx(nonce=0), tx(nonce=1), tx(nonce=3))
    assert box.pool.waiting(KEYS[1].public_key) == 2
    assert box.pool.waiting(KEYS[2].public_key) == 0


def test_a_block_is_bounded_by_count_and_bytes(box: Pool) -> None:
    box.add(tx(1), tx(2), tx(3))
    size = len(tx(1).raw)
    assert len(box.take(count=2)) == 2
    assert len(box.take(room=2 * size)) == 2
    assert len(box.take(room=3 * size - 1)) == 2
    assert len(box.take()) == 3, "taking removes nothing"


def test_what_does_not_fit_holds_its_account_back_and_nobody_else(box: Pool) -> None:
    large = decoded(
        make_transaction(KEYS[1], bytes(32), 0, 1_000, [Transfer(KEYS[0].public_key, 1)] * 8)
    )
    box.add(large, tx(1, 1), tx(2))
    assert box.take(room=len(large.raw) - 1) == [tx(2)]


def test_an_expired_transaction_is_not_taken_nor_what_follows_it(box: Pool) -> None:
    box.add(tx(1, expiry=5), tx(1, 1), tx(2))
    assert box.take(height=6) == [tx(2)]
    assert len(box.take(height=5)) == 3


def test_an_expiry_too_far_ahead_is_not_taken(box: Pool) -> None:
    box.add(tx(expiry=20))
    assert box.pool.take(9, 10, ROOM, 10) == ()
    assert len(box.pool.take(10, 10, ROOM, 10)) == 1


# ---------------------------------------------------------------- after a block


def test_what_was_decided_is_gone(box: Pool) -> None:
    box.add(tx(1), tx(1, 1))
    assert box.decide(tx(1)) == []
    assert box.take() == [tx(1, 1)]
    assert box.pool.size_bytes == len(tx(1, 1).raw)
    assert box.pool.known(tx(1).raw) is None


def test_what_was_overtaken_is_gone_and_said(box: Pool) -> None:
    """Another transaction used the nonce, through another node."""
    box.add(tx(1, amount=1), tx(2))
    assert box.decide(tx(1, amount=2)) == [tx(1, amount=1)]
    assert box.take() == [tx(2)]


def test_what_expired_is_gone_and_said(box: Pool) -> None:
    box.add(tx(1, expiry=5), tx(2, expiry=6))
    assert box.decide(height=4) == []
    assert box.decide(height=5) == [tx(1, expiry=5)]
    assert len(box.pool) == 1


def test_an_empty_pool_is_empty_after_everything(box: Pool) -> None:
    box.add(*(tx(i, n) for i in range(4) for n in range(3)))
    box.decide(*(tx(i, n) for i in range(4) for n in range(3)))
    assert (len(box.pool), box.pool.size_bytes) == (0, 0)
    assert box.pool.pending_since_ms() is None


# ---------------------------------------------------------------- looking after one's own


def test_an_own_transaction_goes_to_everybody_once(box: Pool) -> None:
    box.add(tx(1), own=True)
    box.add(tx(2), own=False)
    assert box.pool.overdue(BROADCAST_AFTER_MS - 1) == ([], [])
    assert box.pool.overdue(BROADCAST_AFTER_MS) == ([tx(1)], [])
    assert box.pool.overdue(BROADCAST_AFTER_MS + 1) == ([], [])


def test_and_to_the_leader_again_and_again(box: Pool) -> None:
    box.add(tx(1), own=True)
    box.pool.overdue(BROADCAST_AFTER_MS)
    due = BROADCAST_AFTER_MS
    for _ in range(3):
        due += REMIND_AFTER_MS
        assert box.pool.overdue(due - 1) == ([], [])
        assert box.pool.overdue(due) == ([], [tx(1)])


def test_gossip_becomes_our_own_when_a_client_brings_it_too(box: Pool) -> None:
    box.add(tx(1), own=False)
    assert box.pool.own() == []
    assert not box.pool.add(tx(1), 1_000, own=True)
    assert box.pool.own() == [tx(1)]
    assert box.pool.overdue(1_000) == ([tx(1)], [])


def test_nothing_is_looked_after_once_it_is_decided(box: Pool) -> None:
    box.add(tx(1), own=True)
    box.decide(tx(1))
    assert box.pool.own() == []
    assert box.pool.overdue(10**9) == ([], [])


# ---------------------------------------------------------------- any history

POOLED = {(s, n): tx(s, n, expiry=8 + (s + n) % 5) for s in range(3) for n in range(6)}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(sorted(POOLED))),
        st.tuples(st.just("block"), st.integers(1, 5)),
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_blocks_hold_each_nonce_once_and_in_order(
    steps: list[tuple[str, tuple[int, int] | int]],
) -> None:
    box, height = Pool(), 0
    for what, argument in steps:
        if isinstance(argument, tuple):
            assert what == "add"
            if POOLED[argument].expiry_height <= height:
                continue  # the gate refuses it
            try:
                box.pool.add(POOLED[argument], 0, own=False)
            except Refused:
                assert POOLED[argument].nonce < box.next[POOLED[argument].sender]
        else:
            height += 1
            block = box.take(height, argument)
            for each in block:
                assert each.nonce == box.next[each.sender]
                assert each.expiry_height >= height
                box.next[each.sender] += 1
            box.pool.settle([each.id for each in block], height, 0)
        left = [t for t in POOLED.values() if t.id in box.pool]
        assert len(left) == len(box.pool)
        assert box.pool.size_bytes == sum(len(t.raw) for t in left)
        assert all(t.nonce >= box.next[t.sender] and t.expiry_height > height for t in left)
        assert (box.pool.pending_since_ms() is None) == (
            not any(t.nonce == box.next[t.sender] for t in left)
        )


FLOOD = {
    (s, n): decoded(
        make_transaction(KEYS[s], bytes(32), n, 50, [Transfer(bytes(32), 1)] * (1 + 70 * (n % 2)))
    )
    for s in range(4)
    for n in range(8)
}
FLOODS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(sorted(FLOOD))),
        st.tuples(st.just("block"), st.integers(1, 3)),
    ),
    max_size=60,
)


@given(FLOODS)
def test_however_full_it_gets_who_holds_less_gets_in(
    steps: list[tuple[str, tuple[int, int] | int]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mempool, "MAX_TXS", 8)
        box, height, held = Pool(), 0, Counter[PublicKey]()
        for what, argument in steps:
            if isinstance(argument, tuple):
                assert what == "add"
                each = FLOOD[argument]
                known = each.id in box.pool
                try:
                    box.pool.add(each, 0, own=False)
                except Refused as err:
                    if "full" in str(err):
                        assert held[each.sender] + places(each) >= max(held.values())
                else:
                    before = held.copy()
                    held = holdings(box.pool)
                    if not known:
                        assert held[each.sender] == before[each.sender] + places(each)
            else:
                height += 1
                block = box.take(height, argument)
                box.decide(*block, height=height)
                held = holdings(box.pool)
            assert held.total() <= 8
            taken = box.take(height + 1)
            for sender in held:
                nonces = [t.nonce for t in taken if t.sender == sender]
                due = box.next[sender]
                assert nonces == list(range(due, due + box.pool.waiting(sender)))
            assert (box.pool.pending_since_ms() is None) == (not taken)


def holdings(pool: Mempool) -> Counter[PublicKey]:
    """Places by account, counted from outside."""
    held: Counter[PublicKey] = Counter()
    for each in FLOOD.values():
        held[each.sender] += places(each) * (each.id in pool)
    return +held


def test_a_full_pool_costs_no_walk_over_what_waits(box: Pool) -> None:
    """What a turn of the event loop asks, counted in looks at nonces and not in seconds."""
    looks = 0

    def next_nonce(key: PublicKey) -> int | None:
        nonlocal looks
        looks += 1
        return box.next.get(key)

    pool = Mempool(next_nonce, Ledger.from_genesis(GENESIS).judge_statement)
    for sender in range(4):
        for nonce in range(MAX_PER_ACCOUNT):
            pool.add(tx(sender, nonce), 0, own=True)
    looks = 0
    for _ in range(100):
        pool.pending_since_ms()
        pool.take(1, 10, ROOM, 10_000)
        pool.waiting(KEYS[0].public_key)
    assert looks == 0
    pool.settle((), 1, 0)
    assert looks == 4, "one per account and block"


# ---------------------------------------------------------------- statements


class Forum:
    """A mempool before a ledger that elects."""

    def __init__(self, council: Council) -> None:
        self.council = council
        self.pool = Mempool(council.ledger.nonce, council.ledger.judge_statement)

    def made(self, op: Statement, expiry: int = 1_000) -> Transaction:
        return decoded(make_statement(expiry, op))

    def say(self, op: Statement, *, own: bool = False, expiry: int = 1_000) -> Transaction:
        tx = self.made(op, expiry)
        self.pool.admit(tx)
        assert self.pool.add(tx, 0, own=own)
        return tx

    def refused(self, op: Statement, expiry: int = 1_000) -> str:
        with pytest.raises(Refused) as caught:
            self.pool.admit(self.made(op, expiry))
        return str(caught.value)

    def decide(self, *txs: Transaction) -> list[Transaction]:
        self.council.pack(*(tx.raw for tx in txs))
        assert self.council.last is not None
        done = self.council.last
        used = [x for i, x in enumerate(done.tx_ids) if i not in done.refused]
        return self.pool.settle(used, done.height, 0)


def test_statements_go_first_and_go_when_they_are_executed() -> None:
    council = Republic(dpos())
    forum = Forum(council)
    paid = decoded(council.tx(NODES[0], Transfer(NODES[1].public_key, 1)))
    forum.pool.add(paid, 0, own=False)
    said = [forum.say(council.here(node)) for node in NODES[:3]]
    assert forum.pool.take(1, 100, ROOM, 10_000) == (*(tx.raw for tx in said), paid.raw)
    assert forum.pool.take(1, 2, ROOM, 10_000) == (said[0].raw, said[1].raw)
    assert forum.pool.take(1, 100, len(said[0].raw), 10_000) == (said[0].raw,)
    assert forum.pool.pending_since_ms() == 0
    assert forum.decide(*said, paid) == []
    assert (len(forum.pool), forum.pool.size_bytes) == (0, 0)
    assert forum.pool.pending_since_ms() is None
    assert forum.pool.known(said[0].raw) is None


def test_junk_never_waits() -> None:
    council = Republic(dpos())
    forum = Forum(council)
    crime = Crimes(council).twice(NODES[2])
    forged = replace(crime, second_sig=bytes(64))
    assert forum.refused(Accuse(forged)) == "It does not prove what it says; REFUSED."
    assert "no such candidate" in forum.refused(council.ready(NODES[11]))
    forum.say(Accuse(crime))
    assert len(forum.pool) == 1


def test_what_comes_to_the_same_waits_once() -> None:
    council = Republic(dpos())
    forum = Forum(council)
    crimes = Crimes(council)
    first = forum.say(Accuse(crimes.twice(NODES[2])))
    again = "a statement that comes to the same is waiting"
    assert forum.refused(Accuse(crimes.twice(NODES[2])), expiry=999) == again
    assert forum.refused(Accuse(crimes.twice(NODES[2], Round.COMMIT))) == again
    assert not forum.pool.add(first, 0, own=True)
    forum.say(Accuse(crimes.twice(NODES[3])))


def test_what_is_overtaken_is_forgotten() -> None:
    council = Republic(dpos())
    forum = Forum(council)
    crimes = Crimes(council)
    waiting = forum.say(Accuse(crimes.twice(NODES[2])), own=True)
    kept = forum.say(council.here(NODES[4]))
    elsewhere = forum.made(Accuse(crimes.twice(NODES[2], Round.COMMIT)))
    assert forum.decide(elsewhere) == [waiting]
    assert waiting.id not in forum.pool
    assert forum.pool.own() == []
    assert kept.id in forum.pool


def test_a_statement_expires_like_any_other() -> None:
    council = Republic(dpos())
    forum = Forum(council)
    tx = forum.say(council.here(NODES[4]), expiry=2)
    assert forum.decide() == []
    assert forum.decide() == [tx]
    assert len(forum.pool) == 0


def test_a_statement_decided_in_a_crowd_waits_for_the_next_block() -> None:
    """Beyond the 32nd it was not looked at: it still says something."""
    council = Republic(dpos())
    forum = Forum(council)
    last = forum.say(council.here(NODES[4]))
    junk = Crimes(council).twice(NODES[2], second_sig=bytes(64))
    crowd = [forum.made(Accuse(junk), 100 + i) for i in range(32)]
    assert forum.decide(*crowd, last) == []
    assert last.id in forum.pool
    assert forum.decide(last) == []
    assert len(forum.pool) == 0


def test_so_many_statements_wait_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_STATEMENTS == 64
    monkeypatch.setattr(mempool, "MAX_STATEMENTS", 3)
    council = Republic(dpos())
    forum = Forum(council)
    for node in NODES[:3]:
        forum.say(council.here(node))
    assert forum.refused(council.here(NODES[3])) == "3 statements are waiting"


def test_own_statements_are_sent_again() -> None:
    council = Republic(dpos())
    forum = Forum(council)
    mine, theirs = forum.say(council.here(NODES[0]), own=True), forum.say(council.here(NODES[1]))
    assert forum.pool.own() == [mine]
    assert forum.pool.overdue(BROADCAST_AFTER_MS) == ([mine], [])
    everybody, leader = forum.pool.overdue(BROADCAST_AFTER_MS + REMIND_AFTER_MS)
    assert everybody == []
    assert set(leader) == {mine, theirs}
