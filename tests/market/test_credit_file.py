"""``vppd market credit FILE``: deliveries replayed, the file's faults, and the command."""

from __future__ import annotations

import json
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from vppd.cli.credit import credit
from vppd.cli.output import Output
from vppd.errors import Exit, UserError
from vppd.market.credit_file import RULES, credit_file


def record(**changes: Any) -> dict[str, Any]:
    return {"agent": "A", "day": 1, "score": "0.9", **changes}


def document(*records: dict[str, Any], **top: Any) -> bytes:
    return json.dumps({"records": records, **top}).encode()


GOLDEN = document(
    record(),
    record(day=2, score="1"),
    record(agent="B", score="1"),
    record(agent="B", day=2, score="0.9"),
    start_ppm=800_000,
)


def values(data: bytes, rules: str = "paper003") -> dict[str, list[int]]:
    out = credit_file(data, rules)
    return {agent: [day["credit_ppm"] for day in days] for agent, days in out["credit"].items()}


def refused(data: bytes, rules: str = "default") -> UserError:
    with pytest.raises(UserError) as error:
        credit_file(data, rules, source="deliveries.json")
    return error.value


def test_the_published_numbers() -> None:
    assert values(GOLDEN) == {"A": [800_000, 802_000], "B": [800_000, 792_000]}


def test_output_has_exactly_the_documented_form() -> None:
    energy = {"contracted_wh": 1_000, "delivered_wh": 900}
    data = document({"agent": "A", "day": 3, **energy}, {"agent": "A", "day": 4, **energy})
    assert credit_file(data, "default") == {
        "rules": "default",
        "credit": {
            "A": [
                {
                    "day": 3,
                    "slots": 1,
                    "missing": 0,
                    "score_ppm": 900_000,
                    "credit_ppm": 810_000,
                    "change_ppm": 10_000,
                    "reason": "score 0.900 is above the credit 0.800",
                },
                {
                    "day": 4,
                    "slots": 1,
                    "missing": 0,
                    "score_ppm": 900_000,
                    "credit_ppm": 819_000,
                    "change_ppm": 9_000,
                    "reason": "score 0.900 is above the credit 0.810",
                },
            ]
        },
        "final": {"A": 819_000},
    }


def test_scores_may_be_written_in_any_of_three_ways() -> None:
    forms = ({"score": "0.9"}, {"score": 0.9}, {"score_ppm": 900_000})
    documents = [document({"agent": "A", "day": 1, **form}) for form in forms]
    assert len({str(values(data, "default")) for data in documents}) == 1


def test_the_order_of_the_records_does_not_matter() -> None:
    records = [record(day=day, score=f"0.{day}") for day in range(1, 9)]
    assert values(document(*records)) == values(document(*records[::-1]))


def test_what_nobody_measured_scores_nothing_and_is_counted() -> None:
    out = credit_file(document({"agent": "A", "day": 1, "contracted_wh": 500}), "default")
    (day,) = out["credit"]["A"]
    assert (day["missing"], day["score_ppm"], day["credit_ppm"]) == (1, 0, 720_000)


def test_slots_of_a_day_weigh_with_their_contracts() -> None:
    slot = {"agent": "A", "day": 1}
    data = document(
        {**slot, "contracted_wh": 100, "delivered_wh": 100},
        {**slot, "contracted_wh": 900, "delivered_wh": 0},
    )
    assert credit_file(data, "default")["credit"]["A"][0]["score_ppm"] == 100_000


def test_scores_of_a_day_weigh_alike() -> None:
    data = document(record(score="1"), record(score="0.5"), record(score="0"))
    assert credit_file(data, "default")["credit"]["A"][0]["score_ppm"] == 500_000


def test_an_agent_may_start_elsewhere_and_with_a_score() -> None:
    start = {"A": {"credit": "0.8", "score": "0.9"}, "Z": {"credit_ppm": 5}}
    out = credit_file(document(record(score="1"), start_ppm=0, agents=start), "paper003")
    assert out["final"] == {"A": 802_000, "Z": 5}
    assert out["credit"]["Z"] == []


def test_no_records_are_no_credit() -> None:
    assert credit_file(document(), "default") == {"rules": "default", "credit": {}, "final": {}}


