"""Engine dpos in the ledger: scores, votes, elections, and punishment only with proof."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.ledger.chain import (
    OPENING,
    SLOT_MS,
    Chain,
    bid,
    events,
    genesis,
    offer,
    reading,
    start_of,
)
from tests.ledger.council import NODES, Council, Crimes, plant
from vppd.config.billing import CreditRules
from vppd.config.founding import founding_era
from vppd.config.genesis import DposRules, Genesis, MeterEntry, Ranking
from vppd.consensus.messages import Standing
from vppd.consensus.profile import founding_validators
from vppd.crypto import SigningKey, key_text, sha256
from vppd.ledger.changes import Move, Remove, SetEngine, SetNumber
from vppd.ledger.codes import ErrorCode, Status
from vppd.ledger.events import EraScheduled, Punished, ReadyNoted, Voted
from vppd.ledger.grades import may_be_elected
from vppd.ledger.producers import standings
from vppd.ledger.proofs import Accuse, Ready, Skip, signed_part
from vppd.ledger.records import StandingRecord
from vppd.ledger.state import CANDIDATE, DELIVERY, PUNISHMENT, READINESS, STANDING, VOTES, State
from vppd.ledger.transaction import Vote, decode_transaction, make_statement
from vppd.types import ZERO_DIGEST

BLOCKS = 8
"""Heights between elections; the state after 7, 15, 23 … decides."""
METERS = tuple(SigningKey(sha256(b"meter %d" % i)) for i in range(6))


def key(i: int) -> bytes:
    return NODES[i].public_key


def dpos(n: int = 6, delegates: int = 4, ranking: Ranking = "composite", **more: Any) -> Genesis:
    rules = DposRules(delegates=delegates, ranking=ranking)
    return plant(n, "dpos", dpos=rules, epoch_blocks=BLOCKS, **more)


class Republic(Council):
    """Candidates that say they are there."""

    def all_ready(self, *nodes: int) -> None:
        """One block in which these candidates, or all, are ready."""
        chosen = nodes or range(len(self.genesis.validators))
        for receipt in self.say(*(self.here(NODES[i]) for i in chosen))[1:]:
            assert receipt.status == Status.OK, ErrorCode(receipt.code)

    def here(self, node: SigningKey, **fields: Any) -> Ready:
        """Ready under the nonce the candidate is listed with."""
        era = self.ledger.era_at(self.ledger.height + 1)
        candidates = {c["key"]: c for c in self.ledger.validators_view()["candidates"]}
        listed = candidates.get(key_text(node.public_key))
        nonce = bytes.fromhex(listed["nonce"]) if listed else ZERO_DIGEST
        said: dict[str, Any] = {"epoch": era.epoch, "nonce": nonce}
        return self.ready(node, **(said | fields))

    def to_election(self) -> list[bytes]:
        """Empty blocks up to and with the one that elects; who is elected, in order."""
        while True:
            receipts = self.pack()
            if (self.ledger.height + 1) % BLOCKS == 0:
                (scheduled,) = events(receipts[0], EraScheduled)
                assert scheduled.era == self.latest
                return self.members()

    def favour(self, i: int) -> None:
        """All accounts vote for this candidate: it is elected first, if it may be."""
        voters = range(len(self.genesis.validators))
        self.pack(*(self.tx(NODES[n], Vote((key(i),))) for n in voters))

    def sitting(self) -> list[SigningKey]:
        """Keys of the latest era's members, in order."""
        by_key = {node.public_key: node for node in NODES}
        return [by_key[k] for k in self.members()]

    def state(self) -> State:
        return State.load(self.ledger.entries())


# -- the founding era, and other engines


def test_the_first_of_the_list_produce_and_all_are_candidates() -> None:
    council = Republic(dpos(6, 4))
    assert council.members() == [key(i) for i in range(4)]
    assert {k for k, _ in council.state().scan(CANDIDATE)} == {key(i) for i in range(6)}
    assert founding_validators(council.genesis).quorum.n == 4
    assert len(founding_era(dpos(3, 4)).members) == 3


