"""The command line, run in this process through its real entry point."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from vppd.cli.main import run


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


Vppd = Callable[..., Ran]


@pytest.fixture
def vppd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Vppd:
    """Runs ``vppd ARGS…`` in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    # Widths are wrapped to the terminal, and tests may run on any.
    monkeypatch.setenv("COLUMNS", "100")

    def call(*args: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["vppd", *map(str, args)])
        with pytest.raises(SystemExit) as caught:
            run()
        code = caught.value.code
        assert isinstance(code, int)
        return Ran(code, *capsys.readouterr())

    return call
