"""Machines that cross epochs: peer numbers and indices, what comes early, who needs a name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from msgspec.structs import replace

from tests.ledger.council import NODES, plant
from tests.node.plant import Host, settle
from vppd.config.genesis import ConsensusRules, Genesis
from vppd.consensus.boundary import ObserverRecord, Received, Record, ViewRecord
from vppd.consensus.certificate import assemble
from vppd.consensus.messages import (
    Agree,
    Blocks,
    Certificate,
    CertificateKind,
    Prepare,
    Reply,
    Status,
    Tx,
    Type,
)
from vppd.consensus.signing import TAG_COMMIT, TAG_VOTE, sign_bytes
from vppd.crypto import sha256
from vppd.errors import PeerFault
from vppd.ledger.changes import Change, Configure, Remove
from vppd.ledger.proofs import Ready
from vppd.ledger.transaction import Transfer, decode_transaction, make_transaction
from vppd.net.gate import decode_message
from vppd.node.early import EARLY_BYTES, Early
from vppd.types import ZERO_DIGEST

N = 4
PLANT = plant(N, "pbft")
LOST = ObserverRecord("its safety record is gone", ZERO_DIGEST)


class Plant:
    """Machines of one chain, and what their owners send."""

    def __init__(self, genesis: Genesis = PLANT, n: int = N) -> None:
        self.genesis = genesis
        self.hosts = [Host(i, NODES[i], genesis) for i in range(n)]
        self._nonces = [0] * n
        for host in self.hosts:
            host.start()
        settle(self.hosts)

    def submit(self, node: int, op: Configure | Transfer) -> None:
        raw = make_transaction(NODES[node], self.genesis.digest, self._nonces[node], 1_000, (op,))
        self._nonces[node] += 1
        for host in self.hosts:
            host.machine.submit(raw, 0, own=host.index == node)

    def pay(self, node: int = 1) -> None:
        """One more block."""
        self.submit(node, Transfer(NODES[0].public_key, 1))
        settle(self.hosts)

    def change(self, *changes: Change, by: Sequence[int] = (0, 1)) -> None:
        """F + 1 members agree, in one block or two, and no further one follows by itself.

        The leader makes the block that a decided change waits for when it is due, at the time of
        the block before: clocks stand still here, so after another block that lies ahead.
        """
        self.pay()
        epoch = self.hosts[0].machine.ledger.eras[-1].epoch
        for node in by:
            self.submit(node, Configure(epoch, changes))
        settle(self.hosts)

    @property
    def heights(self) -> list[int]:
        return [host.machine.ledger.height for host in self.hosts]

    @property
    def epochs(self) -> list[int]:
        return [host.machine.term.epoch for host in self.hosts]


def vote(node: int, epoch: int, height: int, signer: int, genesis: Genesis = PLANT) -> Prepare:
    """A first-round vote of a node, by its index in that epoch."""
    digest = sha256(b"a block")
    sig = NODES[node].sign(sign_bytes(TAG_VOTE, genesis.digest, epoch, 0, height, digest))
    return Prepare(epoch, 0, height, digest, signer, sig)


# ---------------------------------------------------------------- numbers and indices


def test_an_epoch_begins_two_heights_after_its_decision_on_every_machine() -> None:
    made = Plant()
    made.change(Remove(NODES[2].public_key))
    decided = made.heights[0]
    assert made.epochs == [0] * N
    era = made.hosts[0].machine.ledger.eras[-1]
    assert era.first == made.hosts[0].committed[-1].execution.height + 2 == decided + 2
    made.pay()
    assert set(made.heights) == {era.first - 1}
    assert made.epochs == [1] * N, "in force from the next height on"
    made.pay()
    made.pay()
    assert set(made.heights) == {era.first + 1}, "the removed one follows"
    assert [host.machine.own for host in made.hosts] == [0, 1, None, 2]
    assert [host.machine.engine.status().voting for host in made.hosts] == [True, True, False, True]


def test_frames_go_to_peer_numbers_whatever_the_index() -> None:
    made = Plant()
    made.change(Remove(NODES[0].public_key), by=(1, 2))
    made.pay()
    assert made.epochs == [1] * N
    made.submit(1, Transfer(NODES[0].public_key, 1))
    hosts, replies = made.hosts, []
    while any(host.machine.has_work for host in hosts):
        for host in hosts:
            for frame in host.turn().frames if host.machine.has_work else ():
                if frame.type is Type.REPLY:
                    replies.append((host.index, frame.to))
                for other in hosts:
                    if other is not host and (frame.to == "all" or other.index in frame.to):
                        other.take(host.index, frame)
    assert sorted(replies) == [(2, (1,)), (3, (1,))], "node 1 leads, as index 0"


def test_what_comes_with_the_end_of_an_epoch_is_of_the_next_one() -> None:
    """After the switch its sender has another index: the batch is cut there."""
    made = Plant()
    made.change(Remove(NODES[2].public_key))
    host = made.hosts[0]
    made.submit(1, Transfer(NODES[0].public_key, 1))
    while host.machine.ledger.height < made.hosts[0].machine.ledger.eras[-1].first - 1:
        for other in made.hosts:
            if other.machine.has_work:
                for frame in other.turn().frames:
                    for to in made.hosts:
                        if to is not other and (frame.to == "all" or to.index in frame.to):
                            to.take(other.index, frame)
    machine = host.machine
    assert machine.term.epoch == 0, "executed, not entered"
    machine.receive(3, Status(1, machine.ledger.height, 0, 0))
    while machine.term.epoch == 0:
        host.turn()
    host.turn()
    assert 2 in machine.engine._catchup.peers, "node 3 is index 2 now"  # type: ignore[attr-defined]


def test_an_index_is_looked_up_in_the_epoch_that_a_message_names() -> None:
    made = Plant()
    made.change(Remove(NODES[2].public_key))
    machine = made.hosts[0].machine
    assert [machine.index_in(0, i) for i in range(N)] == [0, 1, 2, 3]
    assert [machine.index_in(1, i) for i in range(N)] == [0, 1, None, 2]
    assert machine.index_in(2, 0) is None
    assert machine.index_in(0, None) is None


# ---------------------------------------------------------------- what comes early


def test_messages_of_a_later_epoch_wait_for_it() -> None:
    """Those of the one after next wait on: in the next one their signer is another replica."""
    early = Early()
    for epoch in (1, 2, 1):
        early.keep(epoch, Received(epoch, Status(epoch, 0, 0, 0)), 100)
    assert [item.sender for item in early.enter(1)] == [1, 1]
    assert early.enter(1) == []
    assert [item.sender for item in early.enter(2)] == [2]


def test_nobody_takes_the_room_of_others() -> None:
    early = Early()
    status = Status(1, 0, 0, 0)
    for _ in range(5):
        early.keep(1, Received(3, status), EARLY_BYTES // 4)
    assert not early.has_room(3)
    assert early.has_room(2)
    early.keep(1, Received(2, status), EARLY_BYTES)
    early.keep(2, Received(3, status), 1)
    assert len(early.enter(1)) == 5, "four of the one, one of the other"
    assert early.has_room(3), "its share is free again"
    assert early.enter(2) == []


def test_an_epoch_passed_over_leaves_nothing_behind() -> None:
    early = Early()
    early.keep(1, Received(3, Status(1, 0, 0, 0)), EARLY_BYTES)
    assert early.enter(2) == []
    assert early.has_room(3)


def test_early_votes_count_as_soon_as_their_epoch_begins() -> None:
    made = Plant()
    made.change(Remove(NODES[2].public_key))
    host = made.hosts[0]
    machine = host.machine
    first = machine.ledger.eras[-1].first
    said = vote(3, 1, first, 2)
    assert machine.wants(3, said), "it knows the epoch, and will be in it"
    machine.gate.check(said)
    machine.receive(3, said)
    settle(made.hosts)
    assert machine.term.epoch == 0
    made.pay()
    assert machine.term.epoch == 1
    assert said in machine.engine.last_words(machine.validators.members[2].key)
    assert machine.engine.status().observer == ""


def test_a_message_of_an_epoch_that_is_not_known_is_not_wanted_and_convicts_nobody() -> None:
    machine = Plant().hosts[0].machine
    assert not machine.wants(3, vote(3, 1, 5, 3))


def test_an_old_message_that_was_checked_meanwhile_counts_for_nothing() -> None:
    """Wanted and verified in one epoch, taken in the next, where the index is this node's own."""
    made = Plant()
    made.change(Remove(NODES[2].public_key))
    host = made.hosts[3]
    machine = host.machine
    stray = vote(2, 0, machine.ledger.height + 2, 2)
    assert machine.wants(2, stray)
    machine.gate.check(stray)
    made.pay()
    assert (machine.term.epoch, machine.own) == (1, 2)
    machine.receive(2, stray)
    settle(made.hosts)
    assert machine.engine.status().observer == ""
    assert stray not in machine.engine.last_words(machine.key)


