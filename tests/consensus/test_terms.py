"""What a node knows of epochs: those in force, at which heights, and for how long it remembers."""

from __future__ import annotations

from threading import Thread

from tests.consensus.harness import key_of
from tests.store.real_chain import GENESIS
from vppd.config.founding import founding_era
from vppd.consensus.messages import CertificateKind
from vppd.consensus.terms import KEPT, Term, Terms
from vppd.era import Era, EraMember

FOUNDING = founding_era(GENESIS)


def era(epoch: int, first: int, *members: int, engine: str = "pbft") -> Era:
    """An epoch of the founders, or of others by number."""
    made = tuple(EraMember(key_of(i), i == 0, f"node-{i}") for i in members)
    return Era(epoch, first, engine, None, None, made or FOUNDING.members)


def test_each_height_has_the_term_of_its_epoch() -> None:
    terms = Terms(GENESIS)
    terms.note([era(1, 10), era(2, 11), era(3, 20)])
    epochs = {height: terms.at(height).epoch for height in (1, 9, 10, 11, 19, 20, 1_000)}
    assert epochs == {1: 0, 9: 0, 10: 1, 11: 2, 19: 2, 20: 3, 1_000: 3}
    for height, epoch in epochs.items():
        inside = [e for e in range(4) if terms.covers(_of(terms, e), height)]
        assert inside == [epoch], height


def test_what_is_not_known_has_no_term_and_no_leader_to_ask_for() -> None:
    terms = Terms(GENESIS)
    assert terms.of(1) is None
    assert terms.leader(1, 3, 5) == 0
    terms.note([era(1, 10, 5, 6, 7, 8)])
    assert terms.leader(1, 3, 10) == 3
    assert terms.leader(0, 0, 1) == 0


def test_the_last_of_them_are_remembered() -> None:
    terms = Terms(GENESIS)
    terms.note(era(e, 10 * e) for e in range(1, KEPT + 3))
    known = [e for e in range(KEPT + 4) if terms.of(e) is not None]
    assert known == list(range(3, KEPT + 3))


def test_an_epoch_is_learnt_once() -> None:
    terms = Terms(GENESIS)
    terms.note([era(1, 10, 1, 2, 3, 4)])
    first = terms.of(1)
    terms.note([era(1, 10, 5, 6, 7, 8)])
    assert terms.of(1) is first


def test_what_decides_follows_the_epochs_engine() -> None:
    terms = Terms(GENESIS)
    terms.note([era(1, 10, engine="pbft"), era(2, 20, engine="bncm")])
    assert _of(terms, 1).decisive == {CertificateKind.COMMIT}
    assert _of(terms, 2).decisive == {CertificateKind.COMMIT, CertificateKind.FAST}


def test_epochs_may_be_learnt_while_another_thread_checks_blocks() -> None:
    """Whoever looks through them has a set that nobody changes under its eyes."""
    terms = Terms(GENESIS)
    going, wrong = [True], list[BaseException]()

    def look() -> None:
        try:
            while going:
                terms.at(10**9)
        except RuntimeError as err:
            wrong.append(err)

    thread = Thread(target=look)
    thread.start()
    for e in range(1, 300):
        terms.note([era(e, 10 * e)])
    going.clear()
    thread.join()
    assert not wrong


def _of(terms: Terms, epoch: int) -> Term:
    term = terms.of(epoch)
    assert term is not None
    return term