@pytest.mark.parametrize("engine", ["bncm", "pbft"])
def test_other_engines_know_nothing_of_it(engine: str) -> None:
    council = Republic(plant(4, engine, epoch_blocks=4))
    vote = council.pack(council.tx(NODES[0], Vote((key(1),))))[1]
    assert vote.code == ErrorCode.NOT_DPOS
    assert council.unheard(council.here(NODES[0])) is ErrorCode.NOT_DPOS
    skip = Crimes(council).skip(1, 1, NODES[:3])
    assert council.unheard(skip) is ErrorCode.NOT_DPOS
    council.idle(12)
    assert council.latest.epoch == 0
    assert {k[0] for k, _ in council.ledger.entries()} == {1, 8}
    assert council.ledger.validators_view()["next_election_height"] is None


# -- elections


def test_the_state_after_the_last_height_but_one_elects() -> None:
    council = Republic(dpos())
    council.all_ready()
    council.to_election()
    era = council.latest
    assert (council.ledger.height, era.epoch, era.first) == (BLOCKS - 1, 1, BLOCKS + 1)
    council.all_ready()
    council.to_election()
    assert (council.latest.epoch, council.latest.first) == (2, 2 * BLOCKS + 1)


def test_all_equal_the_lowest_keys_produce() -> None:
    council = Republic(dpos())
    council.all_ready()
    assert council.to_election() == sorted(key(i) for i in range(6))[:4]


def test_votes_weigh_and_ties_go_by_key() -> None:
    council = Republic(dpos())
    lowest = sorted(key(i) for i in range(6))
    council.all_ready()
    council.pack(*(council.tx(NODES[i], Vote((lowest[5], lowest[4]))) for i in range(6)))
    assert council.to_election() == [lowest[4], lowest[5], lowest[0], lowest[1]]


def test_who_is_not_ready_is_not_elected_while_enough_others_are() -> None:
    council = Republic(dpos(6, 4))
    council.all_ready(2, 3, 4, 5)
    assert sorted(council.to_election()) == sorted(key(i) for i in (2, 3, 4, 5))


def test_too_few_ready_and_the_current_set_stays_whole() -> None:
    council = Republic(dpos(6, 4))
    council.all_ready(4, 5)
    assert council.to_election() == [key(i) for i in range(4)]
    assert council.latest.epoch == 1


def test_everybody_says_again_in_each_period_that_it_is_there() -> None:
    council = Republic(dpos(6, 4))
    council.all_ready(2, 3, 4, 5)
    elected = council.to_election()
    assert list(council.state().scan(READINESS)) == []
    council.idle(2)
    assert council.to_election() == elected


def test_ready_counts_once_under_its_own_nonce_and_epoch() -> None:
    council = Republic(dpos())
    receipt = council.said(council.here(NODES[5]))
    assert events(receipt, ReadyNoted) == [ReadyNoted(key(5), 0)]
    assert council.unheard(council.here(NODES[5])) is ErrorCode.NOTHING_CHANGES
    stranger, node = NODES[11], NODES[4]
    assert council.unheard(council.here(stranger)) is ErrorCode.NOT_A_CANDIDATE
    assert council.unheard(council.here(node, epoch=1)) is ErrorCode.UNKNOWN_EPOCH
    assert council.unheard(council.here(node, nonce=sha256(b"lost"))) is ErrorCode.NO_PROOF
    future = council.ledger.height + 1
    assert council.unheard(council.here(node, height=future)) is ErrorCode.NO_PROOF
    unsigned = replace(council.here(node), sig=bytes(64))
    assert council.unheard(unsigned) is ErrorCode.NO_PROOF