def test_a_peer_that_has_no_blocks_may_say_so() -> None:
    made = Plant()
    made.hosts[0].machine.receive(1, Blocks(()))
    settle(made.hosts)
    made.pay()
    assert set(made.heights) == {1}


# ---------------------------------------------------------------- restart


def test_a_restart_before_the_switch_begins_in_the_new_epoch() -> None:
    made = Plant()
    made.change(Remove(NODES[2].public_key))
    made.pay()
    host = made.hosts[1]
    era = host.machine.ledger.eras[-1]
    decisions = [block.decision for block in host.committed]
    assert decisions[-1].height == era.first - 1
    until = next(i for i, r in enumerate(host.log) if r == ViewRecord(1, 0, 0))
    again = Host(1, NODES[1], PLANT)
    turn = again.machine.start(again.now(), host.log[:until], None, decisions)
    assert again.machine.term.epoch == 1
    assert ViewRecord(1, 0, 0) in turn.records
    effects = again.machine.release(turn, again.now())
    statuses = [decode_message(f.type, f.payload) for f in effects.frames]
    assert Status(1, era.first - 1, 0, 0) in statuses
    assert not [s for s in statuses if isinstance(s, Reply)], "of an epoch that is over"


# ---------------------------------------------------------------- names


def elections(delegates: int) -> Genesis:
    rules = ConsensusRules().dpos
    return plant(N, "dpos", dpos=replace(rules, delegates=delegates), epoch_blocks=8)


