"""The machine's two beats: nothing is signed before it is durable, and what follows from it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.node.plant import (
    GENESIS,
    KEYS,
    LEADER,
    START,
    CountingKey,
    Host,
    N,
    commit_bytes,
    decoded,
    ledger,
    payment,
    proposal_bytes,
    settle,
    vote_bytes,
)
from tests.store.real_chain import Maker
from vppd.codec import encode
from vppd.consensus.boundary import (
    ALL,
    BodyRecord,
    Decision,
    DecisionRecord,
    PreparedRecord,
    ProposalRecord,
    VoteRecord,
)
from vppd.consensus.messages import (
    Block,
    Commit,
    Equivocation,
    Evidence,
    Prepare,
    Reply,
    Round,
    Status,
    Tx,
    Type,
)
from vppd.crypto import SigningKey, verify
from vppd.errors import LocalFault
from vppd.header import decode_header
from vppd.ledger.changes import Configure, SetNumber
from vppd.ledger.execution import Ledger
from vppd.ledger.transaction import InvalidTransaction, make_transaction
from vppd.net.gate import BadSignature, PeerMessage, decode_message
from vppd.node.beats import Effects, Frame
from vppd.node.machine import INBOX_BYTES, TOKEN_BYTES, Machine
from vppd.node.mempool import BROADCAST_AFTER_MS, REMIND_AFTER_MS, Refused


@pytest.fixture
def hosts() -> list[Host]:
    made = [Host(i) for i in range(N)]
    for host in made:
        host.start()
    return made


def messages(effects: Effects) -> list[PeerMessage]:
    return [decode_message(frame.type, frame.payload) for frame in effects.frames]


def only(effects: Effects, kind: type[PeerMessage]) -> list[PeerMessage]:
    return [message for message in messages(effects) if isinstance(message, kind)]


def proposed(leader: Host, *raws: bytes) -> Block:
    """What the leader sends once it has work."""
    for raw in raws:
        leader.machine.submit(raw, leader.ms, own=True)
    while leader.machine.has_work:  # the engine asks for a block, and gets it in the next turn
        for message in messages(leader.turn()):
            if isinstance(message, Block):
                return message
    pytest.fail("no proposal")


# ---------------------------------------------------------------- two beats


def test_nothing_is_signed_in_the_first_beat() -> None:
    key = CountingKey(KEYS[LEADER])
    leader = Host(LEADER, key)
    leader.start()
    leader.machine.submit(payment(), 0, own=True)
    leader.turn()
    before = key.signed
    turn = leader.machine.turn(leader.now())
    assert [type(record) for record in turn.records if not isinstance(record, BodyRecord)]
    assert key.signed == before, "what is not durable is not signed"
    effects = leader.machine.release(turn, leader.now())
    assert Type.BLOCK in [frame.type for frame in effects.frames]
    assert key.signed == before + 2


def test_the_leader_s_records_hold_body_proposal_and_vote() -> None:
    leader = Host(LEADER)
    leader.start()
    block = proposed(leader, payment())
    [body] = [record for record in leader.log if isinstance(record, BodyRecord)]
    assert (body.digest, body.header, body.txs) == (block.digest, block.header, block.txs)
    assert ProposalRecord(0, 0, 1, block.digest) in leader.log
    assert VoteRecord(0, 0, 1, block.digest) in leader.log


def test_a_proposal_carries_two_signatures_that_hold(hosts: list[Host]) -> None:
    block = proposed(hosts[LEADER], payment())
    key = KEYS[LEADER].public_key
    assert verify(key, proposal_bytes(1, block.digest), block.proposal_sig)
    assert verify(key, vote_bytes(1, block.digest), block.vote_sig)


def test_a_follower_prepares_what_it_has_stored(hosts: list[Host]) -> None:
    block = proposed(hosts[LEADER], payment())
    follower = hosts[2]
    follower.machine.gate.check(block)
    follower.machine.receive(LEADER, block)
    turn = follower.machine.turn(follower.now())
    assert {type(record) for record in turn.records} >= {BodyRecord, VoteRecord}
    [prepare] = only(follower.machine.release(turn, follower.now()), Prepare)
    assert isinstance(prepare, Prepare)
    assert prepare.signer == 2
    assert verify(KEYS[2].public_key, vote_bytes(1, block.digest), prepare.sig)


def test_a_node_s_own_vote_comes_back_as_an_input(hosts: list[Host]) -> None:
    """q = 3: two others' prepares and one's own lock; without one's own they would not."""
    leader = hosts[LEADER]
    block = proposed(leader, payment())
    for signer in (1, 2):
        sig = KEYS[signer].sign(vote_bytes(1, block.digest))
        leader.machine.receive(signer, Prepare(0, 0, 1, block.digest, signer, sig))
    effects = leader.turn()
    assert PreparedRecord in {type(record) for record in leader.log}
    [commit] = only(effects, Commit)
    assert isinstance(commit, Commit)
    assert verify(KEYS[LEADER].public_key, commit_bytes(1, block.digest), commit.sig)


