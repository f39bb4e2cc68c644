"""``vppd market shapley``: the file, its faults, and the command."""

from __future__ import annotations

import json
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from vppd.cli.output import Output
from vppd.cli.shapley import shapley
from vppd.errors import Exit, UserError
from vppd.market.game_file import MOST_PLAYERS, MOST_SAMPLES, shapley_file

MILLION = 1_000_000
VALUES = {"1": 10 * MILLION, "1,2": 30 * MILLION, "1,3": 20 * MILLION, "1,2,3": 60 * MILLION}
PAPER = {"players": ["1", "2", "3"], "values": VALUES}
SHARES = {"1": 31_666_667, "2": 16_666_667, "3": 11_666_666}


def document(game: Any = PAPER) -> bytes:
    return json.dumps(game).encode()


def with_values(values: dict[str, Any]) -> bytes:
    return document({"players": ["1", "2", "3"], "values": values})


def refused(data: bytes, **options: Any) -> UserError:
    with pytest.raises(UserError) as error:
        shapley_file(data, source="game.json", **options)
    return error.value


def test_output_has_exactly_the_documented_form() -> None:
    assert shapley_file(document()) == {"shares": SHARES}


def test_shares_stand_in_the_order_of_the_players() -> None:
    game = {"players": ["3", "1", "2"], "values": VALUES}
    shares = shapley_file(document(game))["shares"]
    assert list(shares.items()) == [("3", 11_666_667), ("1", 31_666_667), ("2", 16_666_666)]


def test_the_order_within_a_coalition_says_nothing_and_blanks_neither() -> None:
    values = {"1": 10, " 2 , 1": 30, "3,1": 20, "3,2,1": 60}
    assert shapley_file(with_values(values)) == shapley_file(
        with_values({"1": 10, "1,2": 30, "1,3": 20, "1,2,3": 60})
    )


def test_what_is_not_listed_is_worth_nothing() -> None:
    assert shapley_file(with_values({})) == {"shares": {"1": 0, "2": 0, "3": 0}}


def test_a_loss_is_shared_as_exactly() -> None:
    shares = shapley_file(with_values({"1,2,3": -100}))["shares"]
    assert shares == {"1": -33, "2": -33, "3": -34}


def test_nobody_may_be_listed_with_nothing() -> None:
    assert shapley_file(with_values({**VALUES, "": 0})) == {"shares": SHARES}


def test_twelve_players_need_no_sample() -> None:
    names = [f"p{i}" for i in range(12)]
    game = {"players": names, "values": {",".join(names): 1_200}}
    assert shapley_file(document(game)) == {"shares": dict.fromkeys(names, 100)}


def test_a_sample_says_what_it_is_worth() -> None:
    names = [f"p{i}" for i in range(20)]
    game = {"players": names, "values": {",".join(names): 7, "p0": 5}}
    result = shapley_file(document(game), samples=500, seed="2026-05-01")
    assert sum(result["shares"].values()) == 7
    assert (result["samples"], result["seed"]) == (500, "2026-05-01")
    assert list(result["error_bound"]) == names
    assert all(bound > 0 for bound in result["error_bound"].values())
    assert list(result) == ["shares", "samples", "seed", "error_bound"]
    assert shapley_file(document(game), samples=500, seed="2026-05-01") == result


def test_thirteen_players_need_samples_and_a_seed() -> None:
    names = [f"p{i}" for i in range(13)]
    error = refused(document({"players": names, "values": {}}))
    assert (error.code, error.facts["at"]) == ("E571", "players")
    assert error.facts["found"] == "13, at most 12"
    assert error.hint == "--samples 10000 --seed WORD"


@pytest.mark.parametrize(
    "options",
    [
        {"samples": 10},
        {"seed": "x"},
        {"samples": 0, "seed": "x"},
        {"samples": -1, "seed": "x"},
        {"samples": MOST_SAMPLES + 1, "seed": "x"},
    ],
)
def test_samples_and_seed_come_together_and_in_bounds(options: dict[str, Any]) -> None:
    error = refused(document(), **options)
    assert (error.code, error.exit_code) == ("E573", Exit.USAGE)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b'{"players": ["\xff"], "values": {}}'])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    assert refused(text).code == "E565"


