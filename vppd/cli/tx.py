"""``vppd tx``: send a signed transaction, or see where one stands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from vppd.cli.online import genesis_of, parse_hash, with_client
from vppd.cli.output import Output, OutputOption, print_json
from vppd.client.client import Client
from vppd.client.proofs import check_proof
from vppd.client.render import render_receipt, render_transaction
from vppd.config.genesis import Genesis
from vppd.errors import Exit, UserError
from vppd.ledger.receipts import Status, decode_receipt
from vppd.net.requests import TxStage, TxState
from vppd.types import Digest


def send(
    file: Annotated[
        Path,
        typer.Argument(help="A signed transaction, raw or hexadecimal; - reads standard input."),
    ],
    wait: Annotated[bool, typer.Option("--wait", help="Until it is decided and executed.")] = False,
    home: Annotated[Path, typer.Option(help="A running node's folder.")] = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Hand a signed transaction to the node; prints its hash once the node has accepted it."""
    raw = _read(file)
    genesis = genesis_of(home)

    async def work(client: Client) -> tuple[Digest, TxState | None]:
        tx_id = await client.submit(raw)
        return tx_id, await client.wait(tx_id) if wait else None

    tx_id, state = with_client(home, work)
    print_state(tx_id, state, genesis, output)
    require_success(state)


def show(
    tx_hash: Annotated[str, typer.Argument(metavar="HASH", help="As printed by `tx send`.")],
    wait: Annotated[bool, typer.Option("--wait", help="Until it is decided and executed.")] = False,
    proof: Annotated[
        bool,
        typer.Option(
            "--proof", help="Check the node's answer: certificate, Merkle path, signatures."
        ),
    ] = False,
    home: Annotated[Path, typer.Option(help="A running node's folder.")] = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Print where a transaction stands; exit code 1 if nobody knows it."""
    tx_id = parse_hash(tx_hash)
    genesis = genesis_of(home)

    async def work(client: Client) -> TxState:
        state = await (client.wait(tx_id) if wait else client.tx(tx_id))
        while wait and proof and "pending" in check_proof(tx_id, state, genesis):
            if state.stage != TxStage.COMMITTED:
                break
            await anext(client.pushes())  # the next block carries the root that proves it
            state = await client.tx(tx_id)
        return state

    state = with_client(home, work)
    print_state(tx_id, state, genesis, output, proof=proof)
    if state.stage == TxStage.UNKNOWN:
        raise typer.Exit(Exit.FAILED)


def _read(file: Path) -> bytes:
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as err:
        raise UserError(
            "E353",
            "the transaction file cannot be read",
            facts={"file": str(file), "why": err.strerror or str(err)},
            hint="a file with the signed transaction, or - for standard input",
            exit_code=Exit.USAGE,
        ) from err
    try:
        return bytes.fromhex(data.decode("ascii").strip())
    except (UnicodeDecodeError, ValueError):
        return data


def require_success(state: TxState | None) -> None:
    """Exit code 1 for a transaction that was waited for and did not succeed."""
    if state is None:
        return
    done = state.stage == TxStage.COMMITTED
    if not done or decode_receipt(state.receipt).status != Status.OK:
        raise typer.Exit(Exit.FAILED)


def print_state(
    tx_id: Digest,
    state: TxState | None,
    genesis: Genesis,
    output: Output,
    *,
    proof: bool = False,
) -> None:
    """Print the three facts: accepted, committed, with which result."""
    fact: dict[str, Any] = {"hash": tx_id.hex()}
    if state is None:
        fact["stage"] = "accepted"
    else:
        fact["stage"] = TxStage(state.stage).name.lower()
        if state.stage == TxStage.COMMITTED:
            fact["height"] = state.height
            fact |= render_receipt(state.receipt)
        if state.raw:
            fact["transaction"] = render_transaction(state.raw)
        if proof:
            fact["proof"] = check_proof(tx_id, state, genesis)
    if output is Output.JSON:
        print_json(fact)
    else:
        print("\n".join(_lines(fact | fact.pop("transaction", {}))))


def _lines(fact: dict[str, Any]) -> list[str]:
    """One fact a line; a list has a line for each of its items."""
    width = max(map(len, fact))
    lines = []
    for name, value in fact.items():
        items = value if isinstance(value, list) else [value]
        for i, item in enumerate(items or ["-"]):
            lines.append(f"{name if i == 0 else '':<{width}}  {_text(item)}".rstrip())
    return lines


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{name} {_text(part)}" for name, part in value.items())
    if isinstance(value, list):
        return "; ".join(_text(part) for part in value) or "-"
    return str(value)
