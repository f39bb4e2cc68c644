from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """As pytest's, with a short name: a socket's path takes 107 bytes, and a plant lies deep."""
    folder = Path(tempfile.mkdtemp(prefix="vppd-t-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
