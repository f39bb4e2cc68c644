"""Errors that say what, where, why, and what to try.

Blame is in the type. :class:`PeerFault` is the other side's doing: cut the connection, keep the
evidence. :class:`LocalFault` is ours: stop before anything wrong is signed. :class:`UserError` is
for the person at the terminal. Codes are stable and listed in docs/errors.md.
"""

from __future__ import annotations

import copyreg
from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    """Process exit codes (docs/cli.md)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNHEALTHY = 3
    BAD_CONFIG = 78
    THRESHOLD = 99


class VppdError(Exception):
    """Root of everything vppd raises on purpose."""


class PeerFault(VppdError):
    """A peer or client sent something it must not send; nothing of it has been applied."""


class LocalFault(VppdError):
    """Our own disk, clock or code failed; the process stops rather than guess."""


class UserError(VppdError):
    """Shown to a person as ``error[CODE]: what`` with indented facts and a hint.

    Args:
        code: stable identifier, ``E`` and three digits.
        what: one sentence, lower case, no full stop.
        facts: label to value, printed below, in order.
        hint: what to try.
        exit_code: what the process exits with.
    """

    def __init__(
        self,
        code: str,
        what: str,
        *,
        facts: dict[str, str] | None = None,
        hint: str | None = None,
        exit_code: Exit = Exit.FAILED,
    ) -> None:
        super().__init__(f"error[{code}]: {what}")
        self.code = code
        self.what = what
        self.facts = facts or {}
        self.hint = hint
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[Any, ...]:
        """Whole to another process: the usual way calls ``__init__`` with ``args`` alone."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]  # it is there

    def __str__(self) -> str:
        rows = dict(self.facts)
        if self.hint is not None:
            rows["try"] = self.hint
        width = max((len(label) for label in rows), default=0)
        lines = [f"error[{self.code}]: {self.what}"]
        for label, value in rows.items():
            first, *more = value.splitlines() or [""]
            lines.append(f"  {label:<{width}}  {first}")
            lines += [f"  {'':<{width}}  {line}" for line in more]
        return "\n".join(lines)


class ConfigError(UserError):
    """A file says something we cannot run with; exits 78, so that systemd does not restart."""

    def __init__(
        self, code: str, what: str, *, facts: dict[str, str] | None = None, hint: str | None = None
    ) -> None:
        super().__init__(code, what, facts=facts, hint=hint, exit_code=Exit.BAD_CONFIG)
