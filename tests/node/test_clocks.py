"""Whose clock is wrong: late messages, liars, too few to tell, and news once each way."""

from __future__ import annotations

import pytest

from vppd.consensus.boundary import Now
from vppd.node.clocks import ENOUGH, SAMPLES, Clocks, News, against_plant

TOLERANCE_MS = 500
NOON_MS = 1_767_268_800_000


def hear(clocks: Clocks, times: int = ENOUGH, **offsets_ms: int) -> list[News]:
    """So many pings of each: ``p1=600_000`` is validator 1, whose clock is 600 s ahead of ours."""
    return [
        news
        for second in range(times)
        for peer, offset_ms in offsets_ms.items()
        for news in clocks.heard(int(peer[1:]), *at(second, offset_ms))
    ]


def at(second: int, offset_ms: int) -> tuple[int, Now]:
    ours = Now(1_000 * second, NOON_MS + 1_000 * second)
    return ours.unix_ms + offset_ms, ours


NOON = Now(0, NOON_MS)


def test_clocks_that_agree_are_no_news() -> None:
    clocks = Clocks(4, 1, TOLERANCE_MS)
    assert hear(clocks, p1=3, p2=-20, p3=400) == []
    assert clocks.offsets(NOON) == {1: 1, 2: -22, 3: 398, None: -2}


def test_the_one_that_is_off_is_named_once_and_once_when_it_is_right_again() -> None:
    clocks = Clocks(4, 1, TOLERANCE_MS)
    assert hear(clocks, 20, p1=0, p2=0, p3=600_000) == [News(3, 600_000, wrong=True)]
    assert hear(clocks, 20, p1=0, p2=0, p3=0) == [News(3, 0, wrong=False)]


def test_a_node_whose_own_clock_is_off_says_so() -> None:
    clocks = Clocks(4, 1, TOLERANCE_MS)
    assert hear(clocks, 20, p1=-600_000, p2=-600_000, p3=-600_000) == [
        News(None, 600_000, wrong=True)
    ]
    assert clocks.offsets(NOON) == {1: 0, 2: 0, 3: 0, None: 600_000}


def test_f_liars_cannot_make_an_honest_clock_wrong() -> None:
    clocks = Clocks(7, 2, TOLERANCE_MS)
    news = hear(clocks, p1=0, p2=100, p3=-100, p4=50, p5=10**15, p6=10**15)
    assert {said.whose for said in news} == {5, 6}
    assert all(abs(clocks.offsets(NOON)[whose]) <= 200 for whose in (None, 1, 2, 3, 4))


def test_f_liars_of_the_fewest_that_count_cannot_either() -> None:
    clocks = Clocks(7, 2, TOLERANCE_MS)
    hear(clocks, p1=0, p2=100, p5=10**15)
    assert clocks.offsets(NOON) == {}
    news = hear(clocks, p6=10**15)
    assert {said.whose for said in news} == {5, 6}
    assert clocks.offsets(NOON)[None] == -100


def test_a_late_message_is_no_wrong_clock() -> None:
    clocks = Clocks(4, 1, TOLERANCE_MS)
    hear(clocks, SAMPLES, p1=0, p2=0, p3=0)
    for second in range(SAMPLES - 1):  # they all waited while this process stood still
        for peer in (1, 2, 3):
            assert clocks.heard(peer, *at(second, -60_000)) == []


def test_a_clock_that_is_set_back_is_seen_once_the_older_pings_are_gone() -> None:
    clocks = Clocks(4, 1, TOLERANCE_MS)
    hear(clocks, SAMPLES, p1=0, p2=0, p3=0)
    assert hear(clocks, SAMPLES - 1, p1=0, p2=0, p3=-60_000) == []
    assert hear(clocks, 1, p1=0, p2=0, p3=-60_000) == [News(3, -60_000, wrong=True)]


def test_too_few_pings_say_nothing_yet() -> None:
    clocks = Clocks(4, 1, TOLERANCE_MS)
    assert hear(clocks, ENOUGH - 1, p1=-9_000, p2=-9_000, p3=-9_000) == []
    assert clocks.offsets(NOON) == {}


def test_what_lies_about_the_tolerance_is_news_once() -> None:
    clocks = Clocks(4, 1, TOLERANCE_MS)
    hear(clocks, SAMPLES, p1=0, p2=0)
    news = [
        said
        for offset_ms in (499, 501, 499, 300, 501, 251, 501, 250)
        for said in hear(clocks, SAMPLES, p3=offset_ms)
    ]
    assert news == [News(3, 501, wrong=True), News(3, 250, wrong=False)]


def test_who_is_gone_is_forgotten_and_too_few_are_left_to_tell() -> None:
    clocks = Clocks(4, 1, TOLERANCE_MS)
    hear(clocks, p1=0, p2=0, p3=600_000)
    clocks.forget(3)
    assert set(clocks.offsets(NOON)) == {1, 2, None}
    clocks.forget(2)
    assert clocks.offsets(NOON) == {}
    assert hear(clocks, p2=0, p3=600_000) == [News(3, 600_000, wrong=True)]


def test_a_node_alone_has_nobody_to_compare_with() -> None:
    assert Clocks(1, 0, TOLERANCE_MS).offsets(NOON) == {}


@pytest.mark.parametrize(("n", "f"), [(2, 0), (3, 0)])
def test_of_two_that_differ_either_may_be_wrong(n: int, f: int) -> None:
    clocks = Clocks(n, f, TOLERANCE_MS)
    assert {said.whose for said in hear(clocks, p1=2_000)} == {1, None}
    assert clocks.offsets(NOON) == {1: 1_000, None: -1_000}


def test_against_the_median() -> None:
    assert against_plant({"a": 5, "b": 7, "c": 1_000}) == {"a": -2, "b": 0, "c": 993}


def test_when_the_own_clock_is_set_the_others_stay_what_they_were() -> None:
    clocks = Clocks(4, 1, TOLERANCE_MS)
    hear(clocks, SAMPLES, p1=-600_000, p2=-600_000, p3=-600_000)
    set_right = Now(9_000, NOON_MS + 9_000 - 600_000)
    news = [said for peer in (1, 2, 3) for said in clocks.heard(peer, set_right.unix_ms, set_right)]
    assert news == [News(None, 0, wrong=False)]


def test_how_far_off_is_wrong_follows_the_rules_in_force() -> None:
    clocks = Clocks(4, 1, TOLERANCE_MS)
    assert hear(clocks, p1=0, p2=0, p3=TOLERANCE_MS) == []
    clocks.expect(4, 1, TOLERANCE_MS // 2)
    assert [said.whose for said in hear(clocks, p3=TOLERANCE_MS)] == [3]
