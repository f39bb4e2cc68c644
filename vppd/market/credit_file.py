"""A file of delivery records replayed to credit values, without a network (P3, eqs 5–7).

The arithmetic is the ledger's own (:mod:`vppd.market.credit`), so what comes out is what the chain
would have done with these deliveries.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Final, NoReturn, TypedDict

import msgspec

from vppd.config.billing import CreditRule
from vppd.config.genesis import STARTING_CREDIT
from vppd.errors import Exit, UserError
from vppd.market.credit import day_score, delivery_score, honoured_wh, next_credit
from vppd.market.money import format_micro, parse_decimal_micro
from vppd.types import PPM, Ppm, Wh

RULES: Final[dict[str, CreditRule]] = {
    "default": "level",
    "level": "level",
    "paper003": "paper003",
    "fixed": "fixed",
}
"""What ``--rules`` takes; ``default`` is the rule a new plant runs with."""
_MOST_WH = 2**53
_MOST_DAY = 2**53
_NONE = msgspec.Raw(b"null")
_FIELD = re.compile(r"(?P<fault>missing required|contains unknown) field `(?P<name>[^`]*)`")


class _RecordIn(msgspec.Struct, forbid_unknown_fields=True):
    agent: str
    day: int
    contracted_wh: int | None = None
    delivered_wh: int | None = None
    score: msgspec.Raw = _NONE
    score_ppm: int | None = None


class _StartIn(msgspec.Struct, forbid_unknown_fields=True):
    credit: msgspec.Raw = _NONE
    credit_ppm: int | None = None
    score: msgspec.Raw = _NONE
    score_ppm: int | None = None


class _FileIn(msgspec.Struct, forbid_unknown_fields=True):
    records: list[_RecordIn]
    start_ppm: int = STARTING_CREDIT
    agents: dict[str, _StartIn] = {}


class DayOut(TypedDict):
    """One day of one agent, as printed."""

    day: int
    slots: int
    """Records of that day."""
    missing: int
    """Those among them whose delivery nobody measured: they score 0."""
    score_ppm: int
    credit_ppm: int
    """After the day."""
    change_ppm: int
    reason: str


class CreditOut(TypedDict):
    """Everything ``vppd market credit FILE`` prints."""

    rules: str
    credit: dict[str, list[DayOut]]
    final: dict[str, int]
    """Of each agent, ppm."""


class _Day:
    """What one agent did on one day."""

    def __init__(self) -> None:
        self.slots = self.missing = 0
        self.contracted_wh: Wh = 0
        self.honoured_wh: Wh = 0
        self.scores: list[Ppm] = []
        """Given as scores; they weigh alike."""

    def score(self) -> Ppm:
        if self.scores:
            return day_score(PPM * len(self.scores), sum(self.scores))
        return day_score(self.contracted_wh, self.honoured_wh)


def credit_file(document: bytes, rules_name: str, *, source: str = "the document") -> CreditOut:
    """Replay a JSON document of delivery records (docs/json.md).

    Args:
        document: ``{"start_ppm": …, "records": […]}``, in any order.
        rules_name: a name from :data:`RULES`.
        source: what to call the document in errors.

    Returns:
        Agents by name, the days of each ascending; a day without a record changes nothing.

    Raises:
        UserError: E520–E525; says where in the document.
    """
    rule = _rules(rules_name)
    parsed = _parse(document, source)
    where = _Where(source)
    start = where.ppm("start_ppm", parsed.start_ppm)
    days = _days(parsed.records, where)
    credit: dict[str, list[DayOut]] = {}
    final: dict[str, int] = {}
    for name in sorted(parsed.agents.keys() | days.keys()):
        known = parsed.agents.get(name) or _StartIn()
        at = f"agents.{name}"
        own = where.either(at, "credit", known.credit, known.credit_ppm)
        value = start if own is None else own
        previous = where.either(at, "score", known.score, known.score_ppm)
        credit[name] = []
        for number, day in sorted(days.get(name, {}).items()):
            before, score = value, day.score()
            value = next_credit(rule, before, score, previous)
            reason = _reason(rule, score, previous, before, value)
            credit[name].append(
                DayOut(
                    day=number,
                    slots=day.slots,
                    missing=day.missing,
                    score_ppm=score,
                    credit_ppm=value,
                    change_ppm=value - before,
                    reason=reason,
                )
            )
            previous = score
        final[name] = value
    return {"rules": rules_name, "credit": credit, "final": final}


def _reason(rule: CreditRule, score: Ppm, previous: Ppm | None, before: Ppm, after: Ppm) -> str:
    said = f"score {format_micro(score, 3)}"
    if rule == "fixed":
        return f"{said}; the rule never changes credit"
    if rule == "level":
        return f"{said} {_against(score, before)} the credit {format_micro(before, 3)}"
    if previous is None:
        return f"{said} is the first: nothing to compare it with"
    if after == before:
        return f"{said} after {format_micro(previous, 3)}: no change, no reward"
    return f"{said} {_against(score, previous)} the last score {format_micro(previous, 3)}"


def _against(value: int, other: int) -> str:
    return "equals" if value == other else ("is above" if value > other else "is below")


def _days(records: list[_RecordIn], where: _Where) -> dict[str, dict[int, _Day]]:
    days: dict[str, dict[int, _Day]] = {}
    for index, record in enumerate(records):
        at = f"records[{index}]"
        if not record.agent:
            where.fail("E523", "a record names nobody", f"{at}.agent", '""', 'a name, as "Agg1"')
        if not 0 <= record.day <= _MOST_DAY:
            what = "a day is no whole number from 0"
            where.fail("E523", what, f"{at}.day", str(record.day), "days count up: 0, 1, 2, …")
        day = days.setdefault(record.agent, {}).setdefault(record.day, _Day())
        day.slots += 1
        score = where.either(at, "score", record.score, record.score_ppm)
        energy = record.contracted_wh is not None or record.delivered_wh is not None
        if (score is None) != energy:
            where.fail(
                "E524",
                "a record needs a score or a contract, and not both",
                at,
                "both" if energy else "neither",
                '"contracted_wh" with "delivered_wh", or "score"',
            )
        if day.scores if energy else day.contracted_wh:
            where.fail(
                "E524",
                "one day of an agent mixes scores and energy, which cannot be weighed together",
                at,
                f"day {record.day} of {record.agent}",
                "all records of a day in one form",
            )
        if score is not None:
            day.scores.append(score)
        else:
            _count_energy(record, day, at, where)
    return days


def _count_energy(record: _RecordIn, day: _Day, at: str, where: _Where) -> None:
    contracted, delivered = record.contracted_wh, record.delivered_wh
    if contracted is None or not 0 < contracted <= _MOST_WH:
        what = "a record has nothing contracted"
        where.fail("E524", what, f"{at}.contracted_wh", str(contracted), "whole Wh above zero")
    if delivered is not None and not -_MOST_WH <= delivered <= _MOST_WH:
        what = "a delivery is out of range"
        where.fail("E524", what, f"{at}.delivered_wh", str(delivered), f"at most {_MOST_WH} Wh")
    day.contracted_wh += contracted
    if delivered is None:
        day.missing += 1  # what nobody measured was not delivered
    else:
        day.honoured_wh += honoured_wh(contracted, delivery_score(contracted, delivered))


class _Where:
    """Raises errors that say where in which document."""

    def __init__(self, source: str) -> None:
        self._source = source

    def fail(self, code: str, what: str, path: str, found: str, hint: str) -> NoReturn:
        facts = {"file": self._source, "at": path, "found": found}
        raise UserError(code, what, facts=facts, hint=hint)

    def ppm(self, path: str, value: int) -> Ppm:
        if not 0 <= value <= PPM:
            what = "a credit or score is not from 0 to 1"
            self.fail("E522", what, path, str(value), f"0 to {PPM} parts per million")
        return value

    def either(self, at: str, name: str, raw: msgspec.Raw, ppm: int | None) -> Ppm | None:
        """A value written as a decimal, with or without quotes, or in ppm; ``None``: neither.

        A number without quotes is read by its digits: no binary fraction comes in between.
        """
        written = bytes(raw).decode()
        text = None if written == "null" else written.removeprefix('"').removesuffix('"')
        if text is not None and ppm is not None:
            what = "a value is given twice"
            self.fail("E522", what, f"{at}.{name}", f"{name} and {name}_ppm", "one of the two")
        if ppm is not None:
            return self.ppm(f"{at}.{name}_ppm", ppm)
        if text is None:
            return None
        try:
            value = parse_decimal_micro(text)
        except ValueError as err:
            what = "a credit or score is not a decimal"
            self.fail("E522", what, f"{at}.{name}", str(err), 'a decimal such as "0.9"')
        return self.ppm(f"{at}.{name}", value)


def _rules(name: str) -> CreditRule:
    if name in RULES:
        return RULES[name]
    close = get_close_matches(name, list(RULES), n=1)
    raise UserError(
        "E525",
        f"there are no credit rules named {name!r}",
        facts={"known": ", ".join(RULES)},
        hint=f"--rules {close[0] if close else 'default'}",
        exit_code=Exit.USAGE,
    )


def _parse(document: bytes, source: str) -> _FileIn:
    try:
        return msgspec.json.decode(document, type=_FileIn)
    except msgspec.ValidationError as err:
        fault, _, path = str(err).partition(" - at ")
        facts = {"file": source, "at": path.strip("`").removeprefix("$").lstrip(".") or "top level"}
        raise UserError(
            "E521",
            "the document is not a file of delivery records",
            facts={**facts, "found": fault[:1].lower() + fault[1:]},
            hint=_field_hint(fault),
        ) from err
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise UserError(
            "E520",
            "the document is not JSON",
            facts={"file": source, "found": str(err)},
            hint='{"start_ppm": 800000, "records": […]}, in UTF-8',
        ) from err


def _field_hint(fault: str) -> str | None:
    field = _FIELD.search(fault)
    if field is None:
        return 'whole numbers without quotes, scores as decimals in quotes: "0.9"'
    if field["fault"] == "missing required":
        return f'add "{field["name"]}"'
    known = [name for kind in (_FileIn, _RecordIn, _StartIn) for name in kind.__struct_fields__]
    close = get_close_matches(field["name"], known, n=1)
    return f'"{close[0]}"' if close else f'remove "{field["name"]}"'
