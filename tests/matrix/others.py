"""Security management, automatic execution, manual intervention."""

from __future__ import annotations

from tests.ledger.chain import ANN, BOB, BOB_METER, bid, offer
from tests.ledger.council import NODES, Crimes
from tests.ledger.town import AGG, DAN, DER, OP, Town, answer, cancel, event, key, town
from tests.matrix.events import programme
from tests.matrix.scene import Refusal, Scene, signed_scene
from tests.matrix.users import AGGREGATORS, NOT_PERMITTED, saying
from vppd.ledger.changes import Bar, VoidOrders
from vppd.ledger.codes import ErrorCode
from vppd.ledger.events import Cause, ContractMoved, Convicted, Event
from vppd.ledger.member_events import AcquisitionSet, Answered, Intervened, StandingChanged
from vppd.ledger.proofs import Accuse
from vppd.ledger.registration.interventions import Action
from vppd.ledger.registration.meters import PAUSED
from vppd.ledger.registration.records import Standing
from vppd.ledger.response.calls import Answer
from vppd.ledger.transaction import Reading, Transfer

LIAR = NODES[2]


# ---------------------------------------------------------------- security


def security_service() -> Scene:
    """A validator that signs two blocks is convicted by the proof of it, whoever brings it."""
    chain = Town()
    chain.idle(1)
    proof = Crimes(chain).twice(LIAR)

    def done() -> None:
        assert chain.ledger.validators_view()["convicted"][0]["epoch"] == 0

    return Scene(
        chain, lambda: chain.said(Accuse(proof)), done, saying(Convicted(key(LIAR), 0)),
        (Refusal(BOB, Accuse(proof), ErrorCode.NOT_A_STATEMENT),),
    )  # fmt: skip


def security_aggregate() -> Scene:
    """An aggregator suspends a member whose key is lost, and nobody else's."""
    chain = Town(town(duties=AGGREGATORS))
    op = chain.standing(ANN, Standing.SUSPENDED, "key lost")

    def done() -> None:
        refused = chain.fails(chain.at(0), ANN, Transfer(key(BOB), 1))
        assert refused == (ErrorCode.SUSPENDED, (Standing.SUSPENDED,))

    return signed_scene(
        chain, (AGG, op), done,
        saying(StandingChanged(key(ANN), Standing.SUSPENDED, key(AGG), "key lost")),
        Refusal(AGG, chain.standing(BOB, Standing.SUSPENDED), NOT_PERMITTED),
        Refusal(DAN, op, NOT_PERMITTED),
        Refusal(AGG, chain.standing(ANN, Standing.SUSPENDED, ""), ErrorCode.NO_REASON),
    )  # fmt: skip


def security_terminal() -> Scene:
    """A meter that was broken into is heard no more; its owner cannot speak for it."""
    chain = Town()
    op = chain.control(BOB_METER, 1, PAUSED)

    def done() -> None:
        refused = chain.fails(chain.at(2), BOB_METER, Reading(1, 5, 0))
        assert refused[0] is ErrorCode.NOT_ACQUIRED

    return signed_scene(
        chain, (OP, op), done,
        saying(AcquisitionSet(key(BOB_METER), 1, PAUSED, 1, key(OP), "works on the line")),
        Refusal(BOB, Reading(0, 5, 0), ErrorCode.NOT_A_METER),
        Refusal(BOB_METER, Transfer(key(ANN), 1), ErrorCode.NOT_AN_ACCOUNT),
        Refusal(BOB_METER, Reading(0, 5, 0), ErrorCode.READING_FROM_FUTURE),
    )  # fmt: skip


# ---------------------------------------------------------------- automatic execution


def _fires(chain: Town) -> Scene:
    """An event begins by itself in the first block of its first slot, once."""

    def act() -> None:
        chain.block(chain.at(2))
        chain.block(chain.at(2, 1))

    def done() -> None:
        moves = [m for m in chain.all_told(ContractMoved) if m.cause == Cause.FIRED]
        assert [(m.number, m.phase) for m in moves] == [(1, 1)]

    def told(found: list[Event]) -> None:
        assert [e.answer for e in found if isinstance(e, Answered)] == [Answer.IN] * 3

    return Scene(chain, act, done, told)


