"""Runs spec/bncm.pml under Spin (https://spinroot.com), with one rule broken or none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from spec.rules import Rule

MODEL = Path(__file__).with_name("bncm.pml")
BREAKS = (
    Rule.FAST_ONE_LESS,
    Rule.CLAIM_ONE_LESS,
    Rule.CHANGE_ONE_LESS,
    Rule.SLACK_TOO_LARGE,
    Rule.CLAIMS_DROPPED,
    Rule.CERTIFICATE_FIRST,
    Rule.CHECK_DROPPED,
    Rule.LEADER_VOTE_OMITTED,
    Rule.AMNESIA,
    Rule.NOTHING_CARRIED,
)
"""The rules that mean something at one height."""


class Verdict(NamedTuple):
    """What Spin found."""

    states: int
    forked: bool
    seconds: float


class SpinMissing(Exception):
    """There is no Spin here, and none could be installed."""


def ensure() -> None:
    """Find Spin and a C compiler; install Spin with apt-get where that can be done.

    Raises:
        SpinMissing: with what to do about it.
    """
    if shutil.which("cc") is None:
        raise SpinMissing("no C compiler: Spin's verifier is C; install one, or set SPIN=skip")
    if shutil.which("spin") is not None:
        return
    if shutil.which("apt-get") is not None:
        sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
        if not sudo or shutil.which("sudo") is not None:
            print("spin is missing: apt-get install spin …", flush=True)
            for step in (["update", "--quiet"], ["install", "--yes", "--quiet", "spin"]):
                command = [*sudo, "apt-get", *step]
                subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    if shutil.which("spin") is None:
        raise SpinMissing(
            "spin is not installed and could not be (Debian and Ubuntu: apt-get install spin; "
            "elsewhere: https://spinroot.com); SPIN=skip leaves this model out"
        )


def check(rule: Rule, views: int) -> Verdict:
    """Search every state of the Promela model, or up to the first fork.

    Args:
        rule: ``SHIPPED`` or one of :data:`BREAKS`.
        views: 2 to 4.

    Raises:
        RuntimeError: Spin or the compiler failed, or the search was cut short.
    """
    if rule is not Rule.SHIPPED and rule not in BREAKS:
        raise ValueError(f"the Promela model has no {rule.slug}")
    began = time.perf_counter()
    flags = [f"-DVIEWS={views}"]
    if rule is not Rule.SHIPPED:
        flags.append(f"-D{rule.slug.upper()}")
    with tempfile.TemporaryDirectory() as folder:
        _run(["spin", *flags, "-a", str(MODEL)], folder)
        _run(["cc", "-O2", "-w", "-DSAFETY", "-o", "pan", "pan.c"], folder)
        said = _run(["./pan", "-m100000"], folder)
    errors = re.search(r"errors: (\d+)", said)
    states = re.search(r"(\d+) states, stored", said)
    if errors is None or states is None or "max search depth too small" in said:
        raise RuntimeError(f"Spin's search did not come to an end:\n{said}")
    forked = errors[1] != "0"
    if forked and "assertion violated" not in said:
        raise RuntimeError(f"Spin found something else than a fork:\n{said}")
    if not forked and "Search not completed" in said:
        raise RuntimeError(f"Spin's search was cut short:\n{said}")
    return Verdict(int(states[1]), forked, time.perf_counter() - began)


def _run(command: list[str], folder: str) -> str:
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    said = done.stdout + done.stderr
    if done.returncode != 0 and command[0] != "./pan":
        raise RuntimeError(f"{' '.join(command)} failed:\n{said}")
    return said
