"""The models and the code choose alike: sizes, the selection rule, the check of a new view."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement, product

import pytest

from spec import rules
from vppd.consensus import messages
from vppd.consensus.messages import Certificate, CertificateKind, NewView
from vppd.consensus.quorum import quorums
from vppd.consensus.selection import flaw, select

VIEWS, DIGESTS = 3, 3
ZERO = bytes(32)
CLAIMS = [rules.NONE, *(rules.Claim(v, d) for v in range(VIEWS) for d in range(1, DIGESTS + 1))]


def digest(number: int) -> bytes:
    return bytes([number]) * 32


def claim(c: rules.Claim) -> messages.Claim | None:
    return None if c == rules.NONE else messages.Claim(c.view, digest(c.digest))


def standing(signer: int, s: rules.Standing) -> messages.Standing:
    return messages.Standing(
        0, VIEWS, signer, s.decided, ZERO, claim(s.vote), claim(s.prepared), bytes(64)
    )


def certificate(kind: CertificateKind, view: int, height: int, of: bytes) -> Certificate:
    return Certificate(kind, 0, view, height, of, b"\x07", (bytes(64),) * 3)


def attached(c: rules.Claim, height: int) -> Certificate | None:
    if c == rules.NONE:
        return None
    return certificate(CertificateKind.PREPARED, c.view, height, digest(c.digest))


def compare(shown: Sequence[rules.Standing], prepared: rules.Claim, n: int, f: int | None) -> None:
    sizes = rules.sizes(n, f)
    h0, choice = rules.select(shown, prepared, sizes.tau)
    theirs = select(
        [standing(i, s) for i, s in enumerate(shown)], attached(prepared, h0), quorums(n, f)
    )
    assert theirs == (h0, digest(choice) if choice else None), (n, f, shown, prepared)


def test_sizes_up_to_200() -> None:
    for n in range(1, 201):
        assert tuple(rules.sizes(n)) == tuple(quorums(n)), n
        for f in range((n - 1) // 3 + 1):
            ours = rules.sizes(n, f)
            assert tuple(ours) == tuple(quorums(n, f)), (n, f)
            for p in range((n - 3 * f - 1) // 2 + 1):
                assert tuple(rules.sizes(n, f, p)) == tuple(quorums(n, f, p)), (n, f, p)


def test_selection_at_n_4_on_every_small_input() -> None:
    each = [rules.Standing(low, vote, rules.NONE) for low, vote in product((0, 1), CLAIMS)]
    for shown in combinations_with_replacement(each, rules.sizes(4).w):
        for prepared in CLAIMS:
            compare(shown, prepared, 4, None)


@pytest.mark.parametrize(("n", "f"), [(5, 1), (6, 1), (7, 2), (7, 1), (10, 3), (10, 2), (10, 1)])
def test_selection_at_random(n: int, f: int) -> None:
    draw = random.Random(f"{n} {f}")
    for _ in range(4000):
        level = draw.choice((0, 0, 1))
        likely = draw.sample(CLAIMS, 3)
        shown = [
            rules.Standing(draw.choice((level, 1)), draw.choice(likely), rules.NONE)
            for _ in range(rules.sizes(n, f).w)
        ]
        compare(shown, draw.choice(CLAIMS), n, f)


def new_views() -> Iterator[tuple[tuple[rules.Standing, ...], rules.Claim]]:
    two = [rules.NONE, rules.Claim(0, 1), rules.Claim(0, 2), rules.Claim(1, 1), rules.Claim(1, 2)]
    each = [
        rules.Standing(decided, vote, prepared)
        for decided, vote, prepared in product((0, 1), (rules.NONE, rules.Claim(1, 2)), two)
    ]
    for shown in combinations_with_replacement(each, 3):
        for prepared in two:
            yield shown, prepared


def test_a_new_view_is_refused_where_the_model_refuses_it() -> None:
    refused = 0
    for shown, prepared in new_views():
        h0, choice = rules.select(shown, prepared, rules.sizes(4).tau)
        decision = certificate(CertificateKind.FAST, 0, h0 - 1, ZERO) if h0 > 1 else None
        message = NewView(
            0, VIEWS, h0, digest(choice) if choice else None,
            tuple(standing(i, s) for i, s in enumerate(shown)),
            decision, attached(prepared, h0), bytes(64),
        )  # fmt: skip
        good = rules.admits(shown, prepared, h0)
        assert (flaw(message, quorums(4)) == "") is good, (shown, prepared)
        refused += not good
    assert refused
