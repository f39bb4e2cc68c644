"""The command tree: one line per command, imported only when it is called."""

from __future__ import annotations

import re
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from vppd import __version__

if TYPE_CHECKING:
    from collections.abc import Callable


class Entry(NamedTuple):
    """A command."""

    path: str
    """Words after ``vppd``."""
    target: str
    """``module:function``; the function's annotations are the options."""
    help: str
    """One sentence."""
    examples: tuple[str, ...]
    """Two or three lines to copy and paste."""


COMMANDS = (
    Entry(
        "dev",
        "vppd.cli.dev:dev",
        "A whole plant on this machine plays one trading day.",
        (
            "vppd dev --exit",
            "vppd dev -n 8 --profiles profiles.csv --exit",
            "vppd dev --slots 6 --exit -o json",
        ),
    ),
    Entry(
        "start",
        "vppd.cli.start:start",
        "Run this node.",
        ("vppd start --role der --peers peers.toml", "vppd start --home plant/der-1"),
    ),
    Entry(
        "status",
        "vppd.cli.status:status",
        "Print where the plant stands and who is missing.",
        ("vppd status", "vppd status --watch", "vppd status --probe --home plant/op-0 -o json"),
    ),
    Entry(
        "block show",
        "vppd.cli.block:show",
        "Print a decided block.",
        ("vppd block show 7", "vppd block show 7 --home plant/der-1 -o json"),
    ),
    Entry(
        "block tail",
        "vppd.cli.block:tail",
        "Print the last blocks, and with -f those to come.",
        ("vppd block tail", "vppd block tail -f --home plant/der-1"),
    ),
    Entry(
        "block verify",
        "vppd.cli.block:verify",
        "Re-check every hash, root and signature from genesis.",
        ("vppd block verify", "vppd block verify 1..100 --home plant/der-1 -o json"),
    ),
    Entry(
        "block trace",
        "vppd.cli.trace:trace",
        "Print who said what to whom about a height, or replay a recorded run.",
        (
            "vppd block trace 7 --home plant/op-0",
            "vppd block trace --home plant/op-0 --out run.trace",
            "vppd block trace --replay run.trace --genesis plant/op-0/genesis.toml",
        ),
    ),
    Entry(
        "tx send",
        "vppd.cli.tx:send",
        "Hand a signed transaction to the node.",
        ("vppd tx send order.tx --wait", "vppd tx send - --home plant/der-1 < order.hex"),
    ),
    Entry(
        "tx show",
        "vppd.cli.tx:show",
        "Print where a transaction stands.",
        ("vppd tx show 3b1c…", "vppd tx show 3b1c… --wait --proof --home plant/der-1"),
    ),
    Entry(
        "market bid",
        "vppd.cli.market:bid",
        "Bid for energy in a slot.",
        ("vppd market bid 1500 0.52", "vppd market bid 1500 0.52 --reserve 0.55 --slot 30 --wait"),
    ),
    Entry(
        "market ask",
        "vppd.cli.market:ask",
        "Offer energy in a slot.",
        ("vppd market ask 1500 0.48", "vppd market ask 1500 0.48 --reserve 0.42 --slot 30 --wait"),
    ),
    Entry(
        "market book",
        "vppd.cli.market:book",
        "Print a slot's resting orders.",
        ("vppd market book", "vppd market book --slot 30 -o json"),
    ),
    Entry(
        "market trades",
        "vppd.cli.market:trades",
        "Print a slot's trades.",
        ("vppd market trades", "vppd market trades --slot 30 -o json"),
    ),
    Entry(
        "meter push",
        "vppd.cli.meter:push",
        "Put the readings of a file on chain; rows that are there already are passed over.",
        (
            "vppd meter push readings.csv",
            "vppd meter push readings.csv --key meter.key --home plant/der-1 -o json",
        ),
    ),
    Entry(
        "meter list",
        "vppd.cli.meter:list_meters",
        "List the plant's meters, whose they are, and their last readings.",
        ("vppd meter list", "vppd meter list --home plant/der-1 -o json"),
    ),
    Entry(
        "simulate",
        "vppd.cli.simulate:simulate",
        "Whole simulated plants with seeded faults, every invariant checked.",
        (
            "vppd simulate -n 4 --seeds 1..300",
            "vppd simulate -n 10 --seeds 42 --faults network,crash --heights 60",
            "vppd simulate -n 7 --delay 10ms --faults none -o json",
        ),
    ),
    Entry(
        "bench run",
        "vppd.cli.bench:run",
        "Load a plant of real daemons, and measure goodput and latency from outside.",
        (
            "vppd bench run -n 4 --rate 1000 --duration 30",
            "vppd bench run -n 4 --ledger null --rate 5000 --to leader --accounts 512",
            "vppd bench run -n 5 --fail der-4=40% --delay 10ms --assert 'goodput_tx_s>=450'",
        ),
    ),
    Entry(
        "bench saturate",
        "vppd.cli.bench:saturate",
        "Find the highest rate that a plant keeps up with, and measure it there.",
        (
            "vppd bench saturate -n 4",
            "vppd bench saturate -n 4 --ledger null --to leader --accounts 512 --rate 2000",
            "vppd bench saturate -n 4 --engine pbft --rate 200 --limit 500 --runs 5 -o json",
        ),
    ),
    Entry(
        "testnet",
        "vppd.cli.testnet:run_testnet",
        "Write keys, CA, genesis.toml and peers.toml for N nodes.",
        (
            "vppd testnet -n 5 --out plant",
            "vppd testnet -n 7 --operators 2 --hosts 192.168.10.2,192.168.10.3 --out plant",
        ),
    ),
    Entry(
        "init",
        "vppd.cli.init:init",
        "Write key, node.toml and an empty store here; never overwrites.",
        ("vppd init --role der --name der-4", "vppd init --role operator --home /var/lib/vppd"),
    ),
    Entry(
        "recover",
        "vppd.cli.recover:recover_store",
        "Replace a lost or damaged store; the node then follows without voting.",
        ("vppd recover", "vppd recover --home plant/der-1", "vppd recover --force -o json"),
    ),
    Entry(
        "db check",
        "vppd.cli.db:check",
        "Check the store: its file, its safety record, every hash, root and signature.",
        (
            "vppd db check",
            "vppd db check --home plant/der-1 -o json",
            "vppd db check --store der-1.backup",
        ),
    ),
    Entry(
        "db backup",
        "vppd.cli.db:backup",
        "Copy the store of a running or stopped node; the copy can never vote.",
        ("vppd db backup der-1.backup", "vppd db backup /mnt/usb/der-1.backup --home plant/der-1"),
    ),
    Entry(
        "db restore",
        "vppd.cli.db:restore",
        "Put a backup in place of the store; the node then follows without voting.",
        (
            "vppd db restore der-1.backup",
            "vppd db restore der-1.backup --home plant/der-1 --replace",
        ),
    ),
    Entry(
        "db prune",
        "vppd.cli.db:prune",
        "Remove old transactions and receipts, and give their bytes to the disk.",
        ("vppd db prune", "vppd db prune --keep 1000 --home plant/der-1"),
    ),
    Entry(
        "db export",
        "vppd.cli.db:export",
        "Write every block as a stream of MessagePack objects.",
        ("vppd db export chain.vppd", "vppd db export - --home plant/op-0 | gzip > chain.vppd.gz"),
    ),
    Entry(
        "db import",
        "vppd.cli.db:import_",
        "Verify and execute the blocks of an export into a store that has none.",
        ("vppd db import chain.vppd", "vppd db import - --home plant/der-3 < chain.vppd"),
    ),
    Entry(
        "doctor",
        "vppd.cli.doctor:doctor",
        "Check clock, disk, ports, permissions, files, certificates, store and peers.",
        ("vppd doctor", "vppd doctor --home plant/der-1", "vppd doctor -o json"),
    ),
    Entry(
        "config check",
        "vppd.cli.config:check",
        "Check a node's files by themselves and against each other.",
        (
            "vppd config check",
            "vppd config check --home plant/der-1",
            "vppd config check peers.toml",
        ),
    ),
    Entry(
        "config show",
        "vppd.cli.config:show",
        "Print every value this node runs with, and where it comes from.",
        ("vppd config show", "vppd config show --origin --home plant/der-1 -o json"),
    ),
    Entry(
        "key gen",
        "vppd.cli.key:gen",
        "Write a new secret key, mode 0600, and print its public key.",
        ("vppd key gen", "vppd key gen --out meter.key"),
    ),
    Entry(
        "key show",
        "vppd.cli.key:show",
        "Print the public key of a secret key file.",
        ("vppd key show", "vppd key show meter.key -o json"),
    ),
    Entry(
        "pki init",
        "vppd.cli.pki:init",
        "Create the plant's certificate authority.",
        ("vppd pki init --dir ca", "vppd pki init --dir ca --name vpp-demo"),
    ),
    Entry(
        "pki issue",
        "vppd.cli.pki:issue",
        "Issue a node's transport certificate.",
        (
            "vppd pki issue der-4 --hosts 192.168.10.6 --out der-4",
            "vppd pki issue der-4 --dir ca --hosts der-4.local,192.168.10.6 --days 30 --out der-4",
        ),
    ),
    Entry(
        "pki revoke",
        "vppd.cli.pki:revoke",
        "Put a certificate on the plant's list of revoked ones.",
        ("vppd pki revoke der-4/node.pem", "vppd pki revoke der-4/node.pem --dir ca --days 365"),
    ),
    Entry(
        "pki crl",
        "vppd.cli.pki:crl",
        "Renew the list of revoked certificates before it expires.",
        ("vppd pki crl", "vppd pki crl --dir ca --days 365"),
    ),
    Entry(
        "pki show",
        "vppd.cli.pki:show",
        "Print what a certificate says.",
        ("vppd pki show node.pem", "vppd pki show ca.pem -o json"),
    ),
    Entry(
        "peers list",
        "vppd.cli.peers:list_peers",
        "List who listens where.",
        ("vppd peers list", "vppd peers list --peers plant/der-1/peers.toml -o json"),
    ),
    Entry(
        "peers check",
        "vppd.cli.peers:check",
        "Connect to every node of peers.toml and say who answers.",
        ("vppd peers check", "vppd peers check --home plant/der-1 -o json"),
    ),
    Entry(
        "peers add",
        "vppd.cli.peers:add",
        "Add an address to peers.toml; copy the file to every node afterwards.",
        (
            "vppd peers add obs-1 $(vppd key show obs-1/node.key) 192.168.10.9:7440",
            "vppd peers add obs-1 $(vppd key show) 192.168.10.9:7440 --peers der-1/peers.toml",
        ),
    ),
    Entry(
        "validator list",
        "vppd.cli.validator:list_validators",
        "Print who votes, who may be elected, and what waits for approvals.",
        ("vppd validator list", "vppd validator list --home plant/op-0 -o json"),
    ),
    Entry(
        "validator ready",
        "vppd.cli.validator:ready",
        "Print the line with which a member can add this node, or let it vote again.",
        ("vppd validator ready", "vppd validator ready --home der-9 --addr 192.168.10.9:7440"),
    ),
    Entry(
        "validator add",
        "vppd.cli.validator:add",
        "Propose a new validator, or approve it.",
        (
            "vppd validator add vppd-ready:…",
            'vppd validator add "$(vppd validator ready --home der-9)" --home plant/op-0',
        ),
    ),
    Entry(
        "validator remove",
        "vppd.cli.validator:remove",
        "Propose to take a validator out, or approve it.",
        ("vppd validator remove der-3", "vppd validator remove der-3 --home plant/op-0 -o json"),
    ),
    Entry(
        "validator rekey",
        "vppd.cli.validator:rekey",
        "Propose another key for a validator, or approve it.",
        (
            "vppd validator rekey der-3 vppd-ready:…",
            "vppd validator rekey der-3 vppd-ready:… --home plant/op-0",
        ),
    ),
    Entry(
        "validator readmit",
        "vppd.cli.validator:readmit",
        "Propose that a validator which has lost its memory votes again, or approve it.",
        (
            "vppd validator readmit der-3 vppd-ready:…",
            "vppd validator readmit der-3 vppd-ready:… --home plant/op-0",
        ),
    ),
    Entry(
        "validator role",
        "vppd.cli.validator:role",
        "Propose another role for a validator, or approve it.",
        ("vppd validator role der-3 operator", "vppd validator role der-3 der --home plant/op-0"),
    ),
    Entry(
        "validator set",
        "vppd.cli.validator:set_rules",
        "Propose other rules, or approve them.",
        (
            "vppd validator set view_timeout_ms=3000",
            "vppd validator set f=1 engine=pbft --home plant/op-0",
            "vppd validator set f=unset",
        ),
    ),
    Entry(
        "validator approve",
        "vppd.cli.validator:approve",
        "Approve a proposal of another member.",
        ("vppd validator approve", "vppd validator approve 3fa9 --home plant/der-1"),
    ),
    Entry(
        "validator vote",
        "vppd.cli.validator:vote",
        "Give this member's score to candidates, in engine dpos.",
        ("vppd validator vote der-3 der-5", "vppd validator vote --home plant/der-1"),
    ),
    Entry(
        "market clear",
        "vppd.cli.clear:clear",
        "Clear a book of orders from a file and print trades and remainders.",
        ("vppd market clear book.json", "vppd market clear book.json --rules paper003 -o json"),
    ),
    Entry(
        "market credit",
        "vppd.cli.credit:credit",
        "Replay a file of deliveries to credit values.",
        (
            "vppd market credit deliveries.json",
            "vppd market credit deliveries.json --rules paper003 -o json",
        ),
    ),
    Entry(
        "bench report",
        "vppd.cli.bench_report:report",
        "Write a run's report: one HTML file with its figures, plots, limits and machine.",
        (
            "vppd bench report bench-20260101-bncm-n4",
            "vppd bench report bncm-n4 --with bncm-n7 --with pbft-n4 --with pbft-n7",
        ),
    ),
    Entry(
        "bench compare",
        "vppd.cli.bench_report:compare",
        "Compare the runs of two folders, with confidence intervals.",
        ("vppd bench compare before after", "vppd bench compare bncm pbft --force -o json"),
    ),
    Entry(
        "bench paper",
        "vppd.cli.bench_paper:paper",
        "Run an experiment of the papers again: their numbers beside ours.",
        (
            "vppd bench paper fig12",
            "vppd bench paper fig14 --sim --delay-ms 50 -o json",
            "vppd bench paper day --profiles profiles.csv --out results",
        ),
    ),
    Entry(
        "bench remote",
        "vppd.cli.bench_remote:remote",
        "Measure a plant on other machines, by SSH.",
        (
            "vppd bench remote pis.toml --rate 20 --duration 60",
            "vppd bench remote pis.toml --engine pbft --out pis-pbft -o json",
        ),
    ),
    Entry(
        "bench scale",
        "vppd.cli.bench_scale:scale",
        "Simulate larger plants with costs measured here.",
        (
            "vppd bench scale --sizes 4,10,31 --sites lan,country",
            "vppd bench scale --ways broadcast,dpos --slower 6 --out slow-cores",
            "vppd bench scale --calibrate costs.json",
        ),
    ),
)

GROUPS = {
    "block": "Decided blocks.",
    "tx": "Signed transactions.",
    "config": "This node's files: what they say, and whether they hold.",
    "db": "This node's chain store.",
    "key": "Secret keys of nodes and meters.",
    "market": "Orders, trades and clearing.",
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