def statements(host: Host) -> Iterable[Ready]:
    """Of readiness, that its housekeeping sends."""
    host.machine.housekeeping(0)
    for frame in host.turn().frames if host.machine.has_work else ():
        message = decode_message(frame.type, frame.payload)
        if isinstance(message, Tx):
            yield from (op for op in decode_transaction(message.raw).ops if isinstance(op, Ready))


def started(node: int, genesis: Genesis, log: Sequence[Record] = ()) -> Host:
    host = Host(node, NODES[node], genesis)
    host.start(log)
    return host


@pytest.mark.parametrize("node", [0, 3], ids=["producer", "candidate"])
def test_a_candidate_of_sound_memory_is_ready_under_the_name_it_has(node: int) -> None:
    """With a nonce that its candidacy does not name no election could ever choose it."""
    made = elections(2)
    host = started(node, made)
    assert (host.machine.own is None) == (node == 3)
    assert not host.machine.nameless
    host.turn()
    settle([host])
    (ready,) = statements_after_one_block(made, node)
    assert ready.nonce == ZERO_DIGEST


def statements_after_one_block(genesis: Genesis, node: int) -> list[Ready]:
    """What it says once a block is executed, whose height it may name."""
    made = Plant(genesis)
    made.pay()
    assert set(made.heights) == {1}
    return list(statements(made.hosts[node]))


