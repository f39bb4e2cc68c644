"""An engine as another distribution brings it: a module and the metadata pip would have left."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vppd.consensus import profile

PAGE = (Path(__file__).parents[2] / "docs" / "engines.md").read_text(encoding="utf-8")
LAST_FIRST = PAGE.partition("```python engine\n")[2].partition("```\n")[0]
"""As the manual gives it: the last of genesis leads first, every other block is collected."""


def install(
    folder: Path,
    engine: str,
    target: str = "PROFILE",
    source: str = LAST_FIRST,
    owner: str = "toy",
    group: str = "vppd.engines",
) -> Path:
    """Write ``{owner}_engine.py`` and its dist-info; a folder for ``sys.path``.

    Args:
        folder: where; new, or holding other distributions.
        engine: name of the entry point.
        target: what of the module it leads to.
        source: of the module.
        owner: the distribution.
        group: of the entry point.
    """
    info = folder / f"{owner}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {owner}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{engine} = {owner}_engine:{target}\n")
    (folder / f"{owner}_engine.py").write_text(source)
    return folder


@contextmanager
def distributions(folder: Path) -> Iterator[Path]:
    """``folder`` on ``sys.path``; at the end what was imported from it is forgotten."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    profile._foreign.cache_clear()
    for name in set(sys.modules) - before:
        if name.endswith("_engine"):
            del sys.modules[name]