def test_a_change_starts_an_epoch_and_moves_no_election() -> None:
    council = Republic(dpos())
    council.all_ready()
    council.decide(SetNumber("max_tx_ops", 7))
    era = council.latest
    assert (era.epoch, era.members) == (1, founding_era(council.genesis).members)
    assert council.to_election() == sorted(key(i) for i in range(6))[:4]
    assert (council.latest.epoch, council.latest.first) == (2, BLOCKS + 1)
    assert council.latest.rules == (("max_tx_ops", 7),)


def test_a_change_in_the_electing_block_makes_one_era_with_it() -> None:
    council = Republic(dpos())
    council.all_ready()
    council.idle(BLOCKS - 3)
    era = council.decide(SetNumber("delegates", 3))
    assert (era.epoch, era.first) == (1, BLOCKS + 1)
    assert [m.key for m in era.members] == sorted(key(i) for i in range(6))[:3]
    assert era.rules == (("delegates", 3),)


def test_the_view_says_when_the_next_election_is() -> None:
    council = Republic(dpos())
    said = []
    for _ in range(2 * BLOCKS):
        said.append(council.ledger.validators_view()["next_election_height"])
        council.pack()
    assert said == [7] * 7 + [15] * 8 + [23]


def test_a_ledger_loaded_at_any_height_elects_the_same() -> None:
    council = Republic(dpos())
    for height in range(3 * BLOCKS):
        twin = council.reloaded()
        if height % BLOCKS == 3:
            council.all_ready()
        else:
            council.pack(council.tx(NODES[height % 6], Vote((key((height * 5) % 6),))))
        twin.execute(*council.blocks[-1])
        assert twin.state_root == council.ledger.state_root
        assert twin.receipts_root == council.ledger.receipts_root
        assert twin.eras == council.ledger.eras


# -- votes


def test_an_account_votes_for_candidates_and_takes_it_back() -> None:
    council = Republic(dpos(6, 4))
    receipt = council.pack(council.tx(NODES[0], Vote((key(5), key(4)))))[1]
    assert events(receipt, Voted) == [Voted(key(0), (key(5), key(4)))]
    assert [v.targets for _, v in council.state().scan(VOTES)] == [(key(5), key(4))]
    for targets, code in (
        ((key(5), key(4)), ErrorCode.NOTHING_CHANGES),
        ((key(5), key(5)), ErrorCode.TOO_MANY_TARGETS),
        (tuple(key(i) for i in range(5)), ErrorCode.TOO_MANY_TARGETS),
        ((NODES[11].public_key,), ErrorCode.NOT_A_CANDIDATE),
    ):
        assert council.pack(council.tx(NODES[0], Vote(targets)))[1].code == code
    assert council.pack(council.tx(NODES[0], Vote(())))[1].status == Status.OK
    assert list(council.state().scan(VOTES)) == []


def test_votes_for_who_left_count_as_none() -> None:
    council = Republic(dpos())
    council.pack(
        council.tx(NODES[0], Vote((key(5),))), council.tx(NODES[1], Vote((key(5), key(4))))
    )
    council.decide(Remove(key(5)))
    targets = {s.key: s.target for s in standings(council.state())}
    assert targets[key(0)] == ()
    assert targets[key(1)] == (key(4),)


# -- what was delivered


