"""Progress of long work, on stderr, only where somebody is looking."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[..., None]]:
    """A bar over ``total`` steps; the yielded function advances it by one, or by so many.

    Its second argument is a new total, for work that learns on the way how long it is.
    """
    if not sys.stderr.isatty():
        yield lambda _steps=1, _total=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda steps=1, total=None: bar.update(task, advance=steps, total=total)