def test_one_that_lost_its_memory_is_not_ready_until_it_is_named() -> None:
    genesis = elections(2)
    made = Plant(genesis)
    made.pay()
    node = made.hosts[3]
    again = Host(3, NODES[3], genesis)
    decisions = [block.decision for block in node.committed]
    log = [*node.log, LOST]
    turn = again.machine.start(again.now(), log, None, decisions)
    again.machine.release(turn, again.now())
    assert again.machine.nameless
    assert list(statements(again)) == []
    again.machine.draw(sha256(b"drawn"))
    again.turn()
    assert not again.machine.nameless
    assert list(statements(again)) == [], "its candidacy names another memory"


def test_a_member_needs_no_name_until_it_is_removed() -> None:
    made = Plant()
    machine = made.hosts[2].machine
    assert not machine.nameless
    made.change(Remove(NODES[2].public_key))
    made.pay()
    assert machine.nameless, "without one it cannot be added again"
    assert machine.ready() is None
    machine.draw(sha256(b"drawn"))
    settle(made.hosts)
    assert not machine.nameless
    said = machine.ready()
    assert said is not None
    assert said.nonce == sha256(b"drawn")


def test_a_stranger_needs_a_name() -> None:
    host = started(5, PLANT)
    assert host.machine.nameless
    host.machine.draw(sha256(b"drawn"))
    host.turn()
    assert not host.machine.nameless
    assert host.machine.ready() is not None


# ---------------------------------------------------------------- the gate


def certificate(genesis: Genesis, epoch: int, height: int, signers: Sequence[int]) -> Certificate:
    """Commits of nodes by their index in that epoch, who are all of the founders."""
    digest = sha256(b"a block")
    signed = sign_bytes(TAG_COMMIT, genesis.digest, epoch, 0, height, digest)
    votes = {i: NODES[node].sign(signed) for i, node in enumerate(signers)}
    at = (epoch, 0, height, digest)
    return assemble(CertificateKind.COMMIT, *at, votes, len(signers), len(votes))


def test_each_height_takes_the_certificates_of_its_own_epoch_alone() -> None:
    made = Plant()
    made.change(Remove(NODES[2].public_key))
    gate, era = made.hosts[0].machine.gate, made.hosts[0].machine.ledger.eras[-1]
    old, new = (0, 1, 2), (0, 1, 3)
    four = certificate(PLANT, 0, era.first - 1, (0, 1, 2, 3))
    short = replace(four, signatures=four.signatures[:3], signers=b"\x07")
    gate.check(Agree(short))
    late = certificate(PLANT, 0, era.first, (0, 1, 2, 3))
    late = replace(late, signatures=late.signatures[:3], signers=b"\x07")
    with pytest.raises(PeerFault, match="is not in epoch 0"):
        gate.check(Agree(late))
    with pytest.raises(PeerFault, match="is not in epoch 1"):
        gate.check(Agree(certificate(PLANT, 1, era.first - 1, new)))
    two = certificate(PLANT, 1, era.first, new)
    gate.check(Agree(replace(two, signatures=two.signatures[:2], signers=b"\x03")))
    stolen = certificate(PLANT, 1, era.first, (old[2], old[0], old[1]))
    with pytest.raises(PeerFault, match="does not hold"):
        gate.check(Agree(replace(stolen, signatures=stolen.signatures[:2], signers=b"\x03")))


def test_a_decided_change_waits_for_nothing_but_one_more_block() -> None:
    made = Plant()
    for node in (0, 1):
        made.submit(node, Configure(0, (Remove(NODES[2].public_key),)))
    settle(made.hosts)
    assert made.epochs == [1] * N, "and nobody has paid for a block in between"
    first = made.hosts[0].machine.ledger.eras[-1].first
    assert made.heights == [first - 1] * N