class Trading(Chain):
    """Two traders with meters on engine dpos; each slot one contract of 1,000 Wh."""

    def __init__(self, ranking: Ranking = "composite") -> None:
        base = dpos(4, 2, ranking)
        meters = tuple(MeterEntry(key=METERS[i].public_key, account=f"node-{i}") for i in range(2))
        super().__init__(replace_genesis(base, meters))

    def slot(self, slot: int, sold_wh: int, used_wh: int | None) -> None:
        """Node 0 sells 1,000 Wh and exports ``sold_wh``; node 1 imports ``used_wh`` or is mute."""
        self.ok(start_of(slot) - 20_000, NODES[0], offer(slot, 1_000, 400_000))
        self.ok(start_of(slot) - 19_000, NODES[1], bid(slot, 1_000, 400_000))
        self.exported = getattr(self, "exported", 0) + sold_wh
        txs = [self.tx(METERS[0], reading(slot, 0, self.exported))]
        if used_wh is not None:
            txs.append(self.tx(METERS[1], reading(slot, used_wh)))
        self.block(start_of(slot) + SLOT_MS, *txs)
        self.block(start_of(slot) + SLOT_MS + 5_000)

    def here(self, i: int) -> Ready:
        at = (0, self.ledger.height, self.ledger.state_root, ZERO_DIGEST)
        ready = Ready(key(i), *at, bytes(64))
        return replace(ready, sig=NODES[i].sign(signed_part(ready, self.genesis.digest)))

    def delivery(self, i: int) -> tuple[int, int, int] | None:
        found = State.load(self.ledger.entries()).get(DELIVERY, key(i))
        return None if found is None else (found.pre_wh, found.real_wh, found.energy_wh)


def replace_genesis(base: Genesis, meters: tuple[MeterEntry, ...]) -> Genesis:
    return genesis(
        digest=base.digest, consensus=base.consensus, validators=base.validators,
        accounts=base.accounts, meters=meters,
    )  # fmt: skip


def test_settling_a_slot_keeps_what_was_contracted_and_delivered() -> None:
    chain = Trading()
    chain.slot(0, 900, 1_100)
    assert chain.delivery(0) == (1_000, 900, 900)
    assert chain.delivery(1) == (1_000, 1_100, 1_100)
    assert chain.delivery(2) is None


def test_what_no_meter_proves_was_not_delivered() -> None:
    chain = Trading()
    chain.slot(0, 1_000, None)
    assert chain.delivery(0) == (1_000, 1_000, 1_000)
    assert chain.delivery(1) == (1_000, 0, 1_000)
    chain.ok(start_of(1) + 5_001, METERS[1], reading(0, 1_000))
    assert chain.delivery(1) == (1_000, 1_000, 1_000)


def test_energy_against_the_contract_is_no_delivery() -> None:
    chain = Trading()
    chain.ok(start_of(0) - 20_000, NODES[1], offer(0, 1_000, 400_000))
    chain.ok(start_of(0) - 19_000, NODES[0], bid(0, 1_000, 400_000))
    chain.block(start_of(1), chain.tx(METERS[0], reading(0, 0, 500)))
    chain.block(start_of(1) + 5_000)
    assert chain.delivery(0) == (1_000, 0, 500)


def test_without_a_contract_everything_is_a_deviation() -> None:
    chain = Trading()
    chain.block(start_of(1), chain.tx(METERS[0], reading(0, 300, 200)))
    chain.block(start_of(1) + 5_000)
    assert chain.delivery(0) == (0, 100, 500)


def test_only_the_latest_slot_counts() -> None:
    chain = Trading()
    chain.slot(0, 900, None)
    chain.slot(1, 1_000, None)
    chain.ok(start_of(2) + 5_001, METERS[0], reading(0, 0, 800))
    assert chain.delivery(0) is not None
    (record,) = [d for k, d in State.load(chain.ledger.entries()).scan(DELIVERY) if k == key(0)]
    assert record.slot == 1


def test_scores_follow_what_was_delivered() -> None:
    chain = Trading()
    chain.slot(0, 500, 1_000)
    shown = {c["name"]: c for c in chain.ledger.validators_view()["candidates"]}
    # α = 0.7; energies are 500, 1,000 and twice nothing.
    assert shown["node-0"]["score_ppm"] == 700_000 * 500_000 // 10**6 + 300_000 * 500_000 // 10**6
    assert shown["node-1"]["score_ppm"] == 1_000_000
    assert shown["node-2"]["score_ppm"] == 700_000
    assert chain.balance(NODES[2]) == OPENING


