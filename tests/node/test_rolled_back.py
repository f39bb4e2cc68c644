"""A disk from before a change of epoch, put back: its node is told before it votes again (§4).

The others are in a later epoch by then, and a liar shows blocks one by one. Real machines, gates
and signatures; what travels is handed over by hand. Node 1 forgets, node 0 lies.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from tests.ledger.council import NODES
from tests.node.plant import Host, settle
from tests.node.test_machine_epochs import PLANT, Plant
from vppd.codec import encode
from vppd.consensus.boundary import Decision, Record, Timer, TimerKind
from vppd.consensus.messages import (
    TYPE_OF,
    Agree,
    Block,
    Blocks,
    ConsensusMessage,
    DecidedBlock,
    Prepare,
    Status,
    Type,
)
from vppd.consensus.signing import TAG_PROPOSAL, TAG_VOTE, sign_bytes
from vppd.header import decode_header
from vppd.ledger.changes import Change, Configure, Remove, SetNumber
from vppd.ledger.transaction import Op, Transfer, make_transaction
from vppd.net.gate import decode_message
from vppd.node.beats import Frame


class Parted:
    """A plant that goes on without node 1 after its first block."""

    def __init__(self) -> None:
        self._plant = Plant()
        self._plant.pay()
        self.victim = self._plant.hosts[1]
        self.others = [host for host in self._plant.hosts if host.index != 1]
        self._image: list[Record] = list(self.victim.log)
        self._executed: list[Decision] = [c.decision for c in self.victim.committed]
        self._nonces = {0: 0, 1: 1, 2: 0, 3: 0}

    @property
    def height(self) -> int:
        return self.others[0].machine.ledger.height

    def submit(self, node: int, op: Op) -> None:
        raw = make_transaction(NODES[node], PLANT.digest, self._nonces[node], 1_000, (op,))
        self._nonces[node] += 1
        for host in self.others:
            host.machine.submit(raw, 0, own=host.index == node)

    def pay(self) -> None:
        self.submit(2, Transfer(NODES[0].public_key, 1))
        settle(self.others)

    def change(self, change: Change) -> None:
        """The others decide on it, and enter the epoch it begins."""
        self.pay()
        machine = self.others[0].machine
        epoch = machine.ledger.eras[-1].epoch
        for node in (0, 2):
            self.submit(node, Configure(epoch, (change,)))
        settle(self.others)
        while machine.ledger.height < machine.ledger.eras[-1].first - 1:
            self.pay()
        assert {host.machine.term.epoch for host in self.others} == {epoch + 1}

    def blocks(self, first: int, last: int) -> Blocks:
        return Blocks(
            tuple(
                DecidedBlock(c.decision.header, c.decision.txs, c.decision.certificate)
                for c in self.others[0].committed
                if first <= c.decision.height <= last
            )
        )

    def vote_in_the_epoch(self, *, decided: bool) -> tuple[Block, Prepare]:
        """The victim follows the others into their epoch, and gives a vote there."""
        feed(self.victim, 0, self.blocks(2, self.height))
        turns(self.victim)
        epoch = self.victim.machine.term.epoch
        self.victim.machine.fire(Timer(TimerKind.START, epoch))
        turns(self.victim)
        self.submit(2, Transfer(NODES[0].public_key, 5))
        frames = turns(self.others[0])
        made = next(m for m in messages(frames) if isinstance(m, Block))
        feed(self.victim, 0, made)
        (vote,) = votes(turns(self.victim), epoch)
        for host in self.others[1:]:
            feed(host, 1, vote)
            if decided:
                feed(host, 0, made)
                for frame in frames:
                    host.take(0, frame)
        settle(self.others) if decided else [turns(host) for host in self.others]
        return made, vote

    def put_back(self) -> Host:
        """The victim on its old disk; each other has greeted it."""
        again = Host(1, NODES[1], PLANT)
        turn = again.machine.start(again.now(), self._image, None, self._executed)
        again.machine.release(turn, again.now())
        turns(again)
        for host in self.others:
            for frame in host.machine.greeting(1):
                again.take(host.index, frame)
        turns(again)
        return again


def turns(host: Host) -> list[Frame]:
    said: list[Frame] = []
    while host.machine.has_work:
        said += host.turn().frames
    return said


def messages(frames: Sequence[Frame]) -> list[object]:
    return [decode_message(frame.type, frame.payload) for frame in frames]


def votes(frames: Sequence[Frame], epoch: int) -> list[Prepare]:
    return [m for m in messages(frames) if isinstance(m, Prepare) and m.epoch == epoch]


def feed(host: Host, sender: int, message: ConsensusMessage) -> None:
    host.take(sender, Frame((host.index,), TYPE_OF[type(message)], encode(message)))


def another(block: Block) -> Block:
    """What the liar proposes in place of its own block."""
    header = decode_header(block.header)
    header = header._replace(time_ms=header.time_ms + 1)
    at, digest = (block.epoch, block.view, block.height), header.digest()
    proposal, vote = (
        NODES[0].sign(sign_bytes(tag, PLANT.digest, *at, digest))
        for tag in (TAG_PROPOSAL, TAG_VOTE)
    )
    return replace(
        block, header=header.encode(), digest=digest, proposal_sig=proposal, vote_sig=vote
    )


def test_who_is_a_member_no_more_is_told_what_it_signed_while_it_was() -> None:
    parted = Parted()
    parted.submit(2, Transfer(NODES[0].public_key, 5))
    frames = turns(parted.others[0])
    feed(parted.victim, 0, next(m for m in messages(frames) if isinstance(m, Block)))
    (vote,) = votes(turns(parted.victim), 0)
    for host in parted.others:
        feed(host, 1, vote)
    for host in parted.others[1:]:
        for frame in frames:
            host.take(0, frame)
    settle(parted.others)
    parted.change(Remove(NODES[1].public_key))
    again = parted.put_back()
    assert "record is older" in again.machine.engine.status().observer
    for host in parted.others:
        words = [decode_message(*word) for word in host.machine.words(NODES[1].public_key)]
        assert vote in words


def test_who_passes_through_an_epoch_is_told_what_it_signed_there() -> None:
    """The others are two epochs ahead; what they show at first is of one it does not know."""
    parted = Parted()
    parted.change(SetNumber("max_block_txs", 77))
    entered = parted.height
    made, vote = parted.vote_in_the_epoch(decided=True)
    parted.change(SetNumber("max_block_txs", 78))
    again = parted.put_back()
    feed(again, 0, parted.blocks(2, entered))
    answers = turns(again)
    for host in parted.others:
        for message in messages(answers):
            if isinstance(message, Status):
                feed(host, 1, message)
        for frame in turns(host):
            if (frame.to == "all" or 1 in frame.to) and frame.type is not TYPE_OF[Agree]:
                again.take(host.index, frame)
    turns(again)
    again.machine.fire(Timer(TimerKind.START, 1))
    turns(again)
    assert "record is older" in again.machine.engine.status().observer
    feed(again, 0, another(made))
    assert [v.digest for v in votes(turns(again), 1)] in ([], [vote.digest])


def test_what_is_shown_before_its_epoch_is_known_is_heard_before_any_status() -> None:
    """A tick that was on its way, and the liar's word, end the wait for statuses at once."""
    parted = Parted()
    parted.change(SetNumber("max_block_txs", 77))
    entered = parted.height
    made, vote = parted.vote_in_the_epoch(decided=False)
    again = parted.put_back()
    feed(again, 0, parted.blocks(2, entered))
    turns(again)
    honest = parted.others[1]
    honest.machine.fire(Timer(TimerKind.TICK))
    for frame in turns(honest):
        if frame.type is Type.STATUS:
            again.take(honest.index, frame)
    feed(again, 0, Status(1, entered, 0, 0))
    turns(again)
    assert "record is older" in again.machine.engine.status().observer
    feed(again, 0, another(made))
    assert [v.digest for v in votes(turns(again), 1)] in ([], [vote.digest])


def test_of_an_unknown_epoch_six_words_of_each_sender_are_kept() -> None:
    parted = Parted()
    parted.change(SetNumber("max_block_txs", 77))
    entered = parted.height
    _, vote = parted.vote_in_the_epoch(decided=False)
    again = parted.put_back()
    fresh = Host(1, NODES[1], PLANT)
    fresh.start()
    noise = [replace(vote, height=vote.height + 1 + i) for i in range(6)]
    for message in (*noise, vote):
        feed(fresh, 0, message)
    feed(fresh, 2, vote)
    for host in (fresh, again):
        feed(host, 0, parted.blocks(host.machine.ledger.height + 1, entered))
        turns(host)
    assert "record is older" in fresh.machine.engine.status().observer, "another's words are heard"
