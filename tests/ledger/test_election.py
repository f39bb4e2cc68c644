"""Scores and elections: the paper's figures, degenerate plants, and what no order may change."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import floor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vppd.consensus.quorum import quorums
from vppd.ledger.election import Ranking, Standing, elect, scores, votes
from vppd.types import PPM, PublicKey


def key(number: int) -> PublicKey:
    return bytes([number]) * 32


def standing(
    number: int, pre_wh: int, real_wh: int, energy_wh: int, *targets: int
) -> Standing:  # fmt: skip
    return Standing(key(number), pre_wh, real_wh, energy_wh, tuple(map(key, targets)))


def vote_quorum(n: int) -> int:
    return quorums(n).vote


def choose(standings: Sequence[Standing], delegates: int, **others: Any) -> list[int]:
    """The elected by number; unless told otherwise everybody is eligible and ready."""
    everybody = frozenset(s.key for s in standings)
    given_: dict[str, Any] = {
        "alpha_ppm": 700_000, "eligible": everybody, "ready": everybody, "current": (),
        "quorum": vote_quorum, "ranking": "composite",
    }  # fmt: skip
    return [k[0] for k in elect(standings, delegates=delegates, **{**given_, **others})]


energies = st.integers(0, 2**40)
alphas = st.integers(0, PPM)


@st.composite
def plants(draw: st.DrawFn, least: int = 1, most: int = 12) -> list[Standing]:
    numbers = draw(st.lists(st.integers(0, 40), min_size=least, max_size=most, unique=True))
    few = st.integers(0, 3)  # ties are likely
    energy = draw(st.sampled_from((energies, few)))
    targets = st.lists(st.sampled_from(numbers), max_size=3)
    return [standing(n, draw(energy), draw(energy), draw(energy), *draw(targets)) for n in numbers]


# ---------------------------------------------------------------- scores


def test_the_papers_example() -> None:
    """α = .7, Epre = 100, Ereal = 90, E = 30 in [10, 50]: .9 and .5 make .78."""
    plant = [standing(1, 100, 90, 30), standing(2, 100, 100, 10), standing(3, 100, 0, 50)]
    assert scores(plant, PPM)[key(1)] == 900_000
    assert scores(plant, 0)[key(1)] == 500_000
    assert scores(plant, 700_000) == {key(1): 780_000, key(2): 700_000, key(3): 300_000}


@pytest.mark.parametrize(
    ("pre_wh", "real_wh", "reputation"),
    [
        (0, 0, PPM), (0, 1, 0), (1, 0, 0), (1, 1, PPM), (100, 250, 0), (100, 200, 0),
        (100, 110, 900_000), (3, 2, 666_667), (3, 4, 666_667),
    ],
)  # fmt: skip
def test_reputation_at_its_ends(pre_wh: int, real_wh: int, reputation: int) -> None:
    plant = [standing(1, pre_wh, real_wh, 0), standing(2, 0, 0, 9)]
    assert scores(plant, PPM)[key(1)] == reputation


@pytest.mark.parametrize("energy_wh", [0, 7, 2**62])
def test_equal_energy_is_the_most_for_everybody(energy_wh: int) -> None:
    plant = [standing(i, 10, 10, energy_wh) for i in range(4)]
    assert scores(plant, 300_000) == {key(i): PPM for i in range(4)}


def test_nobody_has_no_scores() -> None:
    assert scores([], 700_000) == {}


@pytest.mark.parametrize("alpha_ppm", [-1, PPM + 1])
def test_alpha_is_a_share(alpha_ppm: int) -> None:
    with pytest.raises(ValueError, match="alpha_ppm"):
        scores([standing(1, 1, 1, 1)], alpha_ppm)


def test_a_node_stands_once() -> None:
    with pytest.raises(ValueError, match="two standings"):
        scores([standing(1, 1, 1, 1), standing(1, 2, 2, 2)], PPM)


@given(plants(), alphas)
def test_a_score_is_a_share_and_what_the_formula_says(plant: list[Standing], alpha: int) -> None:
    """Against the formula in fractions: each floor loses less than one part per million."""
    made = scores(plant, alpha)
    assert list(made) == sorted(s.key for s in plant)
    least, most = min(s.energy_wh for s in plant), max(s.energy_wh for s in plant)
    for s in plant:
        assert 0 <= made[s.key] <= PPM
        reputation = Fraction(not s.real_wh)
        if s.pre_wh:
            reputation = max(Fraction(0), 1 - Fraction(abs(s.pre_wh - s.real_wh), s.pre_wh))
        amount = Fraction(s.energy_wh - least, most - least) if most > least else Fraction(1)
        exact = alpha * reputation + (PPM - alpha) * amount
        assert abs(made[s.key] - exact) < 2, s


@given(plants(), alphas, st.data())
def test_a_larger_deviation_never_raises_a_score(
    plant: list[Standing], alpha: int, data: st.DataObject
) -> None:
    s = data.draw(st.sampled_from(plant))
    further = abs(s.pre_wh - s.real_wh) + data.draw(energies)
    worse = [t._replace(real_wh=s.pre_wh + further) if t is s else t for t in plant]
    before, after = scores(plant, alpha), scores(worse, alpha)
    assert after[s.key] <= before[s.key]
    assert all(after[k] == before[k] for k in before if k != s.key)


@given(plants(least=2), alphas, st.data())
def test_more_energy_never_lowers_the_own_score_nor_raises_anothers(
    plant: list[Standing], alpha: int, data: st.DataObject
) -> None:
    s = data.draw(st.sampled_from(plant))
    more = s.energy_wh + data.draw(energies)
    larger = [t._replace(energy_wh=more) if t is s else t for t in plant]
    before, after = scores(plant, alpha), scores(larger, alpha)
    if len({t.energy_wh for t in plant}) > 1:  # equal ones all stand at the top
        assert after[s.key] >= before[s.key]
        if s.energy_wh > min(t.energy_wh for t in plant if t is not s):
            assert all(after[k] <= before[k] for k in before if k != s.key)


# ---------------------------------------------------------------- votes


def test_a_vote_carries_the_voters_score_and_abstainers_vote_for_the_best() -> None:
    plant = [
        standing(1, 100, 100, 50, 4),  # 1,000,000
        standing(2, 100, 90, 30),  # 780,000, abstains
        standing(3, 100, 100, 30, 4, 2),  # 850,000
        standing(4, 100, 0, 10, 9, 9),  # 0
        standing(5, 100, 50, 20),  # 425,000, abstains
    ]
    score = scores(plant, 700_000)
    everybody = frozenset(s.key for s in plant)
    assert votes(plant, score, everybody, 2) == {
        key(1): 1_205_000 // 2,
        key(2): 425_000,
        key(3): 1_205_000 // 2,
        key(4): 1_000_000 + 425_000,
        key(5): 0,
    }
    assert choose(plant, 2) == [4, 1]
    assert choose(plant, 3) == [4, 2, 1]  # the default votes now reach 2, too


def test_default_votes_are_for_those_who_can_be_elected() -> None:
    """Else the seats of punished nodes would go to whoever has the lowest key."""
    plant = [standing(i, 100, 100, 10 * i) for i in range(6)]
    fit = frozenset(map(key, (0, 1, 2, 3)))
    assert choose(plant, 2, eligible=fit) == [2, 3]


def test_a_target_named_twice_is_named_once() -> None:
    plant = [standing(1, 1, 1, 1, 1, 1, 2), standing(2, 1, 1, 1, 2)]
    score = scores(plant, PPM)
    assert votes(plant, score, frozenset(map(key, (1, 2))), 1) == {
        key(1): 500_000, key(2): 1_500_000,
    }  # fmt: skip


@given(plants(), alphas, st.integers(1, 8))
def test_no_vote_is_made_of_nothing(plant: list[Standing], alpha: int, delegates: int) -> None:
    score = scores(plant, alpha)
    everybody = frozenset(score)
    made = votes(plant, score, everybody, delegates)
    assert all(v >= 0 for v in made.values())
    total = sum(score.values())
    lost = 3 * len(plant) + delegates
    assert total - lost <= sum(made.values()) <= total


# ---------------------------------------------------------------- elections


RANKINGS: tuple[Ranking, ...] = ("composite", "largest-producer")


@pytest.mark.parametrize("ranking", RANKINGS)
@pytest.mark.parametrize(("pre_wh", "real_wh", "energy_wh"), [(0, 0, 0), (5, 5, 7), (5, 0, 0)])
def test_equals_are_told_apart_by_key_alone(
    pre_wh: int, real_wh: int, energy_wh: int, ranking: Ranking
) -> None:
    """Among them: nobody has any energy, all scores are equal, all scores are zero."""
    plant = [standing(i, pre_wh, real_wh, energy_wh) for i in (9, 3, 7, 5, 1)]
    assert choose(plant, 3, ranking=ranking, alpha_ppm=PPM) == [1, 3, 5]


def test_by_energy_alone_the_largest_produce() -> None:
    plant = [
        standing(1, 9, 9, 10), standing(2, 9, 0, 30, 1), standing(3, 9, 9, 20, 1),
        standing(4, 9, 9, 30),
    ]  # fmt: skip
    assert choose(plant, 3, ranking="largest-producer") == [2, 4, 3]
    assert choose(plant, 3)[0] == 1


def test_without_votes_the_best_are_elected() -> None:
    plant = [standing(i, 100, 100 - i, 0) for i in range(8)]
    assert choose(plant, 4) == [0, 1, 2, 3]


def test_who_may_not_or_is_not_ready_is_passed_over() -> None:
    plant = [standing(i, 100, 100 - i, 0) for i in range(8)]
    eligible = frozenset(map(key, (0, 1, 3, 4, 5, 6)))
    ready = frozenset(map(key, (1, 2, 3, 4, 5, 7)))
    assert choose(plant, 4, eligible=eligible, ready=ready) == [1, 3, 4, 5]


def test_absent_members_fill_up_in_their_order() -> None:
    plant = [standing(i, 100, 100 - i, 0) for i in range(8)]
    current = tuple(map(key, (7, 6, 2, 5)))
    ready = frozenset(map(key, (0, 1, 2)))
    eligible = frozenset(s.key for s in plant) - {key(7)}
    assert choose(plant, 4, eligible=eligible, ready=ready, current=current) == [0, 1, 2, 6]


@pytest.mark.parametrize(("present", "stays"), [((0, 1), True), ((0, 1, 2), False)])
def test_a_set_that_could_not_decide_is_not_elected(
    present: tuple[int, ...], *, stays: bool
) -> None:
    """Of four agents three must be ready; n = 2, 3 need two."""
    plant = [standing(i, 100, 100 - i, 0) for i in range(8)]
    current = tuple(map(key, (4, 7, 6, 5)))
    got = choose(plant, 4, ready=frozenset(map(key, present)), current=current)
    assert got == ([4, 7, 6, 5] if stays else [0, 1, 2, 4])


def test_when_nobody_is_ready_the_current_set_stays_whoever_is_in_it() -> None:
    plant = [standing(i, 100, 100, 0) for i in range(4)]
    current = tuple(map(key, (3, 2)))
    assert choose(plant, 4, ready=frozenset(), eligible=frozenset(), current=current) == [3, 2]
    assert choose([], 4, current=current) == [3, 2]


def test_a_newcomer_without_standing_can_be_elected() -> None:
    plant = [standing(1, 1, 1, 1, 2), standing(3, 1, 1, 1)]
    three = frozenset(map(key, (1, 2, 3)))
    assert choose(plant, 2, eligible=three, ready=three) == [2, 1]
    assert choose(plant, 2, eligible=three, ready=three, ranking="largest-producer") == [1, 3]


@pytest.mark.parametrize("delegates", [0, -1])
def test_somebody_is_elected(delegates: int) -> None:
    with pytest.raises(ValueError, match="cannot be elected"):
        choose([standing(1, 1, 1, 1)], delegates)


@given(plants(), alphas, st.integers(1, 8), st.sampled_from(RANKINGS), st.data())
def test_the_order_of_the_input_is_nothing(
    plant: list[Standing], alpha: int, delegates: int, ranking: Ranking, data: st.DataObject
) -> None:
    keys = sorted(s.key for s in plant)
    some = st.frozensets(st.sampled_from(keys))
    others: dict[str, Any] = {
        "alpha_ppm": alpha, "ranking": ranking, "eligible": data.draw(some),
        "ready": data.draw(some), "current": tuple(data.draw(st.permutations(keys)))[:delegates],
    }  # fmt: skip
    shuffled = data.draw(st.permutations(plant))
    assert choose(plant, delegates, **others) == choose(shuffled, delegates, **others)
    assert scores(plant, alpha) == scores(shuffled, alpha)


@given(plants(), st.integers(1, 8), st.sampled_from(RANKINGS), st.data())
def test_who_is_elected_may_be_and_enough_are_there(
    plant: list[Standing], delegates: int, ranking: Ranking, data: st.DataObject
) -> None:
    keys = sorted(s.key for s in plant)
    eligible, ready = (data.draw(st.frozensets(st.sampled_from(keys))) for _ in range(2))
    current = tuple(data.draw(st.permutations(keys)))[:delegates]
    got = elect(
        plant, alpha_ppm=700_000, delegates=delegates, eligible=eligible, current=current,
        ready=ready, quorum=vote_quorum, ranking=ranking,
    )  # fmt: skip
    assert len(set(got)) == len(got) <= delegates
    if got != current:
        assert eligible.issuperset(got)
        assert len(ready.intersection(got)) >= vote_quorum(len(got))


@given(plants(least=2), st.integers(1, 8), st.data())
def test_another_vote_never_costs_a_seat(
    plant: list[Standing], delegates: int, data: st.DataObject
) -> None:
    seats = choose(plant, delegates)
    lucky = data.draw(st.sampled_from(seats))
    voter = data.draw(st.sampled_from(plant))
    voted = [t._replace(target=(key(lucky),)) if t is voter else t for t in plant]
    assert lucky in choose(voted, delegates)


def test_scores_are_floored_once_per_division() -> None:
    """⅔ of a contract, ⅓ of the span, α = ⅓: every division leaves something over."""
    plant = [standing(1, 3, 2, 1), standing(2, 1, 1, 0), standing(3, 1, 1, 3)]
    reputation, amount, alpha = PPM - PPM // 3, PPM // 3, PPM // 3
    exact = Fraction(alpha * reputation + (PPM - alpha) * amount, PPM)
    assert scores(plant, alpha)[key(1)] == floor(exact) == 444_444
