"""A Byzantine node that says almost what it should: agreement, and progress all the same."""

from __future__ import annotations

from collections import Counter
from random import Random

import msgspec
import pytest

from tests.simulate.plants import PLANTS, Plant
from vppd.consensus.messages import (
    Agree,
    Block,
    Certificate,
    CertificateKind,
    Claim,
    Collected,
    Commit,
    NewView,
    Path,
    Prepare,
    PrePrepared,
    Standing,
    ViewChange,
)
from vppd.crypto import sha256
from vppd.net.gate import decode_message
from vppd.simulate.cluster import Cluster
from vppd.simulate.faults import parse_sets
from vppd.simulate.forge import framed, resign
from vppd.simulate.mutation import KINDS, Mutations, Slot, draw_mutations
from vppd.simulate.outcome import Outcome

CHAIN = sha256(b"chain")
DIGEST = sha256(b"block")
SIG = bytes(64)


def run(n: int, seed: int, faults: str, plant: Plant) -> Outcome:
    outcome = Cluster(plant.setup(n=n, faults=parse_sets(faults)), seed).run()
    replay = plant.replay(n, seed, f"--faults {faults}")
    assert outcome.violation is None, f"{outcome.violation}\n  replay  {replay}"
    assert not outcome.observers, f"an honest replica gave up\n  replay  {replay}"
    return outcome


@pytest.mark.parametrize("plant", PLANTS, ids=str)
@pytest.mark.parametrize("n", [4, 5, 7, 10])
def test_small_mutations_are_survived(n: int, plant: Plant) -> None:
    run(n, 50 * n, "mutation,network,partition,crash", plant)


@pytest.mark.parametrize("plant", PLANTS[:2], ids=str)
def test_every_kind_of_mutation_happens(plant: Plant) -> None:
    told: Counter[str] = Counter()
    every = {f"mutated_{kind}" for kind in KINDS}
    refused = 0
    for seed in range(1, 61):
        outcome = run(4, seed, "mutation,partition,crash", plant)
        told += outcome.lies
        refused += outcome.effects["refused_lie"]
        if set(told) == every and refused > 50:
            return
    pytest.fail(f"seeds 1 to 60: {refused} refused, never told: {every - set(told)}")


def test_nobody_is_mutated_where_nobody_may_lie() -> None:
    for n in (1, 2, 3):
        assert not draw_mutations(Random(n), n, CHAIN, 12).nodes


# ---------------------------------------------------------------- one mutation at a time


def mutated(message: object, kind: str, by: int = 1) -> object:
    """What replica 1 of 4 says to replica 2 instead."""
    mutations = Mutations(Random(1), 1, 4, CHAIN, 12)
    mutations._slots = [Slot(5, kind, by, frozenset((2,)))]
    out = mutations(1, framed(message))  # type: ignore[arg-type]  # any message
    (lie,) = (f for f in out if f.to == (2,))
    (rest,) = (f for f in out if f.to != (2,))
    assert rest.to == (0, 3)
    assert decode_message(rest.type, rest.payload) == message
    assert mutations.told == {f"mutated_{kind}": 1}
    return decode_message(lie.type, lie.payload)


def prepare(view: int, height: int, digest: bytes = DIGEST, signer: int = 1) -> Prepare:
    return resign(Prepare(0, view, height, digest, signer, SIG), 1, CHAIN)


def change(**changes: object) -> ViewChange:
    fields = {
        "epoch": 0, "view": 3, "signer": 1, "decided": 4, "head": DIGEST,
        "vote": Claim(2, DIGEST), "prepared": Claim(1, DIGEST), "sig": SIG,
    }  # fmt: skip
    said = Standing(**{**fields, **changes})  # type: ignore[arg-type]  # fields of Standing
    lock = certificate(CertificateKind.PREPARED) if said.prepared is not None else None
    return resign(ViewChange(said, certificate(CertificateKind.COMMIT), lock), 1, CHAIN)


def certificate(kind: CertificateKind, signers: int = 0b0111) -> Certificate:
    return Certificate(kind, 0, 1, 5, DIGEST, bytes([signers]), (SIG,) * signers.bit_count())


def test_one_view_off() -> None:
    assert mutated(prepare(2, 5), "view") == prepare(3, 5)
    assert mutated(prepare(2, 5), "view", -1) == prepare(1, 5)
    assert mutated(change(), "view") == change(view=4)


def test_one_height_off() -> None:
    assert mutated(prepare(2, 5), "height") == prepare(2, 6)
    assert mutated(change(), "height", -1) == change(decided=3)


def test_a_digest_of_another_place() -> None:
    assert mutated(prepare(2, 5), "digest") == prepare(2, 5, CHAIN)
    assert mutated(change(), "digest") == change(vote=Claim(2, CHAIN))


def test_a_claim_is_dropped() -> None:
    assert mutated(change(), "claim", -1) == change(vote=None)
    assert mutated(change(), "claim") == change(prepared=None)


def test_another_name_over_the_same_signature() -> None:
    lie = mutated(prepare(2, 5), "signer")
    assert isinstance(lie, Prepare)
    assert lie.signer != 1
    assert lie.sig == prepare(2, 5).sig


def test_a_certificate_one_short() -> None:
    lie = mutated(Agree(certificate(CertificateKind.COMMIT)), "certificate")
    assert lie == Agree(certificate(CertificateKind.COMMIT, 0b0011))


def test_a_new_view_one_short_and_a_commit_one_off() -> None:
    shown = tuple(change(signer=i).standing for i in (0, 1, 3))
    opened = resign(NewView(0, 3, 5, None, shown, None, None, SIG), 1, CHAIN)
    lie = mutated(opened, "certificate")
    assert isinstance(lie, NewView)
    assert lie.standings == shown[:2]
    commit = resign(Commit(0, 2, 5, DIGEST, 1, SIG), 1, CHAIN)
    assert mutated(commit, "height") == resign(Commit(0, 2, 6, DIGEST, 1, SIG), 1, CHAIN)


def test_the_other_path_and_the_other_envelope() -> None:
    made = Block(0, 2, 5, DIGEST, Path.COLLECT, b"", (), SIG, SIG)
    lie = mutated(made, "path")
    assert lie == resign(msgspec.structs.replace(made, path=Path.BROADCAST), 1, CHAIN)
    quiet = Collected(0, 2, 5, DIGEST, 1, prepare(2, 5).sig)
    assert mutated(quiet, "envelope") == prepare(2, 5)
    assert mutated(prepare(2, 5), "envelope") == quiet


def test_the_end_of_a_wait_one_off() -> None:
    """Another view, the digest of another place, one vote short."""
    held = certificate(CertificateKind.PREPARED)
    end = resign(PrePrepared(0, 1, 5, DIGEST, SIG, held), 1, CHAIN)
    replace = msgspec.structs.replace
    assert mutated(end, "view") == resign(replace(end, view=2), 1, CHAIN)
    assert mutated(end, "digest") == resign(replace(end, digest=CHAIN), 1, CHAIN)
    short = certificate(CertificateKind.PREPARED, 0b0011)
    assert mutated(end, "certificate") == replace(end, prepared=short)


def test_what_has_no_such_thing_goes_through() -> None:
    mutations = Mutations(Random(1), 1, 4, CHAIN, 12)
    mutations._slots = [Slot(5, "certificate", 1, frozenset((2,)))]
    frame = framed(prepare(2, 5))
    assert mutations(1, frame) == [frame._replace(to=(0, 2, 3))]
    assert mutations(0, frame) == [frame]
    assert not mutations.told
