"""The reference part of docs/cli.md, written from the commands themselves.

After a change of the command tree: ``python -m tests.cli_page --write``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from vppd.cli.commands.entry import Entry
from vppd.cli.tree import COMMANDS, load

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
MARK = "<!-- from here on written by python -m tests.cli_page --write -->"


def _words(param: Any) -> str:
    names = ", ".join(f"`{name}`" for name in param.opts)
    choices = [f"`{choice}`" for choice in getattr(param.type, "choices", ())]
    return " ".join([names, *([r" \| ".join(choices)] if choices else [])])


def _default(param: Any) -> str:
    if param.required:
        return "required"
    default = getattr(param.default, "value", param.default)
    return "" if default in (None, False, "", (), []) else f"`{default}`"


def _section(entry: Entry) -> list[str]:
    command = load(entry)
    params = [param for param in command.params if param.name != "help"]
    arguments = [param for param in params if param.param_type_name == "argument"]
    usage = " ".join([f"vppd {entry.path}", *(_metavar(param) for param in arguments)])
    lines = [f"### `{usage}`", "", entry.help, ""]
    rows = [
        (f"{_metavar(p)}" if p in arguments else _words(p), p.help or "", _default(p))
        for p in params
    ]
    if rows:
        lines += ["| option | meaning | default |", "|---|---|---|"]
        lines += [f"| {name} | {_cell(meaning)} | {default} |" for name, meaning, default in rows]
        lines += [""]
    return [*lines, "```sh", *entry.examples, "```", ""]


def _metavar(param: Any) -> str:
    name = (param.metavar or param.name.upper()).strip("[]")
    return name if param.required else f"[{name}]"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def reference() -> str:
    """Every command: what it is for, its options, examples to copy."""
    lines = [line for entry in COMMANDS for line in _section(entry)]
    return "\n".join(lines).rstrip() + "\n"


def write_page(page: str) -> str:
    """The page with its reference as the commands are today."""
    head, mark, _ = page.partition(MARK)
    if not mark:
        raise ValueError(f"docs/cli.md lacks the line {MARK}")
    return f"{head}{mark}\n\n{reference()}"


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.cli_page --write")
    PAGE.write_text(write_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
