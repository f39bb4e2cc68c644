"""``vppd db``: check a node's chain store, copy it, put a copy back, prune it, stream it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from vppd.cli.online import genesis_of, node_config
from vppd.cli.output import Output, OutputOption, print_json
from vppd.cli.progress import progress
from vppd.config.home import load_home
from vppd.config.node import RETENTION
from vppd.errors import UserError

if TYPE_CHECKING:
    from vppd.store.archive import Moved
    from vppd.store.backup import Restored
    from vppd.store.check import StoreReport, StoreState

HomeOption = Annotated[Path, typer.Option(help="The node's folder.")]


def check(
    home: HomeOption = Path(),
    store: Annotated[
        Path | None, typer.Option(help="A chain.db or a backup; default: the home's.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Check the file's structure, the safety record, and every hash, root and signature.

    Works on the files alone, whether the node runs or not, and changes nothing. Exit code 1 names
    what is damaged.
    """
    from vppd.store.check import check_store

    genesis = genesis_of(home)
    path = store or node_config(home).store
    started = time.perf_counter()
    with _steps("blocks") as advance:
        report = check_store(path, genesis, progress=advance)
    seconds = time.perf_counter() - started
    if output is Output.JSON:
        print_json(_check_document(path, report, seconds))
    else:
        print("\n".join(_check_lines(path, report, seconds)))
    if report.problems:
        raise UserError(
            "E380",
            f"the chain store does not hold: {report.problems[0]}",
            facts={"store": str(path)},
            hint="stop the node; vppd recover keeps every block that holds, and puts the damaged\n"
            "file aside; the node then follows without voting",
        )


def backup(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to make.")],
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Copy the store of a running or stopped node to one file; nothing is ever overwritten.

    The copy holds every block. It cannot vote: what this node promises from now on is not in it.
    """
    from vppd.store.backup import backup as make

    genesis, node = genesis_of(home), node_config(home)
    with _steps("pages") as advance:
        made = make(node.store, genesis, out, keep_free_bytes=node.min_free_bytes, progress=advance)
    if output is Output.JSON:
        document = {"file": str(out), "bytes": made.size_bytes, "height": made.decided}
        print_json(document)
        return
    print(
        f"{out}: {_blocks(made.decided)}, {made.size_bytes} bytes, checked and synced\n"
        "It cannot vote: a node restored from it follows and serves. node.key is not in it."
    )


def restore(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", help="As vppd db backup made it.")],
    home: Annotated[Path, typer.Option(help="The node's folder; it must not be running.")] = Path(),
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Also if there is a store; its files are kept aside."),
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Put a backup in place of this node's store; the node then follows and does not vote.

    The backup is verified from genesis before anything is moved.
    """
    from vppd.store.backup import restore as put_back

    genesis = genesis_of(home)
    path = node_config(home).store
    with _steps("blocks") as advance:
        done = put_back(path, genesis, source, replace=replace, progress=advance)
    if output is Output.JSON:
        print_json(_restore_document(path, source, done))
    else:
        print("\n".join(_restore_lines(path, source, home, done)))


def prune(
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep",
            min=1,
            metavar="N",
            help="Blocks to keep whole; default: as node.toml has it, or 10000 for a DER.",
        ),
    ] = None,
    home: Annotated[Path, typer.Option(help="The node's folder; it must not be running.")] = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Remove old transactions and receipts of a stopped node, and give their bytes to the disk.

    Headers and certificates stay. Never removes anything after the last checkpoint. A running node
    prunes by itself, as [store] retention_blocks says.
    """
    from vppd.store.prune import prune_store

    ready = load_home(home)
    said = ready.node.retention_blocks
    kept = keep or (RETENTION[ready.role] if said is None else said)
    if not kept:
        raise UserError(
            "E360",
            f"this node keeps every block: it is {_an(str(ready.role))}",
            hint="--keep N prunes it all the same; what is gone, only other nodes may have",
        )
    with _steps("blocks") as advance:
        done = prune_store(ready.node.store, ready.genesis, kept, progress=advance)
    if output is Output.JSON:
        print_json(
            {
                "store": str(ready.node.store),
                "height": done.decided,
                "removed": done.kept_from - done.first,
                "first_block": done.kept_from,
                "bytes_before": done.bytes_before,
                "bytes_after": done.bytes_after,
            }
        )
        return
    removed = "nothing to remove"
    if done.kept_from > done.first:
        removed = f"blocks {done.first}..{done.kept_from - 1}: their headers and certificates stay"
    rows = [
        ("store", str(ready.node.store)),
        ("removed", removed),
        ("whole", f"blocks {done.kept_from}..{done.decided}" if done.decided else "no block"),
        ("bytes", f"{done.bytes_before} before, {done.bytes_after} after"),
    ]
    print("\n".join(f"{label:<7}  {text}" for label, text in rows))


def export(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="The file to make; -: stdout.")],
    home: HomeOption = Path(),
) -> None:
    """Write every block with its certificate as a stream of MessagePack objects.

    Works beside a running node too. What was written is said on stderr.
    """
    from vppd.store.archive import export_chain

    genesis, path = genesis_of(home), node_config(home).store
    started = time.perf_counter()
    with _writable(out) as stream, _steps("blocks") as advance:
        done = export_chain(path, genesis, stream, progress=advance)
    print(_rate(done, time.perf_counter() - started), file=sys.stderr)


def import_(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="As vppd db export made it; -: stdin.")
    ],
    home: Annotated[Path, typer.Option(help="The node's folder; it must not be running.")] = Path(),
) -> None:
    """Verify and execute every block of an archive into a store that has none.

    All of it or nothing: an archive that is damaged, cut short or of another chain changes nothing.
    """
    from vppd.store.archive import import_chain

    genesis, path = genesis_of(home), node_config(home).store
    started = time.perf_counter()
    with _readable(source) as stream, _steps("blocks") as advance:
        done = import_chain(path, genesis, stream, progress=advance)
    print(_rate(done, time.perf_counter() - started), file=sys.stderr)


@contextmanager
def _writable(out: Path) -> Iterator[BinaryIO]:
    """A new file, or stdout; a file that is not complete is removed.

    Raises:
        UserError: E361.
    """
    made = out != Path("-")
    try:
        if not made:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
            return
        with out.open("xb") as stream:
            try:
                yield stream
            except BaseException:
                out.unlink()
                raise
    except OSError as err:
        raise UserError(
            "E361",
            "the archive cannot be written",
            facts={"file": str(out), "reason": err.strerror or str(err)},
            hint="name another file: nothing is ever overwritten",
        ) from err


@contextmanager
def _readable(source: Path) -> Iterator[BinaryIO]:
    """A file, or stdin.

    Raises:
        UserError: E362.
    """
    try:
        if source == Path("-"):
            yield sys.stdin.buffer
            return
        with source.open("rb") as stream:
            yield stream
    except OSError as err:
        raise UserError(
            "E362",
            "the archive cannot be read",
            facts={"file": str(source), "reason": err.strerror or str(err)},
            hint="vppd db export FILE makes one",
        ) from err


def _rate(done: Moved, seconds: float) -> str:
    blocks = done.last - done.first + 1
    return (
        f"{_blocks(done.last)}, {done.size_bytes} bytes, in {seconds:.2f} s: "
        f"{blocks / seconds:.0f} blocks and {done.size_bytes / seconds / 2**20:.1f} MiB a second"
    )


def _an(role: str) -> str:
    return f"an {role}" if role[0] in "aeiou" else f"a {role}"


@contextmanager
def _steps(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar that is told how far it is, and of how much."""
    with progress(what, 0) as advance:
        before = 0

        def at(done: int, total: int) -> None:
            nonlocal before
            advance(done - before, total)
            before = done

        yield at