@pytest.mark.parametrize("ranking", ["composite", "largest-producer"])
def test_what_was_delivered_elects(ranking: Ranking) -> None:
    """Node 0 delivers half of 1,000 Wh, node 1 uses double of it, the others do nothing."""
    chain = Trading(ranking)
    chain.slot(0, 500, 2_000)
    scores = {c["name"]: c["score_ppm"] for c in chain.ledger.validators_view()["candidates"]}
    assert scores["node-0"] == 350_000 + 75_000
    assert scores["node-1"] == 300_000, "a deviation of 100 % leaves no reputation"
    assert scores["node-2"] == scores["node-3"] == 700_000
    chain.block(start_of(5), *(make_statement(1_000, chain.here(i)) for i in range(4)))
    while chain.last is None or chain.last.era is None:
        chain.block(chain.ledger.time_ms + 1)
    elected = [member.name for member in chain.last.era.members]
    if ranking == "composite":
        best = sorted((2, 3), key=key)
        assert elected == [f"node-{best[0]}", f"node-{best[1]}"]
    else:
        assert elected == ["node-1", "node-0"]


# -- punishment


def test_a_skipped_producer_is_punished_for_k_epochs() -> None:
    council = Republic(dpos(5, 4))
    council.all_ready()
    council.favour(2)
    skip = Crimes(council).skip(1, 3, [NODES[i] for i in (0, 1, 3)])
    receipt = council.said(skip)  # node 2 leads (view 0, height 3)
    assert events(receipt, Punished) == [Punished(key(2), 3)]
    for epoch in range(1, 5):
        elected = council.to_election()
        assert council.latest.epoch == epoch
        assert (key(2) in elected) == (epoch > 3)
        council.all_ready()
    assert list(council.state().scan(PUNISHMENT)) == []


def test_the_view_before_the_one_asked_for_names_who_was_skipped() -> None:
    council = Republic(dpos(5, 4))
    council.idle(3)
    crimes = Crimes(council)
    assert events(council.said(crimes.skip(1, 2, NODES[:3])), Punished)[0].key == key(1)
    assert events(council.said(crimes.skip(2, 2, NODES[:3])), Punished)[0].key == key(2)
    assert events(council.said(crimes.skip(6, 3, NODES[:3])), Punished)[0].key == key(3)


def framed() -> dict[str, Skip]:
    """Each nearly proof that node 2 was skipped at height 3 of four producers."""
    council = Republic(dpos(5, 4))
    crimes = Crimes(council)
    who = [NODES[0], NODES[1], NODES[3]]
    good = crimes.skip(1, 3, who)
    first, second, third = good.standings

    def with_last(standing: Standing) -> Skip:
        return replace(good, standings=(first, second, standing))

    return {
        "two of three": replace(good, standings=(first, second)),
        "more than it takes": crimes.skip(1, 3, [*who[:2], NODES[2], NODES[3]]),
        "one twice": replace(good, standings=(first, first, third)),
        "out of order": replace(good, standings=(second, first, third)),
        "other views": with_last(crimes.standing(NODES[3], 2, 3)),
        "other heights": with_last(crimes.standing(NODES[3], 1, 4)),
        "other heads": with_last(crimes.standing(NODES[3], 1, 3, head=sha256(b"fork"))),
        "other epochs": with_last(crimes.standing(NODES[3], 1, 3, epoch=1)),
        "unsigned": with_last(replace(third, sig=bytes(64))),
        "signed by another": with_last(replace(third, sig=NODES[4].sign(b"x"))),
        "nobody's index": with_last(replace(third, signer=9)),
        "said of another view": replace(good, view=2),
        "said of another height": replace(good, height=2),
        "view 0": crimes.skip(0, 3, who),
        "of height 0": replace(crimes.skip(1, 1, who), height=0),
        "to come": crimes.skip(1, 90, who),
    }


@pytest.mark.parametrize("name", framed())
def test_nobody_is_framed_without_proof(name: str) -> None:
    council = Republic(dpos(5, 4))
    council.favour(2)
    council.idle(3)
    assert council.unheard(framed()[name]) is ErrorCode.NO_PROOF
    assert list(council.state().scan(PUNISHMENT)) == []
    council.all_ready()
    assert council.to_election()[0] == key(2)


