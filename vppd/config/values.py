"""What people write in a file and what the code counts in: decimals, hours, sizes, addresses.

Every reader raises ``ValueError`` with a sentence that fits behind "because"; the file's loader
knows the file and the key and makes it a :class:`~vppd.errors.ConfigError`.
"""

from __future__ import annotations

import re

from vppd.types import Micro

DAY_MINUTES = 1_440
MAX_UNITS = 10**12
"""Largest amount or price a file may hold, in whole currency; its micros fit a signed 64-bit."""
_DECIMAL = re.compile(r"(?P<whole>\d{1,13})(?:\.(?P<part>\d+))?", re.ASCII)
_HOURS = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)", re.ASCII)
_SIZE = re.compile(r"(?P<count>\d{1,9})\s*(?P<unit>B|KiB|MiB|GiB|TiB)", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def parse_decimal(text: str) -> Micro:
    """Micro-currency of a decimal such as ``"0.38"``; exact, at most six decimals.

    Raises:
        ValueError: a sign, an exponent, too many decimals, or beyond 10¹².
    """
    found = _DECIMAL.fullmatch(text)
    if found is None:
        raise ValueError(f'{text!r} is not a plain decimal such as "0.38"')
    part = found["part"] or ""
    if len(part) > 6:
        raise ValueError(f"{text!r} has {len(part)} decimals, money has at most 6")
    micro = int(found["whole"]) * 1_000_000 + int(part.ljust(6, "0"))
    if micro > MAX_UNITS * 1_000_000:
        raise ValueError(f"{text!r} is more than {MAX_UNITS}")
    return micro


def format_decimal(micro: Micro) -> str:
    """Inverse of :func:`parse_decimal`: at least two decimals, no more than it needs."""
    whole, part = divmod(micro, 1_000_000)
    return f"{whole}.{f'{part:06d}'.rstrip('0').ljust(2, '0')}"


def parse_hours(text: str) -> tuple[int, int]:
    """First minute and end minute of ``"23:00-07:00"``; the end is exclusive and may be 24:00.

    Raises:
        ValueError: not that form, no such time, or an empty interval.
    """
    found = _HOURS.fullmatch(text)
    if found is None:
        raise ValueError(f'{text!r} is not an interval such as "23:00-07:00"')
    hour, minute, to_hour, to_minute = map(int, found.groups())
    start, end = hour * 60 + minute, to_hour * 60 + to_minute
    if minute > 59 or to_minute > 59 or start >= DAY_MINUTES or end > DAY_MINUTES:
        raise ValueError(f"{text!r} holds a time that no day has (00:00 to 24:00)")
    if start == end:
        raise ValueError(f'{text!r} is empty; the whole day is "00:00-24:00"')
    return start, end


def format_hours(start: int, end: int) -> str:
    """Inverse of :func:`parse_hours`."""
    return f"{start // 60:02d}:{start % 60:02d}-{end // 60:02d}:{end % 60:02d}"


def parse_size(text: str) -> int:
    """Bytes of ``"512MiB"``; units B, KiB, MiB, GiB, TiB.

    Raises:
        ValueError: not a whole number with such a unit.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f'{text!r} is not a size such as "512MiB" (B, KiB, MiB, GiB, TiB)')
    return int(found["count"]) * _UNITS[found["unit"]]


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``"192.168.10.2:7440"`` or ``"[fd00::2]:7440"``.

    Raises:
        ValueError: no host, no port, or a port outside 1…65535.
    """
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f'{text!r}: an IPv6 address goes in brackets, "[fd00::2]:7440"')
    if not host or any(c.isspace() for c in host):
        raise ValueError(f'{text!r} is not an address such as "192.168.10.2:7440"')
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
        raise ValueError(f"{text!r} needs a port from 1 to 65535 at its end")
    return host, int(port)


def format_address(host: str, port: int) -> str:
    """Inverse of :func:`parse_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_name(text: str) -> str:
    """``text`` if it can name a node, an account or a plant: also a folder and a TOML string.

    Raises:
        ValueError: empty, longer than 64 characters, or other than letters, digits and ``._-``.
    """
    if _NAME.fullmatch(text) is None:
        raise ValueError(
            f"{text!r} is not a name: 1 to 64 of letters, digits, '.', '_', '-', no symbol first"
        )
    return text
