"""``[market]`` of genesis.toml: reading, checking and writing it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from vppd.config.billing import CreditRules, ReviewRules
from vppd.config.billing_file import (
    ClockTable,
    FeesTable,
    clock_lines,
    credit_lines,
    fee_lines,
    read_clock,
    read_fees,
)
from vppd.config.genesis import ConsentMode, Count, MarketRules, MarketRulesSection, Millis, Tariff
from vppd.config.reading import Reading
from vppd.config.sharing import SharingTable, sharing_lines, sharing_rules
from vppd.config.stages import NO_STAGES, StageRules
from vppd.config.values import DAY_MINUTES, format_decimal, format_hours, parse_hours
from vppd.errors import ConfigError
from vppd.types import Micro

ORDER_LIMIT: Micro = 2**52
"""The largest order's worth; the ledger counts to twice that, for rules with a tolerance."""
_MARKET = MarketRulesSection()
_Offset = Annotated[int, Meta(ge=0, lt=2**53)]
_Currency = Annotated[str, Meta(pattern="^[A-Za-z]{1,16}$")]


class TariffTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[market.tariff]]`` as written."""

    hours: str
    retail_price: str
    feed_in_price: str


class MarketTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[market]`` as written; the slot's length is in seconds or, for fast days, milliseconds."""

    rules: MarketRules = _MARKET.rules
    currency: _Currency = _MARKET.currency
    slot_seconds: Count | None = None
    slot_ms: Millis | None = None
    market_slot_seconds: Count = _MARKET.market_slot_minutes * 60
    origin_ms: _Offset = _MARKET.origin_ms
    market_offset_minutes: Annotated[int, Meta(ge=0, lt=DAY_MINUTES)] = (
        _MARKET.market_offset_minutes
    )
    open_lead_ms: Millis = _MARKET.open_lead_ms
    gate_lead_ms: Annotated[int, Meta(ge=0, lt=2**53)] = _MARKET.gate_lead_ms
    metering_ms: Millis = _MARKET.metering_ms
    dispute_slots: Annotated[int, Meta(ge=0, lt=2**31)] = _MARKET.dispute_slots
    max_quantity_wh: Annotated[int, Meta(ge=1, le=2**50)] = _MARKET.max_quantity_wh
    max_orders: Annotated[int, Meta(ge=1, le=1_024)] = _MARKET.max_orders
    max_price: str = format_decimal(_MARKET.max_price)
    fees: FeesTable = FeesTable()
    credit: CreditRules = CreditRules()
    review: ReviewRules = ReviewRules()
    clock: tuple[ClockTable, ...] = ()
    consent: ConsentMode = _MARKET.consent
    tariff: tuple[TariffTable, ...]
    stages: StageRules = NO_STAGES
    sharing: SharingTable = SharingTable()