@pytest.mark.parametrize(
    ("rules", "scores", "reason"),
    [
        ("fixed", ["0.5"], "score 0.500; the rule never changes credit"),
        ("level", ["0.8"], "score 0.800 equals the credit 0.800"),
        ("level", ["0.5"], "score 0.500 is below the credit 0.800"),
        ("paper003", ["0.5"], "score 0.500 is the first: nothing to compare it with"),
        ("paper003", ["0.5", "0.5"], "score 0.500 after 0.500: no change, no reward"),
        ("paper003", ["0.5", "0.4"], "score 0.400 is below the last score 0.500"),
    ],
)
def test_every_change_has_its_reason(rules: str, scores: list[str], reason: str) -> None:
    records = [record(day=day, score=score) for day, score in enumerate(scores)]
    assert credit_file(document(*records), rules)["credit"]["A"][-1]["reason"] == reason


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", document()[:-1], document() + b"}"])
def test_anything_but_json_is_refused(data: bytes) -> None:
    error = refused(data)
    assert (error.code, error.facts["file"]) == ("E520", "deliveries.json")


@pytest.mark.parametrize(
    ("data", "code", "at", "hint"),
    [
        (b"[]", "E521", "top level", "whole numbers"),
        (b"{}", "E521", "top level", 'add "records"'),
        (document({"agent": "A"}), "E521", "records[0]", 'add "day"'),
        (document(record(daye=1)), "E521", "records[0]", '"day"'),
        (document(record(qqqq=1)), "E521", "records[0]", 'remove "qqqq"'),
        (document(record(day="1")), "E521", "records[0].day", "without quotes"),
        (document(start_ppm=1_000_001), "E522", "start_ppm", "parts per million"),
        (document(record(score="1.1")), "E522", "records[0].score", "parts per million"),
        (document(record(score="-1")), "E522", "records[0].score", "a decimal"),
        (document(record(score=[])), "E522", "records[0].score", "a decimal"),
        (document(record(score="0.1234567")), "E522", "records[0].score", "a decimal"),
        (document(record(score_ppm=1)), "E522", "records[0].score", "one of the two"),
        (document(agents={"A": {"credit": "2"}}), "E522", "agents.A.credit", "per million"),
        (document(record(agent="")), "E523", "records[0].agent", "a name"),
        (document(record(day=-1)), "E523", "records[0].day", "count up"),
        (document({"agent": "A", "day": 1}), "E524", "records[0]", '"contracted_wh"'),
        (document(record(contracted_wh=5)), "E524", "records[0]", "or"),
        (
            document({"agent": "A", "day": 1, "contracted_wh": 0, "delivered_wh": 5}),
            "E524",
            "records[0].contracted_wh",
            "above zero",
        ),
        (
            document({"agent": "A", "day": 1, "delivered_wh": 5}),
            "E524",
            "records[0].contracted_wh",
            "above zero",
        ),
        (
            document({"agent": "A", "day": 1, "contracted_wh": 5, "delivered_wh": 2**60}),
            "E524",
            "records[0].delivered_wh",
            "at most",
        ),
        (
            document(record(), {"agent": "A", "day": 1, "contracted_wh": 5}),
            "E524",
            "records[1]",
            "one form",
        ),
    ],
)
def test_a_fault_is_refused_with_its_place(data: bytes, code: str, at: str, hint: str) -> None:
    error = refused(data)
    assert (error.code, error.facts["at"]) == (code, at)
    assert error.hint is not None
    assert hint in error.hint


def test_unknown_rules_are_refused_with_the_closest() -> None:
    error = refused(document(), "paper03")
    assert (error.code, error.exit_code, error.hint) == ("E525", Exit.USAGE, "--rules paper003")
    assert error.facts["known"] == ", ".join(RULES)


def test_the_command_reads_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "deliveries.json"
    file.write_bytes(GOLDEN)
    credit(str(file), rules="paper003", output=Output.JSON)
    assert json.loads(capsys.readouterr().out) == credit_file(GOLDEN, "paper003")
    credit(str(file), rules="paper003", output=Output.TABLE)
    assert "0.802000" in capsys.readouterr().out


def test_the_command_reads_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(document())))
    credit("-", output=Output.TABLE)
    assert capsys.readouterr().out == "no deliveries\n"


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        credit(str(tmp_path / "none.json"))
    assert error.value.code == "E526"