def test_inputs_between_the_beats_wait_for_the_next_turn(hosts: list[Host]) -> None:
    leader = hosts[LEADER]
    turn = leader.machine.turn(leader.now())
    leader.machine.submit(payment(), 0, own=True)
    effects = leader.machine.release(turn, leader.now())
    assert effects.frames == ()
    assert leader.machine.has_work


def test_an_idle_machine_has_no_work(hosts: list[Host]) -> None:
    settle(hosts)
    assert not any(host.machine.has_work for host in hosts)


# ---------------------------------------------------------------- four replicas


def test_four_replicas_decide_and_execute_alike(hosts: list[Host]) -> None:
    hosts[2].machine.submit(payment(1), 0, own=True)
    hosts[3].machine.submit(payment(2), 0, own=True)
    settle(hosts)
    for host in hosts:
        assert [c.decision.height for c in host.committed] in ([1], [1, 2])
        assert sum(len(c.decision.txs) for c in host.committed) == 2
        assert len(host.machine.mempool) == 0
    assert len({host.machine.ledger.state_root for host in hosts}) == 1
    assert len({host.machine.engine.status().head for host in hosts}) == 1


def test_the_next_block_carries_the_roots_of_the_one_before(hosts: list[Host]) -> None:
    for nonce in range(3):
        hosts[1].machine.submit(payment(1, nonce), 0, own=True)
        settle(hosts)
    first, second, third = (decode_header(c.decision.header) for c in hosts[0].committed)
    executions = [c.execution for c in hosts[0].committed]
    assert second.parent == first.digest()
    assert second.state_root == executions[0].state_root
    assert third.receipts_root == executions[1].receipts_root
    assert first.time_ms < second.time_ms < third.time_ms, "although the clock stands still"


def test_everybody_replies_to_the_leader_with_the_same_roots(hosts: list[Host]) -> None:
    replies: list[Reply] = []
    hosts[1].machine.submit(payment(), 0, own=True)
    busy = True
    while busy:
        busy = False
        for host in hosts:
            while host.machine.has_work:
                busy = True
                for frame in host.turn().frames:
                    message = decode_message(frame.type, frame.payload)
                    if isinstance(message, Reply):
                        assert frame.to == (LEADER,)
                        replies.append(message)
                        continue
                    for other in hosts:
                        if other is not host and (frame.to == ALL or other.index in frame.to):
                            other.take(host.index, frame)
    assert sorted(reply.signer for reply in replies) == [1, 2, 3]
    for reply in replies:
        hosts[0].machine.gate.check(reply)
        assert reply.state_root == hosts[0].machine.ledger.state_root


def test_a_block_holds_no_more_than_genesis_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = replace(GENESIS.consensus, max_block_txs=3)
    monkeypatch.setattr("tests.node.plant.GENESIS", replace(GENESIS, consensus=rules))
    leader = Host(LEADER)
    leader.start()
    block = proposed(leader, *(payment(1, nonce) for nonce in range(5)))
    assert [decoded(raw).nonce for raw in block.txs] == [0, 1, 2]


# ---------------------------------------------------------------- transactions


def test_a_client_s_transaction_goes_to_the_leader(hosts: list[Host]) -> None:
    raw = payment()
    hosts[2].machine.submit(raw, 0, own=True)
    [frame] = hosts[2].turn().frames
    assert (frame.to, frame.type, frame.payload) == ((LEADER,), Type.TX, encode(Tx(raw)))


def test_gossip_and_what_is_known_are_not_forwarded(hosts: list[Host]) -> None:
    hosts[2].machine.submit(payment(), 0, own=False)
    assert hosts[2].turn().frames == ()
    hosts[2].machine.submit(payment(), 0, own=True)
    assert hosts[2].turn().frames == ()


def test_the_leader_forwards_nothing_to_itself(hosts: list[Host]) -> None:
    hosts[LEADER].machine.submit(payment(), 0, own=True)
    assert only(hosts[LEADER].turn(), Tx) == []


def test_a_lingering_transaction_goes_to_all_and_then_to_the_leader_again(
    hosts: list[Host],
) -> None:
    host = hosts[2]
    host.machine.submit(payment(), 0, own=True)
    host.turn()
    host.machine.housekeeping(BROADCAST_AFTER_MS - 1)
    assert only(host.turn(), Tx) == []
    host.machine.housekeeping(BROADCAST_AFTER_MS)
    [frame] = host.turn().frames
    assert (frame.to, frame.type) == (ALL, Type.TX)
    host.machine.housekeeping(BROADCAST_AFTER_MS + REMIND_AFTER_MS)
    [frame] = host.turn().frames
    assert (frame.to, frame.type) == ((LEADER,), Type.TX)