def test_a_skip_counts_once_and_only_of_this_epoch_or_the_one_before() -> None:
    council = Republic(dpos(5, 4))
    council.idle(4)
    crimes = Crimes(council)
    skip, other = crimes.skip(1, 3, NODES[:3]), crimes.skip(1, 4, NODES[:3])
    council.said(skip)
    assert council.unheard(skip) is ErrorCode.NOTHING_CHANGES
    council.decide(SetNumber("max_tx_ops", 7))
    council.idle(2)
    council.said(other)
    council.decide(SetNumber("max_tx_ops", 8))
    council.idle(2)
    late = crimes.skip(1, 2, NODES[:3])
    assert council.unheard(late) is ErrorCode.UNKNOWN_EPOCH


def test_a_height_of_the_next_epoch_is_no_place_to_be_skipped_in() -> None:
    council = Republic(dpos(5, 4))
    council.decide(SetNumber("max_tx_ops", 7))
    council.idle(2)
    old = Crimes(council, council.ledger.eras[0])
    assert council.unheard(old.skip(1, 3, NODES[:3])) is ErrorCode.NO_PROOF
    assert council.unheard(Crimes(council).skip(1, 2, NODES[:3])) is ErrorCode.NO_PROOF
    council.said(Crimes(council).skip(1, 3, NODES[1:4]))


def test_a_new_key_does_not_shake_off_a_punishment() -> None:
    council = Republic(dpos(5, 4))
    council.pack(council.tx(NODES[0], Vote((key(2),))))
    council.idle(3)
    council.said(Crimes(council).skip(1, 3, NODES[:3]))
    new = NODES[9]
    council.decide(council.rekey(NODES[2], new))
    assert [k for k, _ in council.state().scan(PUNISHMENT)] == [new.public_key]
    assert {s.key: s.target for s in standings(council.state())}[key(0)] == (new.public_key,)


def test_evidence_takes_a_candidate_off_the_list_for_good() -> None:
    council = Republic(dpos(5, 4))
    council.all_ready()
    council.said(Accuse(Crimes(council).twice(NODES[0])))
    assert council.latest.epoch == 0, "it sits until the election"
    assert key(0) not in council.to_election()
    assert council.refused(council.add(NODES[0])) == (ErrorCode.KEY_CONVICTED, (0,))


def test_a_convict_does_not_stay_with_the_set_that_stays() -> None:
    council = Republic(dpos(5, 4))
    council.said(Accuse(Crimes(council).twice(NODES[0])))
    assert council.to_election() == [key(1), key(2), key(3)]


# -- candidates come and go


def test_a_new_candidate_waits_for_an_election() -> None:
    council = Republic(dpos(5, 4))
    new = NODES[9]
    era = council.decide(council.add(new, "fresh"))
    assert (era.epoch, era.members) == (1, founding_era(council.genesis).members)
    council.idle(1)
    nonce = council.ready(new).nonce
    council.say(*(council.here(node) for node in (*NODES[:5], new)))
    council.pack(*(council.tx(NODES[i], Vote((new.public_key,))) for i in range(3)))
    assert new.public_key in council.to_election()
    (member,) = [m for m in council.latest.members if m.key == new.public_key]
    assert (member.name, member.nonce, member.addr) == ("fresh", nonce, "10.0.0.9:7440")


def test_a_removed_producer_goes_at_once() -> None:
    council = Republic(dpos(5, 4))
    assert [m.key for m in council.decide(Remove(key(1))).members] == [key(0), key(2), key(3)]
    council.idle(2)
    before = council.latest.members
    assert council.decide(Remove(key(4))).members == before


def test_roles_of_candidates_move_too() -> None:
    council = Republic(dpos(5, 4))
    council.decide(Move(key(1), True), Move(key(4), True))
    operators = {k for k, c in council.state().scan(CANDIDATE) if c.operator}
    assert operators == {key(0), key(1), key(4)}
    assert council.latest.members[1].operator


