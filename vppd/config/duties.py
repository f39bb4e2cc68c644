"""``[[duty]]`` of genesis.toml: who may do what for the plant (docs/members.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

import msgspec

DutyName: TypeAlias = Literal["commercial", "technical", "registrar", "aggregator"]


class DutyEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One account's duty."""

    duty: DutyName
    account: str
    """Its name."""


def duty_lines(duties: Iterable[DutyEntry]) -> Iterator[str]:
    """``[[duty]]`` as written."""
    for entry in duties:
        yield from ("", "[[duty]]", f'duty = "{entry.duty}"', f'account = "{entry.account}"')
