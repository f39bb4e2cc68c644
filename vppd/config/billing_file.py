"""The tables of bills in ``[market]`` as written: fees, credit, review and clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from vppd.config.billing import CreditRules, FeeRules, ReviewRules
from vppd.config.clock import (
    MOST_OFFSET_MINUTES,
    ClockChange,
    check_order,
    format_moment,
    parse_moment,
)
from vppd.config.reading import Reading
from vppd.config.values import format_decimal

_FEES = FeeRules()


class FeesTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[market.fees]`` as written."""

    grid_fee: str = format_decimal(_FEES.grid_fee)
    levy: str = format_decimal(_FEES.levy)
    block_reward: str = format_decimal(_FEES.block_reward)


class ClockTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[market.clock]]`` as written."""

    since: str = msgspec.field(name="from")
    offset_minutes: Annotated[int, Meta(ge=-MOST_OFFSET_MINUTES, le=MOST_OFFSET_MINUTES)]


def read_fees(table: FeesTable, say: Reading) -> FeeRules:
    """The section as the ledger takes it.

    Raises:
        ConfigError: E106.
    """
    return FeeRules(
        grid_fee=say.decimal(table.grid_fee, "market.fees.grid_fee"),
        levy=say.decimal(table.levy, "market.fees.levy"),
        block_reward=say.decimal(table.block_reward, "market.fees.block_reward"),
    )


def read_clock(tables: tuple[ClockTable, ...], say: Reading) -> tuple[ClockChange, ...]:
    """Changes of the clock, ascending.

    Raises:
        ConfigError: E106.
    """
    changes = []
    for i, table in enumerate(tables):
        where = f"market.clock[{i}].from"
        try:
            since = parse_moment(table.since)
            changes.append(ClockChange(from_ms=since, offset_minutes=table.offset_minutes))
            check_order(changes[-2:])
        except ValueError as err:
            raise say.bad(where, str(err), 'ascending, as from = "2027-03-28T01:00Z"') from err
    return tuple(changes)


def fee_lines(fees: FeeRules) -> Iterator[str]:
    """Left out where nothing is charged: a build before fees reads such a file too."""
    if fees != _FEES:
        yield from ("", "[market.fees]")
        for key in FeeRules.__struct_fields__:
            yield f'{key} = "{format_decimal(getattr(fees, key))}"'


def credit_lines(credit: CreditRules, review: ReviewRules) -> Iterator[str]:
    """Left out where nobody is rated and nothing reviewed."""
    if credit != CreditRules():
        yield from ("", "[market.credit]")
        for key in CreditRules.__struct_fields__:
            value = getattr(credit, key)
            if isinstance(value, tuple):
                yield f"{key} = [{', '.join(map(str, value))}]"
            else:
                yield f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}"
    if review != ReviewRules():
        yield from ("", "[market.review]", f"daily = {str(review.daily).lower()}")


def clock_lines(clock: tuple[ClockChange, ...]) -> Iterator[str]:
    """One entry per change."""
    for change in clock:
        yield from ("", "[[market.clock]]", f'from = "{format_moment(change.from_ms)}"')
        yield f"offset_minutes = {change.offset_minutes}"
