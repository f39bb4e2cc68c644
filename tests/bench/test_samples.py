"""Raw samples: what counts in the measured time, and what does not."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bench.made import samples
from vppd.bench.folder import by_second
from vppd.bench.samples import Samples, look

S = 1_000_000


def test_only_what_was_due_in_the_measured_time_is_measured() -> None:
    made = samples(
        (500, 500, 501, 1_500),  # due in the warm-up, committed in the measured time
        (1_000, 1_002, 1_003, 1_010),
        (1_500, 1_500, 1_510, 2_100),  # committed after it
        (2_000, 2_000, 2_001, 2_002),  # due after it
    )
    seen = look(made, 1 * S, 2 * S)
    assert (seen.due, seen.committed, seen.commits) == (2, 2, 2)
    assert list(seen.latencies_us) == [10_000, 600_000]
    assert list(seen.accepted_us) == [3_000, 10_000]


def test_latency_counts_from_when_it_was_to_be_sent() -> None:
    late = samples((1_000, 1_900, 1_901, 1_905))
    assert list(look(late, 0, 2 * S).latencies_us) == [905_000]


def test_dropped_was_never_taken_and_timed_out_was() -> None:
    made = samples((10, None, None, None), (20, 21, 22, None), (30, 31, None, None))
    seen = look(made, 0, S)
    assert (seen.due, seen.committed, seen.dropped, seen.timeouts) == (3, 0, 1, 2)


def test_committed_is_committed_although_its_connection_broke_before_it_was_through() -> None:
    seen = look(samples((10, None, None, 50)), 0, S)
    assert (seen.committed, seen.dropped) == (1, 0)


def test_samples_can_be_written_and_read(tmp_path: Path) -> None:
    made = samples((1, 2, 3, 4), (5, None, None, None))
    made.write(tmp_path / "s")
    again = Samples.read(tmp_path / "s")
    assert list(again.rows()) == list(made.rows())
    assert next(iter(made.rows())) == (1_000, 2_000, 3_000, 4_000)
    again.extend(made)
    assert len(again) == 4


def test_seconds_add_up() -> None:
    made = samples((100, 100, 101, 150), (900, 901, 902, 2_300), (1_100, None, None, None))
    rows = json.loads(json.dumps(list(by_second(made))))
    assert [row["t_s"] for row in rows] == [0, 1, 2]
    assert [row["sent"] for row in rows] == [2, 0, 0]
    assert [row["committed"] for row in rows] == [1, 0, 1]
    assert [row["max_ms"] for row in rows] == [50.0, None, 1400.0]


def test_nothing_sent_has_no_seconds() -> None:
    assert list(by_second(samples())) == []
