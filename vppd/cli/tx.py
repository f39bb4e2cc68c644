"""``vppd tx``: send a signed transaction, or see where one stands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from vppd.cli.online import genesis_of, parse_hash, submit, waits_for, with_client
from vppd.cli.output import Output, OutputOption, print_json
from vppd.client.client import Client
from vppd.client.contract_words import Kinds, kinds_in, opened_in
from vppd.client.proofs import Prover
from vppd.client.render import render_receipt, render_transaction
from vppd.codec import Malformed
from vppd.config.genesis import Genesis
from vppd.crypto import key_text, verify
from vppd.errors import Exit, UserError
from vppd.ledger.codes import Status
from vppd.ledger.contracts.ops import CallContract
from vppd.ledger.receipts import decode_receipt
from vppd.ledger.transaction import decode_transaction, signature_holds
from vppd.net.requests import TxStage, TxState
from vppd.types import Digest

GONE = {
    TxStage.UNKNOWN: {
        "why": "this node neither has it waiting nor knows a block with it",
        "try": "another node, or send it (again)",
    },
    TxStage.DROPPED: {
        "why": "dropped from this node's waiting room undecided: it expired, its nonce went to "
        "another, or it made room for others, and then another node may still have it",
        "try": "send it again; if it is refused then, sign it again",
    },
}
"""What to say of a transaction that is not here."""


def send(
    file: Annotated[
        Path,
        typer.Argument(help="A signed transaction, raw or hexadecimal; - reads standard input."),
    ],
    wait: Annotated[bool, typer.Option("--wait", help="Until it is decided and executed.")] = False,
    home: Annotated[Path, typer.Option(help="A running node's folder.")] = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Hand a signed transaction to the node; prints its hash once the node has accepted it.

    Raises:
        UserError: E353, E392 … E394, what is to be sent is no transaction of this plant;
            E350, the node refuses it.
    """
    raw = _read(file)
    genesis = genesis_of(home)
    _check(raw, genesis, file)

    async def work(client: Client) -> tuple[Digest, TxState | None, int | None, Kinds]:
        tx_id = await submit(client, raw)
        missing = await waits_for(client, raw)
        if wait and missing is not None:
            print(f"note: it waits until nonce {missing} of its sender is decided", file=sys.stderr)
        state = await client.wait(tx_id, raw) if wait else None
        return tx_id, state, missing, await kinds_called(client, state)

    tx_id, state, missing, kinds = with_client(home, work)
    print_state(tx_id, state, output, missing=missing, kinds=kinds)
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

    async def work(client: Client) -> tuple[TxState, dict[str, Any] | None, int | None, Kinds]:
        prover = Prover(genesis, client.links)
        state = await (client.wait(tx_id) if wait else client.tx(tx_id))
        shown = await prover.check(tx_id, state) if proof else None
        while wait and shown is not None and "pending" in shown:
            if state.stage != TxStage.COMMITTED:
                break
            await anext(client.pushes())  # the next block carries the root that proves it
            state = await client.tx(tx_id)
            shown = await prover.check(tx_id, state)
        accepted = state.stage == TxStage.ACCEPTED and state.raw
        missing = await waits_for(client, state.raw) if accepted else None
        return state, shown, missing, await kinds_called(client, state)

    state, shown, missing, kinds = with_client(home, work)
    print_state(tx_id, state, output, proof=shown, missing=missing, kinds=kinds)
    if state.stage in (TxStage.UNKNOWN, TxStage.DROPPED):
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
    if not data.strip():
        raise UserError(
            "E393",
            "there is no transaction: the input is empty",
            facts={"input": _name(file)},
            hint="a signed transaction, raw or hexadecimal; did the command before the pipe fail?",
        )
    try:
        return bytes.fromhex(data.decode("ascii").strip())
    except (UnicodeDecodeError, ValueError):
        return data


def _name(file: Path) -> str:
    return "standard input" if str(file) == "-" else str(file)


def _check(raw: bytes, genesis: Genesis, file: Path) -> None:
    """What can be wrong with a transaction whatever the chain's state, found before it is sent."""
    try:
        tx = decode_transaction(raw)
    except Malformed as err:
        raise UserError(
            "E392",
            "the input is not a transaction, or is damaged",
            facts={"input": f"{_name(file)}, {len(raw)} bytes", "why": str(err)},
            hint="the bytes as they were signed, raw or hexadecimal, whole and nothing beside them",
        ) from err
    if not signature_holds(tx, genesis.digest, verify, signed=genesis.ledger.signed):
        raise UserError(
            "E394",
            "the transaction's signature does not hold on this chain",
            facts={
                "input": _name(file),
                "sender": key_text(tx.sender),
                "chain": f"{genesis.name}, genesis_sha256 {genesis.digest.hex()}",
            },
            hint="signed for another plant, or changed since: sign it again with this genesis.toml",
        )


def require_success(state: TxState | None) -> None:
    """Exit code 1 for a transaction that was waited for and did not succeed."""
    if state is None:
        return
    done = state.stage == TxStage.COMMITTED
    if not done or decode_receipt(state.receipt).status != Status.OK:
        raise typer.Exit(Exit.FAILED)


async def kinds_called(client: Client, state: TxState | None) -> Kinds:
    """Kinds of the contracts that a transaction calls: of its receipt, else of those there are."""
    if state is None or not state.raw:
        return {}
    calls = [op for op in decode_transaction(state.raw).ops if isinstance(op, CallContract)]
    decided = state.stage == TxStage.COMMITTED
    known = kinds_in(decode_receipt(state.receipt)) if decided else {}
    if all(op.number in known for op in calls):
        return known
    rows = await client.view("contracts")
    return {int(row["contract"]): row["kind"] for row in rows if row["contract"].isdecimal()}


def print_state(
    tx_id: Digest,
    state: TxState | None,
    output: Output,
    *,
    proof: dict[str, Any] | None = None,
    missing: int | None = None,
    kinds: Kinds | None = None,
) -> None:
    """Print the three facts: accepted, committed, with which result; first what it opened.

    Args:
        tx_id: of the transaction.
        state: where it stands; ``None``: accepted a moment ago.
        output: form.
        proof: how the node's answer was proved; ``None``: nobody asked.
        missing: the nonce that has to be decided first.
        kinds: of the contracts it calls (:func:`kinds_called`).
    """
    opened: list[int] = []
    fact: dict[str, Any] = {"hash": tx_id.hex()}
    if state is None:
        fact["stage"] = "accepted"
    else:
        fact["stage"] = TxStage(state.stage).name.lower()
        if state.stage == TxStage.COMMITTED:
            fact["height"] = state.height
            fact |= render_receipt(state.receipt)
            opened = opened_in(decode_receipt(state.receipt))
        fact |= GONE.get(TxStage(state.stage), {})
        if state.raw:
            fact["transaction"] = render_transaction(state.raw, kinds)
        if proof is not None:
            fact["proof"] = proof
    if missing is not None and fact["stage"] == "accepted":
        fact["waits_for_nonce"] = missing
    if output is Output.JSON:
        print_json(fact | ({"contracts": opened} if opened else {}))
    else:
        for number in opened:
            print(f"contract {number}")
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
