"""``vppd doctor``: everything on this machine that can keep a node from working, line by line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vppd.cli.output import Output, OutputOption, print_json
from vppd.errors import Exit, UserError

if TYPE_CHECKING:
    from vppd.cli.checks.finding import Finding


def doctor(
    home: Annotated[Path, typer.Option(help="A node's folder, running or not.")] = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Check this machine and this node's files; one line per check, and what to try.

    Exit code 1 if a check fails. A check that cannot be done says unknown.
    """
    from vppd.cli.checks.finding import Verdict

    findings = list(_examine(home))
    if output is Output.JSON:
        rows = [
            {"check": f.check, "verdict": f.verdict, "says": f.says, "try": f.hint or None}
            for f in findings
        ]
        print_json(rows)
    else:
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            print(f"{finding.verdict:<7}  {finding.check:<{width}}  {finding.says}")
            if finding.hint:
                print(f"{'':<7}  {'':<{width}}  try: {finding.hint}")
        counts = {v: sum(f.verdict is v for f in findings) for v in Verdict}
        print("\n" + ", ".join(f"{count} {v}" for v, count in counts.items() if count))
    if any(finding.verdict is Verdict.FAIL for finding in findings):
        raise typer.Exit(Exit.FAILED)


def _examine(home: Path) -> Iterator[Finding]:
    """All checks, those that need nothing first."""
    from vppd.cli.checks import files, machine, network
    from vppd.cli.checks.finding import unknown
    from vppd.cli.checks.store import store
    from vppd.cli.loop import run_async
    from vppd.cli.online import genesis_of

    yield machine.versions()
    yield machine.signatures()
    yield machine.clock()
    yield files.home_folder(home)
    found, ready = files.config(home)
    yield found
    node, about_socket = files.settings(home)
    yield from about_socket
    if node is None:
        yield unknown("everything else", "where it is takes a node.toml that can be used")
        return
    yield files.node_key(node.key_file)
    if node.transport == "tls":
        yield files.tls_key(node.cert_key)
    yield from files.certificates(node)
    folder = node.store.resolve().parent
    yield machine.space(folder, node.min_free_bytes)
    yield machine.syncs(folder)
    yield machine.filesystem(folder)
    try:
        genesis = genesis_of(home)
    except UserError:
        yield unknown("store", "without genesis.toml nobody can say which chain it should hold")
    else:
        yield from store(node.store, genesis)
    if ready is None:
        yield unknown("ports", "which ones they are takes files that fit together")
        yield unknown("peers", "where they are takes files that fit together")
        return
    status = run_async(network.running(node))
    yield from run_async(network.ports(ready, status))
    yield from run_async(network.peers(ready))
