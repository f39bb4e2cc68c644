"""A cooperative game in a file, shared by the Shapley value (P1, §3.4): ``vppd market shapley``.

Players are named; a coalition is their names with commas between, in any order. What no line says
is worth nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn, NotRequired, TypedDict

import msgspec

from vppd.errors import Exit, UserError
from vppd.market.shapley import (
    EXACT_PLAYERS,
    contribution_ranges,
    error_bound,
    exact,
    sampled,
    walk_of,
)
from vppd.types import Micro

MOST_PLAYERS = 64
MOST_SAMPLES = 1_000_000
MOST_VALUE = 2**62
_MOST_DIGITS = 20
_MOST_SHOWN = 40
_BETWEEN = ","
_HINT = '{"players": ["1", "2"], "values": {"1": 10, "1,2": 30}}, in UTF-8'


class _GameIn(msgspec.Struct, forbid_unknown_fields=True):
    players: list[str]
    values: msgspec.Raw


class ShapleyOut(TypedDict):
    """What ``vppd market shapley`` prints."""

    shares: dict[str, int]
    """In player order; they add up to what all are worth together."""
    samples: NotRequired[int]
    """Orders averaged; only if sampled, as the other two."""
    seed: NotRequired[str]
    error_bound: NotRequired[dict[str, int]]
    """How far a share may be from the exact one, for 95 % of seeds."""


def shapley_file(
    document: bytes,
    *,
    samples: int | None = None,
    seed: str | None = None,
    source: str = "the document",
) -> ShapleyOut:
    """Shares the worth of a game in a JSON document.

    Args:
        document: ``{"players": […], "values": {…}}``; values are integers, of any unit.
        samples: average over so many orders; None: solve exactly, for up to 12 players.
        seed: what the orders are drawn from, as UTF-8.
        source: what to call the document in errors.

    Raises:
        UserError: E565–E573; says where in the document.
    """
    _check_sampling(samples, seed)
    players, pairs = _parse(document, source)
    where = _Where(source)
    values = _values(pairs, _players(players, where), where)
    if samples is None or seed is None:
        if len(players) > EXACT_PLAYERS:
            where.fail(
                "E571",
                "the game has too many players to be solved exactly",
                "players",
                f"{len(players)}, at most {EXACT_PLAYERS}",
                "--samples 10000 --seed WORD",
            )
        dense = [values.get(mask, 0) for mask in range(1 << len(players))]
        return {"shares": _named(players, exact(dense).split())}
    quotients = sampled(len(players), walk_of(values), seed.encode(), samples)
    bounds = [error_bound(r, samples) for r in contribution_ranges(len(players), values)]
    return {
        "shares": _named(players, quotients.split()),
        "samples": samples,
        "seed": seed,
        "error_bound": _named(players, bounds),
    }


def _named(players: Sequence[str], numbers: Sequence[int]) -> dict[str, int]:
    return dict(zip(players, numbers, strict=True))


def _check_sampling(samples: int | None, seed: str | None) -> None:
    wanted = 1 if samples is None else samples
    if (samples is None) != (seed is None) or not 1 <= wanted <= MOST_SAMPLES:
        raise UserError(
            "E573",
            "a sample takes a number of orders and a seed",
            facts={"found": f"--samples {samples}, --seed {seed}"},
            hint=f"--samples 10000 --seed WORD, at most {MOST_SAMPLES} samples; or neither",
            exit_code=Exit.USAGE,
        )


class _Where:
    """Raises errors that say where in which document."""

    def __init__(self, source: str) -> None:
        self._source = source

    def fail(self, code: str, what: str, path: str, found: str, hint: str) -> NoReturn:
        facts = {"file": self._source, "at": path, "found": found}
        raise UserError(code, what, facts=facts, hint=hint)


def _parse(document: bytes, source: str) -> tuple[list[str], object]:
    """The players, and the coalitions as pairs: a dict would hide one that is listed twice."""
    try:
        parsed = msgspec.json.decode(document, type=_GameIn)
        pairs = json.loads(bytes(parsed.values), object_pairs_hook=_Pairs, parse_int=_integer)
    except msgspec.ValidationError as err:
        fault, _, path = str(err).partition(" - at ")
        at = path.strip("`").removeprefix("$").lstrip(".") or "top level"
        raise UserError(
            "E566",
            "the document is not a cooperative game",
            facts={"file": source, "at": at, "found": fault[:1].lower() + fault[1:]},
            hint=_HINT,
        ) from err
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise UserError(
            "E565",
            "the document is not JSON",
            facts={"file": source, "found": str(err)},
            hint=_HINT,
        ) from err
    return parsed.players, pairs


def _integer(digits: str) -> int | str:
    """A number of absurd length stays text, which is no integer."""
    return int(digits) if len(digits) <= _MOST_DIGITS else digits


def _players(names: list[str], where: _Where) -> dict[str, int]:
    """Each player's number."""
    number: dict[str, int] = {}
    if not 1 <= len(names) <= MOST_PLAYERS:
        what = f"{len(names)}, a game has 1 to {MOST_PLAYERS}"
        where.fail("E567", "a game needs players", "players", what, '"players": ["1", "2"]')
    for index, name in enumerate(names):
        at = f"players[{index}]"
        if not name or name != name.strip() or _BETWEEN in name:
            hint = "a name without commas, and without blanks around it"
            where.fail("E567", "a player has no proper name", at, repr(name), hint)
        if name in number:
            found = f"{name!r}, as players[{number[name]}]"
            where.fail("E567", "two players have the same name", at, found, "a new name")
        number[name] = index
    return number


def _values(pairs: object, number: dict[str, int], where: _Where) -> dict[int, Micro]:
    """What each listed coalition is worth, by its mask."""
    if not isinstance(pairs, _Pairs):
        where.fail("E566", "the document is not a cooperative game", "values", "no object", _HINT)
    values: dict[int, Micro] = {}
    names: dict[int, str] = {}
    for name, value in pairs:
        at = f"values[{json.dumps(name, ensure_ascii=False)}]"
        mask = _coalition(name, number, at, where)
        if mask in names:
            found = f"also as {names[mask]!r}"
            where.fail("E569", "a coalition is listed twice", at, found, "one line for each")
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MOST_VALUE:
            where.fail(
                "E570",
                "a coalition's worth is not an integer",
                at,
                _shown(value),
                f"a whole number, at most {MOST_VALUE} from zero",
            )
        if mask == 0 and value != 0:
            where.fail("E572", "the coalition of nobody is worth something", at, str(value), "0")
        names[mask], values[mask] = name, value
    return values


def _coalition(name: str, number: dict[str, int], at: str, where: _Where) -> int:
    mask = 0
    for member in [part.strip() for part in name.split(_BETWEEN)] if name.strip() else []:
        if member not in number:
            found = repr(member)
            where.fail("E568", "a coalition has an unknown player", at, found, "one of the players")
        if mask >> number[member] & 1:
            where.fail("E568", "a coalition has a player twice", at, repr(member), "each once")
        mask |= 1 << number[member]
    return mask


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it stands, keys that repeat and all."""
