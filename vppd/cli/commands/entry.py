"""What the tree knows of a command before it is called."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A command."""

    path: str
    """Words after ``vppd``."""
    target: str
    """``module:function``; the function's annotations are the options."""
    help: str
    """One sentence."""
    examples: tuple[str, ...]
    """Two or three lines to copy and paste."""