def test_nesting_without_end_is_refused() -> None:
    assert refused(b'{"players": ["1"], "values": ' + b"[" * 100_000).code == "E565"
    whole = b'{"players": ["1"], "values": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert refused(whole).code == "E565"


@pytest.mark.parametrize(
    ("game", "at"),
    [
        ([], "top level"),
        ({"players": ["1"]}, "top level"),
        ({"values": {}}, "top level"),
        ({**PAPER, "worth": 1}, "top level"),
        ({**PAPER, "players": "1"}, "players"),
        ({**PAPER, "players": [1]}, "players[0]"),
        ({**PAPER, "values": 5}, "values"),
        ({**PAPER, "values": []}, "values"),
        ({**PAPER, "values": None}, "values"),
    ],
)
def test_what_is_no_game_is_refused_with_the_place(game: Any, at: str) -> None:
    error = refused(document(game))
    assert (error.code, error.facts["at"]) == ("E566", at)


@pytest.mark.parametrize(
    ("players", "at"),
    [
        ([], "players"),
        ([f"p{i}" for i in range(MOST_PLAYERS + 1)], "players"),
        (["1", "2", "1"], "players[2]"),
        (["1", ""], "players[1]"),
        (["1,2"], "players[0]"),
        ([" 1"], "players[0]"),
    ],
)
def test_players_have_names_of_their_own(players: list[str], at: str) -> None:
    error = refused(document({"players": players, "values": {}}))
    assert (error.code, error.facts["at"]) == ("E567", at)


@pytest.mark.parametrize("coalition", ["4", "1,4", "1,1", "1,2,1", "1,", ",", "1 2"])
def test_a_coalition_has_known_players_each_once(coalition: str) -> None:
    error = refused(with_values({coalition: 5}))
    assert (error.code, error.facts["at"]) == ("E568", f'values["{coalition}"]')


@pytest.mark.parametrize(
    "values",
    [b'{"1,2": 5, "2,1": 5}', b'{"1": 5, "1": 5}', b'{"": 0, " ": 0}', b'{"1": 1, "1 ": 1}'],
)
def test_a_coalition_is_listed_once_in_whatever_order(values: bytes) -> None:
    error = refused(b'{"players": ["1", "2"], "values": ' + values + b"}")
    assert error.code == "E569"


@pytest.mark.parametrize(
    "worth", [1.5, 1.0, "1", True, None, [], {}, 2**62 + 1, -(2**63), float("nan")]
)
def test_a_worth_is_an_integer(worth: Any) -> None:
    data = with_values({"1": worth})
    error = refused(data)
    nan_is_no_json = b"NaN" in data
    assert error.code == ("E565" if nan_is_no_json else "E570")
    if not nan_is_no_json:
        assert error.facts["at"] == 'values["1"]'


def test_a_worth_of_ten_thousand_digits_is_refused_and_not_printed() -> None:
    error = refused(b'{"players": ["1"], "values": {"1": ' + b"9" * 10_000 + b"}}")
    assert error.code == "E570"
    assert len(error.facts["found"]) < 50


def test_nobody_is_worth_nothing() -> None:
    error = refused(with_values({"": 1}))
    assert (error.code, error.facts["at"]) == ("E572", 'values[""]')


# The command


def test_the_command_prints_what_the_function_returns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "game.json"
    file.write_bytes(document())
    shapley(file, None, None, Output.JSON)
    assert json.loads(capsys.readouterr().out) == {"shares": SHARES}


def test_the_command_prints_a_table_with_the_sum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "game.json"
    file.write_bytes(document())
    shapley(file, None, None, Output.TABLE)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["PLAYER", "SHARE"]
    assert lines[1].split() == ["1", "31666667"]
    assert lines[-1] == "together 60000000"


def test_a_sampled_table_shows_the_bound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "game.json"
    file.write_bytes(document())
    shapley(file, 100, "x", Output.TABLE)
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["PLAYER", "SHARE", "ERROR_BOUND"]
    assert "mean of 100 orders from seed 'x'" in out


def test_the_command_reads_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(document())))
    shapley(Path("-"), None, None, Output.JSON)
    assert json.loads(capsys.readouterr().out) == {"shares": SHARES}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        shapley(tmp_path / "no.json", None, None, Output.JSON)
    assert error.value.code == "E574"
