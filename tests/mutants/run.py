"""Applying one mutant to a copy of the source and running tests on it until one fails."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
STAGES: tuple[tuple[str, ...], ...] = (
    ("tests/consensus", "tests/node/test_gate.py", "tests/node/test_gate_views.py"),
    ("tests/mutants/seeds.py",),
    ("tests/simulate/test_broken.py", "tests/simulate/test_paper.py"),
)
"""What a mutant must get past, after the tests it names itself."""
TEST_TIMEOUT_S = 60
"""A mutant that hangs is caught, too."""
PASSED, FAILED = 0, 1
"""Exit codes of pytest; any other means that the tests did not run."""


class Mutant(NamedTuple):
    """One small change to the source that tests must notice."""

    name: str
    path: str
    """Below ``vppd/``."""
    old: str
    """Occurs exactly once."""
    new: str
    likely: str = "tests/consensus/test_normal_case.py"
    """Tests that should notice, tried first: pytest's arguments, space-separated."""


class Verdict(NamedTuple):
    """How a mutant fared."""

    killer: str
    """The test that failed; empty: it survived."""
    seconds: float


def patched(mutant: Mutant) -> str:
    """The source with the change.

    Raises:
        ValueError: the text to change is not there exactly once.
    """
    text = (ROOT / "vppd" / mutant.path).read_text(encoding="utf-8")
    found = text.count(mutant.old)
    if found != 1:
        raise ValueError(f"mutant {mutant.name}: its text occurs {found} times in {mutant.path}")
    return text.replace(mutant.old, mutant.new)


class Bench:
    """A copy of the source in a temporary folder, one mutant at a time."""

    def __init__(self) -> None:
        self._holder = tempfile.TemporaryDirectory(prefix="vppd-mutants-")
        self.folder = Path(self._holder.name)
        ignore = shutil.ignore_patterns("__pycache__", ".pytest_cache")
        for name in ("vppd", "tests", "docs"):
            shutil.copytree(ROOT / name, self.folder / name, ignore=ignore)
        shutil.copy(ROOT / "pyproject.toml", self.folder)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *unused: object) -> None:
        self._holder.cleanup()

    def try_mutant(self, mutant: Mutant, stages: Sequence[Sequence[str]] = STAGES) -> Verdict:
        """Run its likely tests, then the stages, until something fails."""
        target = self.folder / "vppd" / mutant.path
        sound = target.read_text(encoding="utf-8")
        target.write_text(patched(mutant), encoding="utf-8")
        started = time.monotonic()
        try:
            every = (mutant.likely.split(), *stages)
            killer = next(filter(None, map(self.first_failure, every)), "")
        finally:
            target.write_text(sound, encoding="utf-8")
        return Verdict(killer, time.monotonic() - started)

    def first_failure(self, tests: Sequence[str]) -> str:
        """The first test that fails in the folder; empty: none does.

        Raises:
            RuntimeError: the tests did not run.
        """
        command = (
            sys.executable, "-B", "-m", "pytest", "-x", "-q", "-n0", "-rfE", "--no-header",
            "-p", "no:cacheprovider", f"--timeout={TEST_TIMEOUT_S}", *tests,
        )  # fmt: skip
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment(), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if done.returncode == PASSED:
            return ""
        named = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
        if done.returncode == FAILED and named:
            return named[1].removeprefix("tests/")
        if "Timeout" in done.stdout + done.stderr:
            return "a test that hangs"
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-3000:]}")

    def home_of_vppd(self) -> Path:
        """Where the tests in the folder find the package: it must be the copy."""
        done = subprocess.run(
            (sys.executable, "-B", "-c", "import vppd; print(vppd.__file__)"),
            cwd=self.folder, env=self._environment(), capture_output=True, text=True, check=True,
        )  # fmt: skip
        return Path(done.stdout.strip()).parent

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV"))}
        return {**kept, "PYTHONPATH": str(self.folder)}
