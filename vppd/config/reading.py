"""Values of a file as written, and what is said when they cannot be."""

from __future__ import annotations

from pathlib import Path

from vppd.config.toml import bad_value, check_distinct
from vppd.config.values import parse_decimal, parse_name
from vppd.crypto import parse_key
from vppd.errors import ConfigError
from vppd.types import PublicKey


class Reading:
    """Turns written values into ours; knows the file for its errors.

    Args:
        path: of the file, named in errors.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def name(self, text: str, where: str) -> str:
        """A name that can name things.

        Raises:
            ConfigError: E103.
        """
        try:
            return parse_name(text)
        except ValueError as err:
            raise self.bad(where, str(err), 'for example "der-1"') from err

    def key(self, text: str, where: str) -> PublicKey:
        """A public key.

        Raises:
            ConfigError: E103.
        """
        try:
            return parse_key(text)
        except ValueError as err:
            raise self.bad(where, str(err), "vppd key show FILE prints it") from err

    def decimal(self, text: str, where: str) -> int:
        """An amount or a price in micro.

        Raises:
            ConfigError: E103.
        """
        try:
            return parse_decimal(text)
        except ValueError as err:
            raise self.bad(where, str(err), 'for example "200.00"') from err

    def distinct(self, table: str, key: str, values: list[str]) -> None:
        """No value twice.

        Raises:
            ConfigError: E108.
        """
        check_distinct(self.path, table, key, values)

    def ordered(
        self, low: tuple[str, int], high: tuple[str, int], *, strictly: bool = False
    ) -> None:
        """The first number is at most, or below, the second.

        Raises:
            ConfigError: E110.
        """
        if low[1] > high[1] or (strictly and low[1] == high[1]):
            relation = "below" if strictly else "at most"
            raise self.limits(
                f"{low[0]} must be {relation} {high[0]}",
                dict((low, high)),
                f"lower {low[0]} or raise {high[0]}",
            )

    def limits(self, what: str, values: dict[str, int], hint: str) -> ConfigError:
        """E110: numbers that contradict each other."""
        facts = {"file": str(self.path)} | {key: str(value) for key, value in values.items()}
        return ConfigError("E110", what, facts=facts, hint=hint)

    def bad(self, where: str, why: str, hint: str) -> ConfigError:
        """E103: a value that cannot be."""
        return bad_value(self.path, where, why, hint)
