"""The tree: every command loads, says how to use it, and costs nothing until it is called."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Vppd
from tests.config.plant import peers_text
from vppd import __version__
from vppd.cli.commands.entry import Entry
from vppd.cli.main import run
from vppd.cli.tree import COMMANDS, GROUPS, load

PATHS = [entry.path for entry in COMMANDS]
HEAVY = ("aiosqlite", "cryptography", "msgspec", "nacl", "prometheus_client", "rich", "structlog")


def examples(text: str) -> list[str]:
    """The lines under the last heading of a help page."""
    last = text.rstrip().rpartition("Examples:\n")[2]
    return [line.strip() for line in last.splitlines()]


@pytest.mark.parametrize("path", ["", *GROUPS, *PATHS])
def test_every_help_ends_in_two_or_three_examples(vppd: Vppd, path: str) -> None:
    ran = vppd(*path.split(), "--help")
    assert ran.code == 0
    lines = examples(ran.out)
    enough = 1 if path in GROUPS and sum(p.startswith(path + " ") for p in PATHS) == 1 else 2
    assert enough <= len(lines) <= 3
    assert all(
        line.startswith(f"vppd {path}".rstrip() + " ") or line == f"vppd {path}" for line in lines
    )


@pytest.mark.parametrize("entry", COMMANDS, ids=PATHS)
def test_the_options_of_the_examples_exist(entry: Entry) -> None:
    known = {option for param in load(entry).params for option in param.opts}
    for line in entry.examples:
        assert line.startswith(f"vppd {entry.path}")
        used = set(re.findall(r"(?<= )--?[a-z][a-z-]*", re.sub(r"\$\(.*?\)", "", line)))
        assert used <= known, line


@pytest.mark.parametrize("entry", COMMANDS, ids=PATHS)
def test_every_option_says_what_it_means(entry: Entry) -> None:
    assert [p.name for p in load(entry).params if not getattr(p, "help", None)] == []


def test_every_group_is_described_and_used() -> None:
    assert {path.split()[0] for path in PATHS if " " in path} == set(GROUPS)


def test_help_imports_no_command_and_nothing_heavy() -> None:
    script = (
        "import sys\nfrom vppd.cli.main import run\nsys.argv[1:] = ['--help']\n"
        "try:\n    run()\nexcept SystemExit:\n    pass\n"
        "print(*sys.modules, sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.split())
    assert "vppd.cli.tree" in loaded
    assert loaded & set(HEAVY) == set()
    assert {m for m in loaded if m.startswith("vppd.")} == {
        "vppd.cli",
        "vppd.cli.commands",
        "vppd.cli.commands.agent",
        "vppd.cli.commands.bench",
        "vppd.cli.commands.chain",
        "vppd.cli.commands.entry",
        "vppd.cli.commands.market",
        "vppd.cli.commands.members",
        "vppd.cli.commands.node",
        "vppd.cli.main",
        "vppd.cli.tree",
        "vppd.errors",
    }


def test_the_version(vppd: Vppd) -> None:
    assert vppd("--version") == (0, f"vppd {__version__}\n", "")


@pytest.mark.parametrize(
    "args", [("kye",), ("key", "genn"), ("key", "gen", "--uot", "x"), ("key", "show", "a", "b")]
)
def test_usage_errors_exit_2_on_stderr(vppd: Vppd, args: tuple[str, ...]) -> None:
    ran = vppd(*args)
    assert ran.code == 2
    assert ran.out == ""
    assert "Usage: vppd" in ran.err


def test_a_mistyped_command_is_recognised(vppd: Vppd) -> None:
    assert "Did you mean 'key'?" in vppd("kye").err
    assert "Did you mean 'show'?" in vppd("key", "shwo").err


def test_an_interrupt_exits_130(vppd: Vppd, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vppd.cli.key.load_key", interrupt)
    assert vppd("key", "show").code == 130


def test_an_interrupt_before_the_command_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vppd.cli.main.root", interrupt)
    with pytest.raises(SystemExit) as caught:
        run()
    assert caught.value.code == 130


@pytest.mark.parametrize(
    ("files", "code", "says"),
    [
        ({"peers.toml": "schema = 1\npeers = 3\n"}, 78, "error[E102]"),
        ({}, 78, "error[E100]"),
    ],
)
def test_a_real_process_exits_with_the_errors_code(
    tmp_path: Path, files: dict[str, str], code: int, says: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "vppd", "peers", "list"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr.startswith(says)


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["peers", "list"]])
def test_a_reader_that_has_gone_is_no_traceback(tmp_path: Path, args: list[str]) -> None:
    (tmp_path / "peers.toml").write_text(peers_text())
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "vppd", *args],
        cwd=tmp_path,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
