from __future__ import annotations

import signal
from pathlib import Path

import pytest

# What a shell starts in the background has SIGINT ignored, and every process of a test inherits it:
# none of them would end at Ctrl-C then.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

PURE = ("assets/", "consensus/", "ledger/", "market/")
"""Rooms whose own tests are measured (``make test``)."""
LONG = (
    "consensus/test_break_bncm.py", "consensus/test_mutants_found.py", "consensus/test_traces.py",
    "consensus/test_walk.py", "ledger/test_buckets.py", "ledger/test_demand_properties.py",
    "ledger/test_grid.py", "ledger/test_null.py", "ledger/test_order_stream.py",
    "ledger/test_replay.py", "ledger/test_sharing.py", "ledger/test_slots.py",
    "ledger/test_snapshot.py", "ledger/test_upheaval.py",
)  # fmt: skip
"""Of these, tests that run long histories: whoever is measured takes three times as long, and they
cover little that the others do not."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what ``make test`` measures."""
    here = Path(__file__).parent
    for item in items:
        name = item.path.relative_to(here).as_posix()
        if name.startswith(PURE) and name not in LONG:
            item.add_marker(pytest.mark.measured)