class MarketReader:
    """Turns the written tables into the section.

    Args:
        say: the file's values and errors.
    """

    def __init__(self, say: Reading) -> None:
        self._say = say

    def market(self, table: MarketTable) -> MarketRulesSection:
        """The section as the ledger takes it.

        Raises:
            ConfigError: E103, E109 or E110.
        """
        if table.slot_ms is not None and table.slot_seconds is not None:
            raise self._say.limits(
                "slot_seconds and slot_ms both give the slot's length",
                {"market.slot_seconds": table.slot_seconds, "market.slot_ms": table.slot_ms},
                "keep one of them",
            )
        if table.market_slot_seconds % 60:
            raise self._say.bad(
                "market.market_slot_seconds",
                f"{table.market_slot_seconds} is not a whole number of minutes",
                "tariffs change by the minute: 900, 3600, …",
            )
        slot_ms = table.slot_ms
        if slot_ms is None:
            slot_ms = _MARKET.slot_ms if table.slot_seconds is None else table.slot_seconds * 1_000
        self._say.ordered(
            ("market.gate_lead_ms", table.gate_lead_ms),
            ("market.open_lead_ms", table.open_lead_ms),
            strictly=True,
        )
        max_price = self._say.decimal(table.max_price, "market.max_price")
        self._say.ordered(
            (
                "market.max_quantity_wh · market.max_price",
                table.max_quantity_wh * max_price // 1_000,
            ),
            ("what can be counted", ORDER_LIMIT),
        )
        return MarketRulesSection(
            rules=table.rules,
            currency=table.currency,
            origin_ms=table.origin_ms,
            slot_ms=slot_ms,
            market_slot_minutes=table.market_slot_seconds // 60,
            market_offset_minutes=table.market_offset_minutes,
            open_lead_ms=table.open_lead_ms,
            gate_lead_ms=table.gate_lead_ms,
            metering_ms=table.metering_ms,
            dispute_slots=table.dispute_slots,
            max_quantity_wh=table.max_quantity_wh,
            max_orders=table.max_orders,
            max_price=max_price,
            consent=table.consent,
            tariffs=tuple(self._tariffs(table.tariff, max_price)),
            clock=read_clock(table.clock, self._say),
            fees=read_fees(table.fees, self._say),
            credit=table.credit,
            review=table.review,
            stages=table.stages,
            sharing=sharing_rules(self._say, table.sharing, max_price),
        )

    def _tariffs(self, tables: tuple[TariffTable, ...], max_price: int) -> Iterator[Tariff]:
        prices: list[str | None] = [None] * DAY_MINUTES
        for i, table in enumerate(tables):
            where = f"market.tariff[{i}]"
            try:
                start, end = parse_hours(table.hours)
            except ValueError as err:
                raise self._say.bad(f"{where}.hours", str(err), 'hours = "23:00-07:00"') from err
            retail = self._say.decimal(table.retail_price, f"{where}.retail_price")
            feed_in = self._say.decimal(table.feed_in_price, f"{where}.feed_in_price")
            self._say.ordered(
                (f"{where}.feed_in_price", feed_in), (f"{where}.retail_price", retail)
            )
            self._say.ordered((f"{where}.retail_price", retail), ("market.max_price", max_price))
            for minute in range(start, end if end > start else end + DAY_MINUTES):
                taken = prices[minute % DAY_MINUTES]
                if taken is not None:
                    raise self._day(minute % DAY_MINUTES, f"{taken} and {table.hours} overlap")
                prices[minute % DAY_MINUTES] = table.hours
            yield Tariff(
                start_minute=start, end_minute=end, retail_price=retail, feed_in_price=feed_in
            )
        if None in prices:
            raise self._day(prices.index(None), "no tariff covers it")

    def _day(self, minute: int, why: str) -> ConfigError:
        return ConfigError(
            "E109",
            "the tariffs must cover each minute of the day exactly once",
            facts={
                "file": str(self._say.path),
                "key": "market.tariff",
                "minute": f"{minute // 60:02d}:{minute % 60:02d}",
                "why": why,
            },
            hint='intervals start inclusive, end exclusive: "23:00-07:00", "07:00-11:00", …',
        )


def market_lines(market: MarketRulesSection) -> Iterator[str]:
    """``[market]`` and its tariffs, as written."""
    yield from ("", "[market]")
    seconds, rest = divmod(market.slot_ms, 1_000)
    yield f'rules = "{market.rules}"'
    yield f'currency = "{market.currency}"'
    yield f"slot_ms = {market.slot_ms}" if rest else f"slot_seconds = {seconds}"
    yield f"market_slot_seconds = {market.market_slot_minutes * 60}"
    for key in (
        "origin_ms",
        "market_offset_minutes",
        "open_lead_ms",
        "gate_lead_ms",
        "metering_ms",
        "dispute_slots",
        "max_quantity_wh",
        "max_orders",
    ):
        yield f"{key} = {getattr(market, key)}"
    yield f'max_price = "{format_decimal(market.max_price)}"'
    if market.consent != _MARKET.consent:
        yield f'consent = "{market.consent}"'
    yield from fee_lines(market.fees)
    yield from credit_lines(market.credit, market.review)
    yield from clock_lines(market.clock)
    if market.stages != NO_STAGES:
        yield from ("", "[market.stages]", f'plans = "{market.stages.plans}"')
    yield from sharing_lines(market.sharing)
    for tariff in market.tariffs:
        yield from ("", "[[market.tariff]]")
        yield f'hours = "{format_hours(tariff.start_minute, tariff.end_minute)}"'
        yield f'retail_price = "{format_decimal(tariff.retail_price)}"'
        yield f'feed_in_price = "{format_decimal(tariff.feed_in_price)}"'
