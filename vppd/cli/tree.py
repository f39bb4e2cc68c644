"""The command tree: one line per command, imported only when it is called."""

from __future__ import annotations

import re
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from vppd import __version__
from vppd.cli.commands.agent import AGENT
from vppd.cli.commands.bench import BENCH
from vppd.cli.commands.chain import CHAIN
from vppd.cli.commands.entry import Entry
from vppd.cli.commands.market import MARKET
from vppd.cli.commands.members import MEMBERS
from vppd.cli.commands.node import NODE

if TYPE_CHECKING:
    from collections.abc import Callable


COMMANDS = (*NODE, *CHAIN, *MARKET, *MEMBERS, *AGENT, *BENCH)

GROUPS = {
    "block": "Decided blocks.",
    "tx": "Signed transactions.",
    "config": "This node's files: what they say, and whether they hold.",
    "db": "This node's chain store.",
    "grid": "The grid that trades go through.",
    "key": "Secret keys of nodes and meters.",
    "market": "Orders, trades and clearing.",
    "deal": "Deals outside the auction: with one member, with all, or with a maintainer.",
    "agent": "A member's agent, which forecasts, plans and quotes.",
    "member": "Who belongs to the plant.",
    "project": "Projects for demand response.",
    "event": "Events, load control and orders.",
    "meter": "Meters and their readings.",
    "peers": "Addresses of the plant's nodes.",
    "validator": "Who votes, and how that changes while the plant runs.",
    "bench": "Load, measurements and the papers' experiments.",
    "pki": "Certificate authority and transport certificates.",
}


_NEGATIVE = re.compile(r"-[0-9.]+")


class LazyCommand(TyperCommand):
    """Name and help of a command whose module is imported when it is called."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(name=entry.path.rpartition(" ")[2], help=entry.help)
        self._entry = entry

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """The context of the real command: from here on it is in charge."""
        return load(self._entry).make_context(info_name, args, parent, **extra)


class Command(TyperCommand):
    """A command that knows ``-5`` for a number below zero, not for an option of that name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typed.

        Raises:
            BadParameter: a number below zero among the arguments; none of them takes one.
        """
        options = [param for param in self.params if param.param_type_name == "option"]
        with_value = {o for p in options if not getattr(p, "is_flag", False) for o in p.opts}
        for before, arg in pairwise(["", *args]):
            if arg == "--":
                break
            if _NEGATIVE.fullmatch(arg) and before not in with_value:
                raise typer.BadParameter(f"{arg} is below zero; numbers here have no sign.", ctx)
        return super().parse_args(ctx, args)


def load(entry: Entry) -> Any:
    """The command an entry stands for, with its module imported."""
    module, _, function = entry.target.partition(":")
    app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
    callback: Callable[..., None] = getattr(import_module(module), function)
    name = entry.path.rpartition(" ")[2]
    app.command(name, cls=Command, help=entry.help, epilog=_examples(entry.examples))(callback)
    return typer.main.get_command(app)


def root() -> TyperGroup:
    """The whole tree, nothing of it imported yet."""
    app = typer.Typer(
        name="vppd",
        help="Virtual power plant daemon: agree on trading plans, keep them, settle them.",
        epilog=_examples(("vppd dev --exit", "vppd testnet -n 5 --out plant", "vppd status")),
        rich_markup_mode=None,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    top = typer.main.get_group(app)
    groups: dict[str, TyperGroup] = {}
    for entry in COMMANDS:
        group, _, _ = entry.path.rpartition(" ")
        if not group:
            top.add_command(LazyCommand(entry))
            continue
        if group not in groups:
            examples = tuple(e.examples[0] for e in COMMANDS if e.path.startswith(group + " "))
            groups[group] = TyperGroup(
                name=group,
                help=GROUPS[group],
                epilog=_examples(examples[:3]),
                rich_markup_mode=None,
                no_args_is_help=True,
            )
            top.add_command(groups[group])
        groups[group].add_command(LazyCommand(entry))
    return top


def _examples(lines: tuple[str, ...]) -> str:
    # The \b keeps the formatter from joining the lines into a paragraph.
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"vppd {__version__}")
        raise typer.Exit


def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options before the command."""
