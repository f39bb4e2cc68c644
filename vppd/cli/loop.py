"""Running coroutines: uvloop where it is installed, asyncio's own loop elsewhere."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

TERMINATED = 128 + signal.SIGTERM


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """For :class:`asyncio.Runner`."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run one coroutine to its end.

    SIGTERM and a closed terminal cancel it, so that what it has started is stopped too; the
    process then exits with 143, as one that was terminated.
    """
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(_until_told(main))
    except asyncio.CancelledError:
        sys.exit(TERMINATED)


async def _until_told(main: Coroutine[Any, Any, T]) -> T:
    task = asyncio.current_task()
    if task is not None and threading.current_thread() is threading.main_thread():
        for signum in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(signum, task.cancel)
    return await main