def automatic_service() -> Scene:
    """Nobody fires it earlier, nobody stops it without the duty."""
    chain = programme()
    chain.ok(chain.at(0), OP, event(2, 2))
    return _fires(chain)._replace(
        refusals=(
            Refusal(DER, cancel(1), NOT_PERMITTED),
            Refusal(AGG, answer(1, True), ErrorCode.NOT_CALLED),
        )
    )


def automatic_aggregate() -> Scene:
    """An aggregator's event begins by itself; the aggregator cannot consent for its members."""
    chain = programme(aggregators=True, auto=False)
    op = event(2, 2, members=(key(ANN), key(DAN)))
    chain.ok(chain.at(0), AGG, op)
    chain.ok(chain.at(0), ANN, answer(1, opts_in=True))

    def act() -> None:
        chain.block(chain.at(2))

    def done() -> None:
        said = {a.account: a.answer for a in chain.all_told(Answered)}
        assert said == {key(ANN): Answer.IN, key(DAN): Answer.OUT}

    return Scene(
        chain, act, done, lambda _: None,
        (
            Refusal(AGG, answer(1, opts_in=True), ErrorCode.NOT_CALLED),
            Refusal(BOB, cancel(1), NOT_PERMITTED),
        ),
    )  # fmt: skip


def automatic_terminal() -> Scene:
    """A device with standing consent is opted in without anybody's doing."""
    chain = programme()
    chain.ok(chain.at(0), OP, event(2, 2))
    return _fires(chain)


# ---------------------------------------------------------------- manual intervention


def intervention_service() -> Scene:
    """The quorum, an operator in it, bars a member; one of them alone does not."""
    chain = Town()
    bar = chain.propose(Bar(key(ANN), True, "registers were turned back"))

    def act() -> None:
        chain.ok(chain.at(0), DER, bar)
        chain.ok(chain.at(0), ANN, offer(2, 1, 400_000))  # not yet
        chain.ok(chain.at(0), OP, bar)

    def done() -> None:
        assert chain.fails(chain.at(0), ANN, offer(2, 1, 1)) == (ErrorCode.BARRED, ())

    said = Intervened(Action.BARRED, key(ANN), 0, "registers were turned back")
    return Scene(
        chain, act, done, saying(said),
        (
            Refusal(ANN, bar, ErrorCode.NOT_A_GOVERNOR),
            Refusal(OP, chain.propose(Bar(key(ANN), True, "")), ErrorCode.NO_REASON),
        ),
    )  # fmt: skip


def intervention_aggregate() -> Scene:
    """A slot's open orders are voided; an aggregator alone voids nothing."""
    chain = Town(town(duties=AGGREGATORS))
    chain.ok(chain.at(0), ANN, offer(2, 100, 400_000))
    void = chain.propose(VoidOrders(2, "a forecast was wrong"))

    def act() -> None:
        chain.ok(chain.at(0), DER, void)
        assert chain.ledger.book_view(2) != []
        chain.ok(chain.at(0), OP, void)

    def done() -> None:
        assert chain.ledger.book_view(2) == []

    return Scene(
        chain, act, done, saying(Intervened(Action.VOIDED, None, 2, "a forecast was wrong")),
        (Refusal(AGG, void, ErrorCode.NOT_A_GOVERNOR),),
    )  # fmt: skip


def intervention_terminal() -> Scene:
    """A device has no say; what is imposed on its owner leaves its readings alone."""
    chain = Town()
    bar = chain.propose(Bar(key(BOB), True, "x"))

    def act() -> None:
        chain.ok(chain.at(1), DER, bar)
        chain.ok(chain.at(1), OP, bar)

    def done() -> None:
        chain.ok(chain.at(1), BOB_METER, Reading(0, 5, 0))
        assert chain.fails(chain.at(1), BOB, bid(4, 1, 1)) == (ErrorCode.BARRED, ())

    return Scene(
        chain, act, done, lambda _: None,
        (
            Refusal(BOB_METER, bar, ErrorCode.NOT_AN_ACCOUNT),
            Refusal(BOB, bar, ErrorCode.NOT_A_GOVERNOR),
        ),
    )  # fmt: skip