def test_a_leader_that_is_back_is_told_again_and_nobody_else(hosts: list[Host]) -> None:
    host = hosts[2]
    host.machine.submit(payment(1), 0, own=True)
    host.machine.submit(payment(3), 0, own=False)
    host.turn()
    host.machine.reconnected(1)
    assert not [f for f in host.turn().frames if f.type is Type.TX]
    host.machine.reconnected(LEADER)
    [frame] = [f for f in host.turn().frames if f.type is Type.TX]
    assert (frame.to, frame.payload) == ((LEADER,), encode(Tx(payment(1))))


def test_a_peer_that_connects_sees_its_own_last_words_before_where_we_stand(
    hosts: list[Host],
) -> None:
    host = hosts[2]
    vote = Prepare(0, 0, 1, bytes(32), 3, KEYS[3].sign(vote_bytes(1, bytes(32))))
    host.machine.gate.check(vote)
    host.machine.receive(3, vote)
    host.turn()
    host.machine.reconnected(3)
    frames = host.turn().frames
    assert [f.type for f in frames] == [Type.PREPARE, Type.STATUS]
    assert {f.to for f in frames} == {(3,)}
    assert frames[0].payload == encode(vote)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (payment(chain=bytes(32)), BadSignature),
        (payment(expiry=0), InvalidTransaction),
        (payment(nonce=99), Refused),
        (b"", InvalidTransaction),
    ],
    ids=["signature", "expired", "nonce", "empty"],
)
def test_what_cannot_be_taken_leaves_no_trace(
    hosts: list[Host], raw: bytes, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        hosts[1].machine.submit(raw, 0, own=True)
    assert not hosts[1].machine.has_work
    assert len(hosts[1].machine.mempool) == 0


def test_what_can_never_be_decided_any_more_is_said(hosts: list[Host]) -> None:
    hosts[1].machine.submit(payment(3, 1, expiry=1), 0, own=False)
    hosts[1].machine.submit(payment(1), 0, own=True)
    settle(hosts)
    assert [tx.raw for tx in hosts[1].dropped] == [payment(3, 1, expiry=1)]
    assert hosts[2].dropped == []


# ---------------------------------------------------------------- restarts


@pytest.fixture(scope="module")
def maker() -> Maker:
    made = Maker()
    made.add_typical(3)
    return made


def decision(maker: Maker, height: int) -> Decision:
    block = maker.blocks[height - 1]
    certificate = block.certificate
    return Decision(height, certificate.digest, block.header.encode(), block.txs, certificate)


def log_of(maker: Maker, height: int) -> list[BodyRecord | DecisionRecord]:
    """What a store hands over that has decided so far."""
    block = maker.blocks[height - 1]
    digest = block.header.digest()
    return [block.body, DecisionRecord(height, digest, block.certificate)]


def test_a_restart_executes_what_was_decided_and_hands_it_to_the_store(maker: Maker) -> None:
    """Decided through 3, executed through 1: the power went in between."""
    old = ledger()
    first = maker.blocks[0]
    old.execute(first.header, first.txs)
    machine = Machine(GENESIS, KEYS[2], verify, old)
    host = Host(2)
    turn = machine.start(
        host.now(), log_of(maker, 3), first.header, [decision(maker, h) for h in (2, 3)]
    )
    effects = machine.release(turn, host.now())
    assert [c.execution.height for c in effects.committed] == [2, 3]
    for done in effects.committed:
        expected = maker.blocks[done.execution.height - 1].execution
        assert done.execution.state_root == expected.state_root
        assert done.execution.receipts == expected.receipts
    status = machine.engine.status()
    assert (status.decided, status.head) == (3, maker.blocks[2].header.digest())
    assert machine.ledger.height == 3
    assert machine.release(machine.turn(host.now()), host.now()).committed == (), "once"


def test_a_restarted_leader_builds_on_its_head(maker: Maker) -> None:
    old = Ledger.from_genesis(GENESIS)
    for block in maker.blocks:
        old.execute(block.header, block.txs)
    host = Host(LEADER)
    host.machine = Machine(GENESIS, KEYS[LEADER], verify, old)
    last = maker.blocks[-1].header
    turn = host.machine.start(host.now(), log_of(maker, 3), last, ())
    host.machine.release(turn, host.now())
    host.machine.fire(START)
    host.turn()
    header = decode_header(proposed(host, payment(2, old.nonce(KEYS[2].public_key) or 0)).header)
    assert (header.height, header.parent) == (4, last.digest())
    assert header.time_ms > last.time_ms
    assert header.state_root == old.state_root


def test_a_restart_says_again_what_it_said_and_nothing_else() -> None:
    """The same proposal and vote, byte for byte."""
    leader = Host(LEADER)
    leader.start()
    block = proposed(leader, payment())
    again = Host(LEADER)
    effects = again.start(leader.log)
    assert only(effects, Block) == [block]
    again.machine.submit(payment(2), 0, own=True)
    again.turn()
    assert only(again.turn(), Block) == [], "no second proposal at this height"


def test_a_ledger_that_disagrees_with_the_plant_stops_the_node(maker: Maker) -> None:
    accounts = tuple(replace(a, balance=a.balance + 1) for a in GENESIS.accounts)
    other = Ledger.from_genesis(replace(GENESIS, accounts=accounts))
    machine = Machine(GENESIS, KEYS[2], verify, other)
    with pytest.raises(LocalFault, match=r"height 1: the plant decided roots .* this ledger has"):
        machine.start(Host(2).now(), log_of(maker, 1), None, [decision(maker, 1)])


def test_an_observer_signs_nothing(hosts: list[Host]) -> None:
    key = CountingKey(SigningKey(bytes(32)))
    watcher = Host(9, key)
    watcher.start()
    assert watcher.machine.own is None
    block = proposed(hosts[LEADER], payment())
    watcher.machine.receive(None, block)
    assert [m for m in messages(watcher.turn()) if not isinstance(m, Status)] == []
    assert key.signed == 0


def test_a_flood_of_one_sender_is_dropped_beyond_its_share(hosts: list[Host]) -> None:
    host = hosts[1]
    for _ in range(2 * INBOX_BYTES // TOKEN_BYTES):
        host.machine.receive(3, Status(0, 0, 0, 0))
    host.machine.receive(2, Status(0, 0, 0, 0))
    inputs = host.machine._inbox  # the bound has no other face
    assert len(inputs) == INBOX_BYTES // TOKEN_BYTES + 1


def test_no_statement_is_made_while_a_node_of_the_release_before_is_there() -> None:
    """It could not read the block that carries one."""
    host = Host(0)
    host.start()
    digests = [bytes([byte]) * 32 for byte in (1, 2)]
    signed = [(digest, KEYS[2].sign(vote_bytes(1, digest))) for digest in digests]
    proof = Equivocation(Round.VOTE, 0, 0, 1, 2, *signed[0], *signed[1])
    host.take(1, Frame((0,), Type.EVIDENCE, encode(Evidence(proof))))
    host.turn()
    host.machine.keep_readable(True)
    host.machine.housekeeping(host.ms)
    assert len(host.machine.mempool) == 0
    host.machine.keep_readable(False)
    host.machine.housekeeping(host.ms)
    assert len(host.machine.mempool) == 1


def test_what_the_release_before_cannot_read_is_not_proposed_and_yet_voted_for() -> None:
    """By gossip it reaches a leader that knows of such a node; another leader does not."""
    raw = make_transaction(
        KEYS[1], GENESIS.digest, 0, 1_000, (Configure(0, (SetNumber("max_tx_ops", 7),)),)
    )
    careful = [Host(i) for i in range(N)]
    for host in careful:
        host.start()
    follower = careful[1].machine
    follower.submit(raw, 0, own=False)
    careful[1].turn()
    assert follower.engine.status().stuck_ms is not None
    follower.keep_readable(True)
    careful[1].turn()
    assert follower.engine.status().stuck_ms is None
    for host in (careful[0], *careful[2:]):
        host.machine.submit(raw, 0, own=False)
        host.machine.keep_readable(True)
    settle(careful)
    assert all(not host.committed and not len(host.machine.mempool) for host in careful)
    assert careful[LEADER].machine.engine.status().stuck_ms is None, "nobody waits for it"
    with pytest.raises(Refused, match="release before"):
        careful[LEADER].machine.submit(raw, 0, own=False)
    careful[LEADER].machine.submit(payment(2), 0, own=True)
    settle(careful)
    assert [block.decision.txs for block in careful[1].committed] == [(payment(2),)]
    assert [tx.raw for tx in careful[1].dropped] == [raw]

    hosts = [Host(i) for i in range(N)]
    for host in hosts:
        host.start()
        host.machine.keep_readable(host.index != LEADER)
    hosts[LEADER].machine.submit(raw, 0, own=True)
    settle(hosts)
    for host in hosts:
        assert [block.decision.txs for block in host.committed] == [(raw,)]
    for host in hosts:
        host.machine.keep_readable(False)
        with pytest.raises(Refused, match="replay"):
            host.machine.submit(raw, 0, own=False)
