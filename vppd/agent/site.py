"""site.toml: what stands behind a member's meter, and how it appears slot by slot.

Everything a person writes is by the clock of the market's day: 24 hourly values, or hours such as
``"18:00-07:00"``. The day repeats. A slot takes the part of each hour that lies in it, by
differences of running totals, so that the slots of a day add up to the day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta

from vppd.agent.planning import Placed
from vppd.assets.base import Asset
from vppd.assets.flexible import FlexibleLoad
from vppd.assets.sources import Generator, Household, Turbine, pv
from vppd.assets.storage import Battery, Stay, Vehicle, kept_wh
from vppd.config.toml import bad_value, check_distinct, convert, parse, read_bytes
from vppd.config.values import parse_decimal, parse_hours
from vppd.day.profiles import HOURS_PER_DAY, Profiles, load_profiles
from vppd.types import PPM, MicroPerKwh, Slot, Wh

_DAY_MINUTES = 1_440
_HOUR_S = 3_600

Watts = Annotated[int, Meta(ge=0, le=10**12)]
Energy = Annotated[int, Meta(ge=0, le=10**12)]
Share = Annotated[int, Meta(gt=0, le=PPM)]
Hourly = Annotated[
    tuple[Annotated[int, Meta(ge=0, le=10**9)], ...],
    Meta(min_length=HOURS_PER_DAY, max_length=HOURS_PER_DAY),
]


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """``[[asset]]``."""

    name: str


class LoadSpec(Spec, frozen=True, kw_only=True, tag="load"):
    """A load as it is."""

    column: str | None = None
    """Of the profiles file; or else:"""
    wh: Hourly | None = None
    """Taken in each hour of the day."""


class PvSpec(Spec, frozen=True, kw_only=True, tag="pv"):
    """A PV plant."""

    column: str | None = None
    """Of the profiles file; or else:"""
    peak_w: Watts = 0
    irradiance_w_m2: Hourly | None = None
    """On the panels in each hour of the day."""
    efficiency_ppm: Share = PPM


class WindSpec(Spec, frozen=True, kw_only=True, tag="wind"):
    """A wind turbine."""

    rated_w: Watts
    wind_mm_s: Hourly
    """At the hub in each hour of the day."""
    cut_in_mm_s: int = 3_000
    rated_mm_s: int = 12_000
    cut_out_mm_s: int = 25_000


class BatterySpec(Spec, frozen=True, kw_only=True, tag="battery"):
    """A store."""

    capacity_wh: Energy
    max_import_w: Watts
    max_export_w: Watts
    import_efficiency_ppm: Share = PPM
    export_efficiency_ppm: Share = PPM
    level_wh: Energy = 0
    """When the agent first sees it."""


class VehicleSpec(Spec, frozen=True, kw_only=True, tag="vehicle"):
    """An electric vehicle that stands here every day at the same hours."""

    hours: str
    """Plugged in, as ``"18:00-07:00"``."""
    capacity_wh: Energy
    max_import_w: Watts
    max_export_w: Watts = 0
    import_efficiency_ppm: Share = PPM
    export_efficiency_ppm: Share = PPM
    arrival_wh: Energy
    """In its battery when it comes."""
    wanted_wh: Energy
    """In its battery when it goes, at least."""


class FlexibleSpec(Spec, frozen=True, kw_only=True, tag="flexible"):
    """A load that may wait, every day."""

    hours: str
    """Within which it must run."""
    max_w: Watts
    energy_wh: Energy
    interruptible: bool = True


AnySpec: TypeAlias = LoadSpec | PvSpec | WindSpec | BatterySpec | VehicleSpec | FlexibleSpec


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema: int
    profiles: str | None = None
    generation_cost: str | None = None
    utility: str | None = None
    asset: tuple[AnySpec, ...] = ()


class Clock(NamedTuple):
    """How slots lie in the market's day."""

    offset_minutes: int
    """Minute of the day at which slot 0 starts."""
    slot_minutes: int

    def minute(self, slot: Slot) -> int:
        """Market minutes from midnight of slot 0's day to the start of ``slot``."""
        return self.offset_minutes + slot * self.slot_minutes

    @property
    def slots_per_day(self) -> int:
        """At least one."""
        return max(1, _DAY_MINUTES // self.slot_minutes)

    @property
    def slot_s(self) -> int:
        """Seconds of market time in a slot."""
        return self.slot_minutes * 60

    def first_from(self, minute: int) -> Slot:
        """The first slot that starts at ``minute`` or later."""
        return -(-(minute - self.offset_minutes) // self.slot_minutes)

    def last_before(self, minute: int) -> Slot:
        """The first slot that does not end by ``minute``: exclusive end of those that do."""
        return (minute - self.offset_minutes) // self.slot_minutes


class Source(NamedTuple):
    """A load or generator that nobody decides about: one day, over and over."""

    name: str
    hourly: tuple[Wh, ...]
    generates: bool

    def energy(self, clock: Clock, slot: Slot) -> Wh:
        """What the day says of ``slot``."""
        start = clock.minute(slot)
        return _until(self.hourly, start + clock.slot_minutes) - _until(self.hourly, start)

    def asset(self, wh: Sequence[Wh]) -> Asset:
        """The source with a series for a horizon."""
        series = tuple(wh)
        if self.generates:
            return Generator(name=self.name, wh=series)
        return Household(name=self.name, wh=series)


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Everything behind a member's meter."""

    file: Path
    sources: tuple[Source, ...]
    batteries: tuple[BatterySpec, ...] = ()
    vehicles: tuple[VehicleSpec, ...] = ()
    flexible: tuple[FlexibleSpec, ...] = ()
    cost: MicroPerKwh | None = None
    """Of generation: an offer's limit."""
    utility: MicroPerKwh | None = None
    """Of a kWh used: a bid's limit."""

    def movable(
        self, clock: Clock, first: Slot, slots: int, levels: Mapping[str, Wh]
    ) -> dict[str, Placed]:
        """What can be decided about in a horizon, each with its key in ``levels``.

        Args:
            clock: the market's.
            first: slot of the horizon's start; the assets' slot 0.
            slots: in the horizon.
            levels: at the horizon's start, by key; what has none is new.
        """
        made: dict[str, Placed] = {}
        for spec in self.batteries:
            level = levels.get(spec.name, spec.level_wh)
            made[spec.name] = Placed(_battery(spec, clock, level), level)
        for car in self.vehicles:
            level = levels.get(car.name, car.arrival_wh)
            stays = tuple(_stays(car, clock, first, slots, level))
            made[car.name] = Placed(Vehicle(battery=_car_battery(car, clock), stays=stays), level)
        for load in self.flexible:
            for begins, ends in _windows(load.hours, clock, first, slots):
                key = f"{load.name}@{begins}"
                left = levels.get(key, load.energy_wh)
                placed = _run(load, clock, begins - first, ends - first, left)
                if placed is not None:
                    made[key] = placed
        return made


def load_site(path: Path) -> Site:
    """Reads a site, all of it checked.

    Raises:
        ConfigError: E100 … E108, the file; E106, values that make no asset.
        UserError: E401 … E405, its profiles.
    """
    file = convert(parse(read_bytes(path, hint="docs/agents.md has an example"), path), _File, path)
    check_distinct(path, "asset", "name", [spec.name for spec in file.asset])
    profiles: Profiles | None = None
    sources = []
    for place, spec in enumerate(file.asset):
        key = f"asset[{place}]"
        if isinstance(spec, LoadSpec | PvSpec) and spec.column is not None:
            if profiles is None:
                named = None if file.profiles is None else path.parent / file.profiles
                profiles = load_profiles(named)
            sources.append(_column(profiles, spec, path, key))
        elif isinstance(spec, LoadSpec | PvSpec | WindSpec):
            sources.append(_source(spec, path, key))
        else:
            _try(spec, path, key)
    return Site(
        file=path,
        sources=tuple(sources),
        batteries=tuple(spec for spec in file.asset if isinstance(spec, BatterySpec)),
        vehicles=tuple(spec for spec in file.asset if isinstance(spec, VehicleSpec)),
        flexible=tuple(spec for spec in file.asset if isinstance(spec, FlexibleSpec)),
        cost=_price(file.generation_cost, path, "generation_cost"),
        utility=_price(file.utility, path, "utility"),
    )


def _price(text: str | None, path: Path, key: str) -> MicroPerKwh | None:
    if text is None:
        return None
    try:
        return parse_decimal(text)
    except ValueError as err:
        raise bad_value(path, key, str(err), f'{key} = "0.38"') from err


def _column(profiles: Profiles, spec: LoadSpec | PvSpec, path: Path, key: str) -> Source:
    for column in profiles.columns:
        if column.name == spec.column:
            generates = isinstance(spec, PvSpec)
            if generates != (column.kind.value == "pv"):
                raise bad_value(
                    path, f"{key}.column", f"{column.name} is no {spec_kind(spec)}", "another one"
                )
            return Source(spec.name, column.wh[:HOURS_PER_DAY], generates)
    names = ", ".join(column.name for column in profiles.columns)
    raise bad_value(path, f"{key}.column", f"no column {spec.column!r}", f"one of {names}")


def _source(spec: LoadSpec | PvSpec | WindSpec, path: Path, key: str) -> Source:
    try:
        if isinstance(spec, WindSpec):
            turbine = Turbine(
                rated_w=spec.rated_w,
                cut_in_mm_s=spec.cut_in_mm_s,
                rated_mm_s=spec.rated_mm_s,
                cut_out_mm_s=spec.cut_out_mm_s,
            )
            return Source(spec.name, turbine.under(spec.wind_mm_s, _HOUR_S).wh, generates=True)
        if isinstance(spec, PvSpec) and spec.irradiance_w_m2 is not None:
            sun = spec.irradiance_w_m2
            plant = pv(spec.peak_w, sun, _HOUR_S, efficiency=spec.efficiency_ppm)
            return Source(spec.name, plant.wh, generates=True)
    except ValueError as err:
        raise bad_value(path, key, str(err), "docs/agents.md has an example") from err
    if isinstance(spec, LoadSpec) and spec.wh is not None:
        return Source(spec.name, spec.wh, generates=False)
    what = "wh" if isinstance(spec, LoadSpec) else "irradiance_w_m2"
    raise bad_value(path, key, f"neither column nor {what}", "one of the two")


def _try(spec: BatterySpec | VehicleSpec | FlexibleSpec, path: Path, key: str) -> None:
    """Whether such an asset can be, before an agent depends on it."""
    try:
        why = _wrong(spec)
    except ValueError as err:
        why = str(err)
    if why is not None:
        raise bad_value(path, key, why, "docs/agents.md has an example")


def _wrong(spec: BatterySpec | VehicleSpec | FlexibleSpec) -> str | None:
    """What cannot be about it.

    Raises:
        ValueError: limits or hours that contradict themselves.
    """
    clock = Clock(0, 60)
    if isinstance(spec, BatterySpec):
        _battery(spec, clock, spec.level_wh)
        return None
    begins, ends = _span(spec.hours)
    room = (ends - begins) * (spec.max_w if isinstance(spec, FlexibleSpec) else spec.max_import_w)
    if isinstance(spec, FlexibleSpec):
        if spec.energy_wh <= room // 60:
            return None
        return f"{spec.energy_wh} Wh do not fit {spec.hours}, which holds {room // 60}"
    battery = _car_battery(spec, clock)
    most = spec.arrival_wh + kept_wh(room // 60, battery.import_efficiency)
    if spec.arrival_wh > spec.capacity_wh:
        return f"it cannot arrive with {spec.arrival_wh} Wh of {spec.capacity_wh}"
    if spec.wanted_wh > min(spec.capacity_wh, most):
        most = min(spec.capacity_wh, most)
        return f"{spec.wanted_wh} Wh cannot be reached in {spec.hours}, {most} can"
    return None


def spec_kind(spec: Spec) -> str:
    """As site.toml writes it."""
    return str(type(spec).__struct_config__.tag)


def _battery(spec: BatterySpec, clock: Clock, level_wh: Wh) -> Battery:
    return Battery(
        name=spec.name,
        capacity_wh=spec.capacity_wh,
        max_import_w=spec.max_import_w,
        max_export_w=spec.max_export_w,
        slot_s=clock.slot_s,
        import_efficiency=spec.import_efficiency_ppm,
        export_efficiency=spec.export_efficiency_ppm,
        first_level_wh=level_wh,
    )


def _car_battery(spec: VehicleSpec, clock: Clock) -> Battery:
    return Battery(
        name=spec.name,
        capacity_wh=spec.capacity_wh,
        max_import_w=spec.max_import_w,
        max_export_w=spec.max_export_w,
        slot_s=clock.slot_s,
        import_efficiency=spec.import_efficiency_ppm,
        export_efficiency=spec.export_efficiency_ppm,
    )


def _stays(spec: VehicleSpec, clock: Clock, first: Slot, slots: int, level_wh: Wh) -> list[Stay]:
    """Every stay that touches the horizon; one under way begins at the level it has come to.

    What cannot be reached any more in whole slots is not wanted: the vehicle then charges all it
    can.
    """
    battery = _car_battery(spec, clock)
    slot_kept = battery.moved(0, battery.span(0, 0).most_wh).level_wh
    stays = []
    for begins, ends in _windows(spec.hours, clock, first, slots):
        arrives = max(begins - first, 0)
        level = level_wh if begins < first else spec.arrival_wh
        departs = ends - first
        most = min(spec.capacity_wh, level + slot_kept * (departs - arrives))
        stays.append(
            Stay(
                arrives=arrives,
                departs=departs,
                level_wh=level,
                wanted_wh=min(spec.wanted_wh, most),
            )
        )
    return stays


def _run(spec: FlexibleSpec, clock: Clock, begins: Slot, ends: Slot, left_wh: Wh) -> Placed | None:
    """The load in one of its windows, in slots of the horizon; ``None``: it is done."""
    start = max(begins, 0)
    slot_most = spec.max_w * clock.slot_s // _HOUR_S
    if left_wh == 0 or slot_most == 0 or start >= ends:
        return None
    left = min(left_wh, slot_most * (ends - start))
    if begins < 0 and not spec.interruptible and left_wh < spec.energy_wh:
        ends = start + -(-left // slot_most)  # it has begun and must run on
    load = FlexibleLoad(
        name=spec.name,
        max_w=spec.max_w,
        slot_s=clock.slot_s,
        energy_wh=left,
        first_slot=start,
        deadline=ends,
        interruptible=spec.interruptible,
    )
    return Placed(load, left)


def _windows(hours: str, clock: Clock, first: Slot, slots: int) -> list[tuple[Slot, Slot]]:
    """Slots of each day's window that touches the horizon, whole slots only, in order."""
    begins, ends = _span(hours)
    day = clock.minute(first) // _DAY_MINUTES - 1
    found: list[tuple[Slot, Slot]] = []
    while True:
        midnight = day * _DAY_MINUTES
        window = clock.first_from(midnight + begins), clock.last_before(midnight + ends)
        if window[0] >= first + slots:
            return found
        if first < window[1] and window[0] < window[1]:
            found.append(window)
        day += 1


def _span(hours: str) -> tuple[int, int]:
    """Minutes of an interval; past midnight the end counts on.

    Raises:
        ValueError: not an interval.
    """
    begins, ends = parse_hours(hours)
    return begins, ends if ends > begins else ends + _DAY_MINUTES


@lru_cache(maxsize=4_096)
def _until(hourly: tuple[Wh, ...], minute: int) -> Wh:
    """Energy from minute 0 to ``minute``, the day repeating."""
    days, rest = divmod(minute, _DAY_MINUTES)
    hour, part = divmod(rest, 60)
    begun = hourly[hour] * part // 60 if part else 0
    return days * sum(hourly) + sum(hourly[:hour]) + begun