# ---------------------------------------------------------------- what is printed


def _check_document(path: Path, report: StoreReport, seconds: float) -> dict[str, Any]:
    state = report.state
    return {
        "store": str(path),
        "ok": not report.problems,
        "running": state.running,
        "schema": state.schema,
        "decided": state.decided,
        "executed": state.executed,
        "generation": state.generation,
        "observer": state.observer,
        "may_vote": state.may_vote and not report.problems,
        "verified": report.verified,
        "begins": report.begins,
        "transactions": report.transactions,
        "problems": [{"where": where, "what": what} for where, what in report.problems],
        "seconds": round(seconds, 3),
    }


def _check_lines(path: Path, report: StoreReport, seconds: float) -> list[str]:
    state = report.state
    running = "no node runs" if state.running is None else f"a node runs ({state.running})"
    rows = [("store", f"{path}, {running}")]
    if not report.problems:
        rows += [
            ("file", f"schema version {state.schema}, structure and indexes hold"),
            ("safety", _safety(state)),
            (
                "chain",
                f"{_blocks(report.verified)}: {report.transactions} transactions, every "
                f"hash, root and signature re-checked from genesis in {seconds:.2f} s",
            )
            if not report.begins
            else (
                "chain",
                f"whole from block {report.begins + 1} to {report.verified}: "
                f"{report.transactions} transactions, every hash and signature, headers and "
                f"certificates below too, re-checked in {seconds:.2f} s; what came before is not "
                "here, so nothing was executed again: the state has the root the plant certified",
            ),
        ]
    else:
        rows += [("damaged", str(problem)) for problem in report.problems]
        rows.append(("holds", _blocks(report.verified)))
    return [f"{label:<7}  {text}" for label, text in rows]


def _blocks(last: int) -> str:
    return f"blocks 1..{last}" if last else "no block"


def _safety(state: StoreState) -> str:
    if state.observer is not None:
        return f"an observer's, it never votes: {state.observer}"
    return f"version {state.generation}, as the guard beside it says: it may vote"


def _restore_document(path: Path, source: Path, done: Restored) -> dict[str, Any]:
    return {
        "store": str(path),
        "backup": str(source),
        "height": done.decided,
        "voting": False,
        "why": done.observer.reason,
        "nonce": done.observer.nonce.hex(),
        "aside": [str(file) for file in done.aside],
        "gave_up_vote": done.replaced is not None and done.replaced.may_vote,
    }


def _restore_lines(path: Path, source: Path, home: Path, done: Restored) -> list[str]:
    rows = [
        ("store", f"{path}, from {source}"),
        ("kept", f"{_blocks(done.decided)}, verified and executed again from genesis"),
        *(("aside", str(file)) for file in done.aside),
    ]
    before = done.replaced
    if before is not None and before.may_vote:
        rows += [
            ("lost", "THIS NODE'S VOTE: the store that was replaced was sound, ended at height"),
            ("", f"{before.decided}, and could vote"),
        ]
    rows += [
        ("now", "AN OBSERVER: it follows and serves, and does not vote until a configuration"),
        ("", f"block of the plant names this nonce, {done.observer.nonce.hex()},"),
        ("", "or a new key in its place"),
        ("next", f"vppd start --home {home}"),
    ]
    return [f"{label:<6}  {text}" for label, text in rows]
