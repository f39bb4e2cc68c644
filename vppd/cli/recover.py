"""``vppd recover``: a lost or damaged store is replaced by one that follows and does not vote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vppd.cli.online import genesis_of, node_config
from vppd.cli.output import Output, OutputOption, print_json
from vppd.cli.progress import progress

if TYPE_CHECKING:
    from vppd.store.recover import Recovery


def recover_store(
    home: Annotated[Path, typer.Option(help="The node's folder; it must not be running.")] = Path(),
    force: Annotated[
        bool,
        typer.Option("--force", help="Also a store that looks sound: it was put back from a copy."),
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Keep every block that still holds, put the damaged files aside, and never vote with the rest.

    For a store that is damaged, cut short, missing, or older than what this node has signed. May
    be interrupted at any moment and called again; a second time it changes nothing.
    """
    from vppd.store.recover import recover

    genesis = genesis_of(home)
    path = node_config(home).store
    with progress("blocks", 0) as advance:
        done = recover(path, genesis, force=force, progress=lambda *_: advance())
    if output is Output.JSON:
        print_json(_document(path, done))
    else:
        print("\n".join(_lines(path, done, home)))


def _document(path: Path, done: Recovery) -> dict[str, Any]:
    return {
        "store": str(path),
        "changed": done.changed,
        "why": done.observer.reason,
        "kept": done.kept,
        "height_before": done.known,
        "first_lost": done.first_lost or None,
        "aside": [str(file) for file in done.aside],
        "nonce": done.observer.nonce.hex(),
    }


def _lines(path: Path, done: Recovery, home: Path) -> list[str]:
    how = "" if done.changed else "nothing to do, this is an observer's store already\n        "
    kept = f"blocks 1..{done.kept}, each verified and executed again" if done.kept else "no block"
    rows = [
        ("store", f"{how}{path}"),
        ("why", done.observer.reason),
        ("kept", kept),
        ("lost", _lost_blocks(done)),
        ("", "what this node had promised: vote, lock and view; its evidence against others"),
        *(("aside", str(file)) for file in done.aside),
        ("now", "an observer: it follows and serves, and does not vote until a configuration"),
        ("", f"block of the plant names this nonce, {done.observer.nonce.hex()},"),
        ("", "or a new key in its place"),
        ("next", f"vppd start --home {home}"),
    ]
    return [f"{label:<6}  {text}" for label, text in rows]


def _lost_blocks(done: Recovery) -> str:
    """What of the chain has to come from the others."""
    if done.known is None:
        return "all blocks above: the other nodes have them, a running node fetches them"
    if done.known <= done.kept and not done.first_lost:
        return "no block that this store held"
    last = max(done.known, done.kept + 1)
    why = f" ({done.first_lost})" if done.first_lost else ""
    return f"blocks {done.kept + 1}..{last}{why}: a running node fetches them from the others"