def test_a_plant_changes_to_dpos_and_back() -> None:
    council = Republic(plant(5, "pbft", epoch_blocks=BLOCKS))
    council.decide(SetEngine("dpos"))
    assert {k for k, _ in council.state().scan(CANDIDATE)} == {key(i) for i in range(5)}
    council.idle(1)
    council.all_ready()
    council.pack(council.tx(NODES[0], Vote((key(1),))))
    assert len(council.to_election()) == 4
    council.idle(2)
    council.said(Crimes(council).skip(1, council.latest.first, council.sitting()[:3]))
    council.decide(SetEngine("bncm"))
    assert council.latest.engine == "bncm"
    assert len(council.latest.members) == 4
    assert {k[0] for k, _ in council.ledger.entries()} == {1, 8, 10}


def test_a_convict_who_still_sits_is_no_candidate_of_the_new_engine() -> None:
    council = Republic(plant(7, "pbft", epoch_blocks=BLOCKS))  # f = 2: the third convict waits
    crimes = Crimes(council)
    change = council.propose(SetEngine("dpos"))
    accusations = (make_statement(1_000, Accuse(crimes.twice(NODES[i]))) for i in (1, 3, 5))
    council.pack(*accusations, *(council.tx(NODES[i], change) for i in (0, 2, 4)))
    assert council.latest.engine == "dpos"
    assert {k for k, _ in council.state().scan(CANDIDATE)} == {key(i) for i in (0, 2, 4, 6)}
    council.idle(1)
    council.all_ready(0, 2, 4, 6)
    assert sorted(council.to_election()) == sorted(key(i) for i in (0, 2, 4, 6))


# -- whatever comes


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.lists(st.integers(0, 5), max_size=4, unique=True)),
        max_size=12,
    )
)
def test_whatever_is_voted_the_elected_are_ready_distinct_and_no_more_than_n(
    ballots: list[tuple[int, list[int]]],
) -> None:
    council = Republic(dpos())
    council.all_ready()
    council.pack(*(council.tx(NODES[i], Vote(tuple(map(key, who)))) for i, who in ballots))
    elected = council.to_election()
    assert len(set(elected)) == len(elected) == 4
    twin = council.reloaded()
    assert twin.eras[-1] == council.latest


def test_the_next_block_judges_as_it_will_execute() -> None:
    council = Republic(dpos())
    tx = decode_transaction(make_statement(1_000, council.here(NODES[5])))
    assert council.ledger.judge_statement(tx).key == key(5)
    council.said(council.here(NODES[5]))


def test_a_badly_rated_candidate_is_not_elected_where_a_grade_is_asked_for() -> None:
    """Only where genesis names one, and only who was rated and falls short of it."""
    rules = CreditRules(rule="level", electable="BB")
    state = State()
    for i, grade in enumerate((0, 4, 5, 255)):
        state.put(STANDING, StandingRecord(1, 0, 0, grade, 0), key(i))
    may = [may_be_elected(rules, state, key(i)) for i in range(5)]
    assert may == [True, True, False, True, True]
    for lax in (CreditRules(rule="level"), CreditRules(electable="BB")):
        assert all(may_be_elected(lax, state, key(i)) for i in range(5))


def test_a_grade_keeps_a_candidate_from_the_next_epoch() -> None:
    genesis = dpos()
    market = replace(genesis.market, credit=CreditRules(rule="level", electable="BB"))
    chain = Republic(replace(genesis, market=market))
    chain.all_ready()
    standing = StandingRecord(1, 0, 0, 9, 0)
    for i in range(4):
        chain.ledger.state.put(STANDING, standing, key(i))
    while not chain.ledger.eras[-1].epoch:
        chain.say()
    seated = {member.key for member in chain.ledger.eras[-1].members}
    assert {key(4), key(5)} <= seated
