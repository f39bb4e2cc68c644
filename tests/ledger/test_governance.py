"""Members and rules change by decided blocks, two heights later, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.config.plugin import LAST_FIRST, distributions, install
from tests.ledger.chain import STRANGER, Chain, events
from tests.ledger.council import NODES, Council, Crimes, plant
from vppd.config.founding import founding_era, rules_in
from vppd.config.genesis import MOST_VALIDATORS, Governance, ValidatorEntry
from vppd.crypto import sha256
from vppd.era import EraMember
from vppd.ledger.changes import (
    Change,
    Configure,
    Move,
    Readmit,
    Remove,
    SetEngine,
    SetNumber,
)
from vppd.ledger.codes import ErrorCode, Status
from vppd.ledger.eras import KEPT
from vppd.ledger.events import AccountOpened, Approved, EraScheduled
from vppd.ledger.proofs import Accuse
from vppd.types import ZERO_DIGEST, Role

NEW = NODES[9]


def key(i: int) -> bytes:
    return NODES[i].public_key


# -- eras


def test_genesis_is_era_0_and_not_in_the_state() -> None:
    council = Council(plant(4))
    ledger = council.ledger
    assert ledger.eras == (founding_era(council.genesis),)
    era = ledger.era_at(1)
    assert (era.epoch, era.first, era.engine, era.f, era.p, era.rules) == (
        0,
        1,
        "bncm",
        None,
        None,
        (),
    )
    assert era.members[1] == EraMember(key(1), False, "node-1")
    assert [member.operator for member in era.members] == [True, False, False, False]


def test_the_opening_root_is_what_it_always_was() -> None:
    """Of the release before members could change."""
    assert (
        Chain().ledger.state_root.hex()
        == "7899a4b17c481fe17a5a9817a2be48080e151ce71436856482f566bb29999836"
    )
    assert (
        Council(plant(4, "pbft")).ledger.state_root.hex()
        == "2cb4643187f235e1442ee6af52de43547dfd14ca3bd758badcec8cb26f5bbea5"
    )


def test_a_change_is_decided_in_block_n_and_in_force_from_n_plus_2() -> None:
    council = Council(plant(4))
    council.idle(4)
    era = council.decide(council.add(NEW))
    assert council.ledger.height == 5
    assert (era.epoch, era.first) == (1, 7)
    assert [council.ledger.era_at(height).epoch for height in (1, 5, 6, 7, 99)] == [0, 0, 0, 1, 1]
    member = era.members[-1]
    assert member == EraMember(
        NEW.public_key, False, "new", "10.0.0.9:7440", council.ready(NEW).nonce
    )
    council.pack()
    assert council.last is not None
    assert council.last.era is None


def test_a_ledger_loaded_at_any_height_knows_the_same_eras() -> None:
    council = Council(plant(4))
    for number in range(5):
        council.decide(SetNumber("max_block_txs", 100 + number))
        assert council.reloaded().eras == council.ledger.eras
        council.idle(2)
        assert council.reloaded().eras == council.ledger.eras


def test_the_last_16_eras_are_known_and_era_0_before_fewer() -> None:
    council = Council(plant(4))
    for number in range(KEPT + 2):
        council.decide(SetNumber("max_block_txs", 100 + number))
        council.idle(1)
        epochs = [era.epoch for era in council.ledger.eras]
        first = 0 if number + 1 < KEPT else number + 2 - KEPT
        assert epochs == list(range(first, number + 2))
        assert council.reloaded().eras == council.ledger.eras
    assert len(council.ledger.eras) == KEPT
    with pytest.raises(LookupError):
        council.ledger.era_at(1)


# -- who has a say


def test_f_plus_1_members_decide() -> None:
    council = Council(plant(7))  # f = 2
    change = council.propose(SetNumber("max_tx_ops", 7))
    for i, approvals in ((0, 1), (1, 2)):
        (said,) = events(council.send(change, [NODES[i]])[1], Approved)
        assert said == Approved(change.digest(), approvals, 3, 0)
        assert council.latest.epoch == 0
    receipts = council.send(change, [NODES[2]])
    assert events(receipts[1], Approved) == [Approved(change.digest(), 3, 3, 0)]
    assert events(receipts[0], EraScheduled) == [EraScheduled(council.latest)]
    assert council.latest.rules == (("max_tx_ops", 7),)


def test_one_member_counts_once() -> None:
    council = Council(plant(4))
    change = council.propose(SetNumber("max_tx_ops", 7))
    council.send(change, NODES[:1])
    again = council.send(change, NODES[:1])[1]
    assert (again.status, again.code) == (Status.FAILED, ErrorCode.ALREADY_APPROVED)
    assert council.latest.epoch == 0


def test_other_words_are_another_proposal() -> None:
    council = Council(plant(4))
    council.send(council.propose(SetNumber("max_tx_ops", 7)), NODES[:1])
    council.send(council.propose(SetNumber("max_tx_ops", 8)), NODES[1:2])
    assert council.latest.epoch == 0


def test_a_threshold_in_genesis_counts_instead() -> None:
    council = Council(plant(4, governance=Governance(threshold=4)))
    change = council.propose(Remove(key(3)))
    council.send(change, NODES[:3])
    assert council.latest.epoch == 0
    council.send(change, NODES[3:4])
    assert council.members() == [key(0), key(1), key(2)]
    # With three left a threshold of four would bind nobody's hands but everybody's.
    council.idle(2)
    council.send(council.propose(SetNumber("max_tx_ops", 7)), NODES[:3])
    assert council.latest.epoch == 2


def test_without_the_authority_nothing_takes_effect() -> None:
    authority = NODES[3]
    council = Council(plant(4, governance=Governance(authority=(authority.public_key,))))
    change = council.propose(SetNumber("max_tx_ops", 7))
    (*_, last) = council.send(change, NODES[:3])
    assert events(last, Approved) == [Approved(change.digest(), 3, 2, 1)]
    assert council.latest.epoch == 0
    council.send(change, [authority])
    assert council.latest.epoch == 1


def test_an_authority_alone_decides_nothing() -> None:
    """It has an account and is no member."""
    authority = NODES[3]
    council = Council(plant(4, governance=Governance(authority=(authority.public_key,))))
    council.decide(Remove(authority.public_key))
    council.idle(2)
    change = council.propose(SetNumber("max_tx_ops", 7))
    (said,) = events(council.send(change, [authority])[1], Approved)
    assert said == Approved(change.digest(), 0, 1, 0)
    assert council.latest.epoch == 1
    council.send(change, NODES[:1])
    assert council.latest.epoch == 2


def test_nobody_else_proposes() -> None:
    council = Council(plant(4))
    council.decide(Remove(key(3)))
    council.idle(2)
    receipt = council.send(council.propose(SetNumber("max_tx_ops", 7)), NODES[3:4])[1]
    assert receipt.code == ErrorCode.NOT_A_GOVERNOR
    refused = council.pack(council.tx(STRANGER, council.propose(SetNumber("max_tx_ops", 7))))[1]
    assert refused.code == ErrorCode.UNKNOWN_ACCOUNT


def test_who_is_removed_has_a_say_until_the_era_ends() -> None:
    council = Council(plant(4))
    council.decide(Remove(key(3)))
    receipt = council.send(council.propose(SetNumber("max_tx_ops", 7)), NODES[3:4])[1]
    assert receipt.status == Status.OK
    council.idle(1)
    receipt = council.send(council.propose(SetNumber("max_tx_ops", 8)), NODES[3:4])[1]
    assert receipt.code == ErrorCode.NOT_A_GOVERNOR


def test_a_proposal_dies_with_the_era_it_was_made_for() -> None:
    council = Council(plant(4))
    old = council.propose(SetNumber("max_tx_ops", 7))
    council.send(old, NODES[:1])
    council.decide(SetNumber("max_tx_ops", 8))
    receipt = council.send(old, NODES[1:2])[1]
    assert (receipt.code, receipt.detail) == (ErrorCode.STALE_PROPOSAL, (0, 1))
    council.send(council.propose(SetNumber("max_tx_ops", 7)), NODES[1:2])
    assert council.latest.epoch == 1, "the first approval has died too"


def test_one_change_takes_effect_per_block() -> None:
    council = Council(plant(4))
    change, other = (council.propose(SetNumber("max_tx_ops", n)) for n in (7, 8))
    txs = [council.tx(NODES[i], op) for op in (change, other) for i in (0, 1)]
    receipts = council.pack(*txs)
    assert [r.status for r in receipts[1:]] == [Status.OK, Status.OK, Status.FAILED, Status.FAILED]
    assert receipts[3].code == ErrorCode.ERA_CHANGING
    assert council.latest.rules == (("max_tx_ops", 7),)


def test_a_member_holds_four_proposals_and_the_oldest_goes() -> None:
    council = Council(plant(4))
    changes = [council.propose(SetNumber("max_tx_ops", n)) for n in range(1, 6)]
    for change in changes:
        council.send(change, NODES[:1])
    council.send(changes[0], NODES[1:2])
    assert council.latest.epoch == 0, "the first approval of it is gone"
    council.send(changes[1], NODES[1:2])
    assert council.latest.epoch == 1
    assert [key[0] for key, _ in council.ledger.entries() if key[0] in (11, 12)] == []


def test_a_failed_transaction_schedules_nothing() -> None:
    council = Council(plant(1))
    change = council.propose(SetNumber("max_tx_ops", 7))
    receipt = council.pack(council.tx(NODES[0], change, change))[1]
    assert receipt.status == Status.FAILED
    assert council.latest.epoch == 0
    assert council.last is not None
    assert council.last.era is None


# -- what may change


def test_a_new_member_has_an_account_and_a_say() -> None:
    council = Council(plant(4))
    era = council.propose(council.add(NEW))
    receipts = council.send(era, NODES[:2])
    assert events(receipts[2], AccountOpened) == [AccountOpened(NEW.public_key, 800_000)]
    council.idle(2)
    assert council.ledger.nonce(NEW.public_key) == 0
    assert council.send(council.propose(Remove(key(0))), [NEW])[1].status == Status.OK


def test_a_new_member_is_called_by_its_name() -> None:
    for made in (plant(4), plant(4, "dpos")):
        council = Council(made)
        council.decide(council.add(NEW, "fresh"))
        assert council.ledger.account_view(NEW.public_key)["name"] == "fresh"
        assert council.ledger.validator_name(NODES[11].public_key) is None


def test_a_rekeyed_member_keeps_its_place() -> None:
    council = Council(plant(4))
    era = council.decide(council.rekey(NODES[1], NEW))
    assert [m.key for m in era.members] == [key(0), NEW.public_key, key(2), key(3)]
    assert era.members[1] == EraMember(
        NEW.public_key, False, "node-1", "", council.ready(NEW).nonce
    )


def test_a_node_that_lost_its_memory_comes_back_under_its_new_nonce() -> None:
    council = Council(plant(4))
    era = council.decide(Readmit(key(2), council.ready(NODES[2], b"drawn since")))
    assert era.members[2].nonce == council.ready(NODES[2], b"drawn since").nonce
    assert [m.nonce for m in era.members].count(ZERO_DIGEST) == 3
    council.idle(2)
    assert council.refused(Readmit(key(2), council.ready(NODES[2], b"drawn since"))) == (
        ErrorCode.NOTHING_CHANGES, (),
    )  # fmt: skip


def test_roles_engine_and_numbers() -> None:
    council = Council(plant(7))
    era = council.decide(
        Move(key(1), True),
        SetEngine("pbft"),
        SetNumber("f", 1),
        SetNumber("p", 0),
        SetNumber("view_timeout_ms", 20_000),
        SetNumber("view_timeout_max_ms", 30_000),
    )
    assert era.members[1].operator
    assert (era.engine, era.f, era.p) == ("pbft", 1, 0)
    assert era.rules == (("view_timeout_max_ms", 30_000), ("view_timeout_ms", 20_000))
    rules = rules_in(council.genesis, era)
    assert (rules.engine, rules.f, rules.view_timeout_ms) == ("pbft", 1, 20_000)
    assert rules.max_tx_ops == council.genesis.consensus.max_tx_ops
    council.idle(2)
    era = council.decide(
        SetNumber("view_timeout_ms", 2_000), SetNumber("f", None), SetNumber("p", None)
    )
    assert (era.f, era.p, era.rules) == (None, None, (("view_timeout_max_ms", 30_000),))


def test_only_so_many_members_change_at_once() -> None:
    council = Council(plant(4))  # f = 1
    two = (Remove(key(3)), council.add(NEW))
    assert council.refused(*two) == (ErrorCode.TOO_MANY_CHANGES, (1,))
    assert council.refused(council.add(NEW, "a"), council.add(NODES[8], "b"))[0] == (
        ErrorCode.TOO_MANY_CHANGES
    )
    assert len(Council(plant(7)).decide(*two[:1], Remove(key(2))).members) == 5


def bad_changes() -> dict[str, tuple[Change, ErrorCode]]:
    """Each against four members, f = 1."""
    c = Council(plant(4))
    other = c.ready(NODES[8])
    forged = replace(c.ready(NEW), sig=bytes(64))
    stolen = replace(other, key=NEW.public_key)
    return {
        "known key": (c.add(NODES[2]), ErrorCode.KEY_TAKEN),
        "known name": (c.add(NEW, "node-2"), ErrorCode.NAME_TAKEN),
        "bad name": (c.add(NEW, "a b"), ErrorCode.BAD_NAME_OR_ADDRESS),
        "bad address": (c.add(NEW, addr="10.0.0.1"), ErrorCode.BAD_NAME_OR_ADDRESS),
        "another's ready": (c.add(NEW, ready=other), ErrorCode.NOT_READY),
        "stolen ready": (c.add(NEW, ready=stolen), ErrorCode.NOT_READY),
        "forged ready": (c.add(NEW, ready=forged), ErrorCode.NOT_READY),
        "no nonce": (c.add(NEW, ready=c.ready(NEW, nonce=ZERO_DIGEST)), ErrorCode.NOT_READY),
        "of the future": (c.add(NEW, ready=c.ready(NEW, height=1)), ErrorCode.NOT_READY),
        "rekey a stranger": (c.rekey(NODES[8], NEW), ErrorCode.UNKNOWN_VALIDATOR),
        "rekey to a member": (c.rekey(NODES[1], NODES[2]), ErrorCode.KEY_TAKEN),
        "rekey without ready": (c.rekey(NODES[1], NEW, ready=forged), ErrorCode.NOT_READY),
        "rekey to nowhere": (c.rekey(NODES[1], NEW, addr="x"), ErrorCode.BAD_NAME_OR_ADDRESS),
        "remove a stranger": (Remove(NEW.public_key), ErrorCode.UNKNOWN_VALIDATOR),
        "move a stranger": (Move(NEW.public_key, True), ErrorCode.UNKNOWN_VALIDATOR),
        "readmit a stranger": (
            Readmit(NEW.public_key, c.ready(NEW)),
            ErrorCode.UNKNOWN_VALIDATOR,
        ),
        "readmit by another": (Readmit(key(1), c.ready(NODES[2])), ErrorCode.NOT_READY),
        "no such number": (SetNumber("checkpoint_blocks", 1), ErrorCode.BAD_NUMBER),
        "no number": (SetNumber("max_tx_ops", None), ErrorCode.BAD_NUMBER),
        "zero": (SetNumber("max_tx_ops", 0), ErrorCode.BAD_NUMBER),
        "too large": (SetNumber("alpha_ppm", 1_000_001), ErrorCode.BAD_NUMBER),
        "timeouts crossed": (SetNumber("view_timeout_ms", 10_001), ErrorCode.BAD_NUMBER),
        "no frame carries it": (SetNumber("max_tx_bytes", 2**14 + 1), ErrorCode.BAD_NUMBER),
        "no frame holds it": (SetNumber("max_block_bytes", 2**20), ErrorCode.BAD_NUMBER),
        "smaller than one transaction": (SetNumber("max_block_bytes", 9), ErrorCode.BAD_NUMBER),
        "f too large": (SetNumber("f", 2), ErrorCode.BAD_QUORUM),
        "f absurd": (SetNumber("f", 2**62), ErrorCode.BAD_NUMBER),
        "p too large": (SetNumber("p", 1), ErrorCode.BAD_QUORUM),
        "engine": (SetEngine("raft"), ErrorCode.UNKNOWN_ENGINE),
        "as it is": (SetNumber("max_tx_ops", 64), ErrorCode.NOTHING_CHANGES),
        "same role": (Move(key(0), True), ErrorCode.NOTHING_CHANGES),
    }


@pytest.mark.parametrize("name", bad_changes())
def test_what_cannot_be_is_refused_when_it_is_proposed(name: str) -> None:
    change, code = bad_changes()[name]
    council = Council(plant(4))
    twin = council.reloaded()
    assert council.refused(change)[0] is code
    twin.execute(council.blocks[-1][0], ())
    left, right = dict(council.ledger.entries()), dict(twin.entries())
    assert left.keys() == right.keys()
    assert sum(left[k] != right[k] for k in left) == 1, "only the sender's nonce has changed"


def test_the_last_member_stays() -> None:
    council = Council(plant(2))
    assert council.refused(Remove(key(0)), Remove(key(1)))[0] is ErrorCode.TOO_MANY_CHANGES
    council.decide(Remove(key(0)))
    council.idle(2)
    receipt = council.send(council.propose(Remove(key(1))), NODES[1:2])[1]
    assert receipt.code == ErrorCode.NO_MEMBER_LEFT


def test_f_has_to_fit_those_who_stay() -> None:
    council = Council(plant(4, f=1))
    assert council.refused(Remove(key(3))) == (ErrorCode.BAD_QUORUM, (3, 0))
    assert council.decide(Remove(key(3)), SetNumber("f", 0)).f == 0


def test_what_fitted_when_proposed_is_checked_again() -> None:
    """Two proposals for one era, of which the first makes the second impossible."""
    council = Council(plant(4))
    late = council.propose(council.add(NEW))
    council.send(late, NODES[:1])
    council.decide(council.add(NEW))
    receipt = council.send(Configure(council.latest.epoch, late.changes), NODES[:1])[1]
    assert receipt.code == ErrorCode.KEY_TAKEN


def test_five_become_eight_and_four() -> None:
    council = Council(plant(5))
    for i in range(5, 8):
        council.decide(council.add(NODES[i], f"node-{i}"))
        council.idle(1)
    assert council.members() == [key(i) for i in range(8)]
    for i in range(4, 8):
        council.decide(Remove(key(i)))
        council.idle(1)
    assert council.members() == [key(i) for i in range(4)]
    assert [era.epoch for era in council.ledger.eras] == list(range(8))
    first = [era.first for era in council.ledger.eras[1:]]
    assert first == list(range(3, 17, 2))


def test_a_plant_of_one_decides_alone() -> None:
    council = Council(plant(1))
    era = council.decide(council.add(NEW))
    assert len(era.members) == 2


def test_there_are_at_most_as_many_as_a_certificate_can_name() -> None:
    base = plant(4)
    crowd = tuple(
        ValidatorEntry(name=f"n{i}", role=Role.DER, key=sha256(b"crowd %d" % i))
        for i in range(MOST_VALIDATORS - 4)
    )
    council = Council(replace(base, validators=(*base.validators, *crowd)))
    assert council.refused(council.add(NEW)) == (ErrorCode.TOO_MANY_VALIDATORS, (256,))


# -- engines of other distributions


BOUND = LAST_FIRST.replace(
    "    return n - 1 - view % n", "    return [][n] if n < 4 else n - 1 - view % n"
)


def test_an_engine_from_elsewhere_must_fit_whoever_stays(tmp_path: Path) -> None:
    with distributions(install(tmp_path, "last-first", source=BOUND)):
        council = Council(plant(4, "last-first"))
        assert council.refused(Remove(key(3))) == (ErrorCode.UNKNOWN_ENGINE, ())
        council.said(Accuse(Crimes(council).twice(NODES[2])))
        assert council.latest.epoch == 0, "better a liar among four than no leader at all"
        assert len(council.decide(council.add(NEW)).members) == 5
        council.idle(1)
        assert council.members() == [key(0), key(1), key(3), NEW.public_key]


def test_a_plant_leaves_an_engine_from_elsewhere_and_comes_back(tmp_path: Path) -> None:
    """Whoever runs the plant has what genesis names; of anything else that is not known."""
    with distributions(install(tmp_path, "last-first")):
        council = Council(plant(4, "last-first"))
        council.decide(SetEngine("pbft"))
        council.idle(2)
        assert council.decide(SetEngine("last-first")).engine == "last-first"
        other = Council(plant(4))
        assert other.refused(SetEngine("last-first")) == (ErrorCode.UNKNOWN_ENGINE, ())
