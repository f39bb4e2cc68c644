"""protocol.md, §1: sizes and the intersections they are chosen for."""

from __future__ import annotations

import pytest

from vppd.consensus.quorum import Quorums, quorums

TABLE = {
    # n: f, p, q, F, w
    1: (0, 0, 1, 1, 1),
    2: (0, 0, 2, 2, 2),
    3: (0, 0, 2, 3, 2),
    4: (1, 0, 3, 4, 3),
    5: (1, 0, 4, 5, 4),
    6: (1, 1, 4, 5, 5),
    7: (2, 0, 5, 7, 5),
    8: (2, 0, 6, 8, 6),
    9: (2, 1, 6, 8, 7),
    10: (3, 0, 7, 10, 7),
}


@pytest.mark.parametrize("n", TABLE)
def test_table_of_the_specification(n: int) -> None:
    q = quorums(n)
    assert (q.f, q.p, q.vote, q.fast, q.view_change) == TABLE[n]


def admissible() -> list[Quorums]:
    return [quorums(n, f) for n in range(1, 201) for f in range((n - 1) // 3 + 1)]


def test_intersections_hold_for_every_n_up_to_200_and_every_f() -> None:
    for s in admissible():
        q, w = s.vote, s.view_change
        assert 2 * q - s.n >= s.f + 1, s
        assert max(q, w) <= s.n - s.f, s
        assert s.fast + w - s.n - s.f >= s.claim, s
        assert s.f + (s.n - s.fast) < s.claim, s
        assert w + q - s.n >= s.f + 1, s
        assert s.f + s.p < q, s
        assert s.fast >= q, s


def test_the_usual_quorum_is_castro_liskovs_at_3f_plus_1() -> None:
    for f in range(1, 60):
        assert quorums(3 * f + 1).vote == 2 * f + 1


def test_lowering_f_buys_slack_for_dead_gateways() -> None:
    assert quorums(10, 2).p == 1
    assert quorums(10, 1).p == 2


def test_a_view_change_survives_as_many_dead_nodes_as_the_largest_f() -> None:
    for s in admissible():
        if s.f:
            assert s.view_change <= s.n - s.f
        if s.p and s.f < (s.n - 1) // 3:
            assert s.view_change <= s.n - (s.n - 1) // 3


@pytest.mark.parametrize(("n", "f", "p"), [(0, None, None), (4, 2, None), (3, 1, None), (4, 1, 1)])
def test_impossible_sizes_are_refused(n: int, f: int | None, p: int | None) -> None:
    with pytest.raises(ValueError, match=r"needs"):
        quorums(n, f, p)
