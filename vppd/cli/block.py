"""``vppd block``: look at decided blocks, follow them, and verify a store from genesis."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from vppd.cli.online import HomeOption, genesis_of, node_config, parse_hash, with_client
from vppd.cli.output import Output, OutputOption, print_json, print_rows, table
from vppd.cli.progress import progress
from vppd.client.client import Client
from vppd.client.contract_words import kinds_in
from vppd.client.epochs import Crossing
from vppd.client.render import render_receipt, render_transaction
from vppd.consensus.certificate import signers_of
from vppd.consensus.validators import Validator
from vppd.crypto import key_text
from vppd.errors import Exit, UserError
from vppd.header import Header, decode_header
from vppd.ledger.receipts import decode_receipt
from vppd.net.requests import DecidedView
from vppd.types import Height


def show(
    which: Annotated[str, typer.Argument(metavar="H|HASH", help="Height or block hash.")],
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Print a decided block: header, signers, transactions and what they did."""
    genesis = genesis_of(home)

    async def work(client: Client) -> dict[str, Any]:
        height = _height(which)
        if height is None:
            height = await client.find(parse_hash(which))
        block = await client.block(height)
        names = await _names(Crossing(genesis, client.links), block.header)
        return _document(block, names)

    document = with_client(home, work)
    if output is Output.JSON:
        print_json(document)
        return
    txs = document.pop("transactions")
    print_rows([{"field": name, "value": _cell(value)} for name, value in document.items()], output)
    for i, tx in enumerate(txs):
        ops = "; ".join(_cell(op) for op in tx["ops"])
        result = tx["receipt"].get("why") or tx["receipt"]["status"]
        print(f"\ntransaction {i}  {tx['sender']}  nonce {tx['nonce']}\n  {ops}\n  {result}")


def tail(
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new blocks.")] = False,
    count: Annotated[int, typer.Option("-n", min=1, help="How many of the last ones.")] = 10,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Print the last blocks, one line each; with -f also those to come."""
    genesis = genesis_of(home)

    async def work(client: Client) -> None:
        crossing = Crossing(genesis, client.links)
        top = await client.subscribe()
        rows = []
        for height in range(max(1, top - count + 1), top + 1):
            header = (await client.block(height)).header
            rows.append(_row(header, await _names(crossing, header)))
        if output is Output.TABLE:
            print("\n".join(_lines(rows)), flush=True)
        elif not follow:
            print_json(rows)
        if follow:
            async for block in client.pushes():
                row = _row(block.header, await _names(crossing, block.header))
                print(_lines([row])[-1] if output is Output.TABLE else _one_line(row), flush=True)

    with_client(home, work)


def verify(
    heights: Annotated[
        str, typer.Argument(metavar="[A..B]", help="Heights to report on; default: all.")
    ] = "",
    home: HomeOption = Path(),
    store: Annotated[Path | None, typer.Option(help="A chain.db; default: the home's.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Re-check every hash, root and signature of a stored chain, executing it from genesis.

    Works on the files alone, whether the node runs or not. Exit code 1 names the first height
    that does not hold.
    """
    from vppd.store.verify import verify_chain

    first, last = _range(heights)
    genesis = genesis_of(home)
    path = store or node_config(home).store
    started = time.perf_counter()
    with progress("blocks", 0) as advance:
        report = verify_chain(path, genesis, first=first, last=last, progress=lambda *_: advance())
    seconds = time.perf_counter() - started
    document: dict[str, Any] = {
        "store": str(path),
        "first": report.first,
        "last": report.last,
        "transactions": report.transactions,
        "ok": report.ok,
        "problem": report.problem,
        "begins": report.begins,
        "seconds": round(seconds, 3),
    }
    if output is Output.JSON:
        print_json(document)
    elif report.ok and report.begins:
        print(
            f"heights {report.first}..{report.last} hold: {report.transactions} transactions, "
            f"every hash and signature re-checked in {seconds:.2f} s; transactions up to "
            f"{report.begins} are not here, so nothing was executed again"
        )
    elif report.ok:
        print(
            f"heights {report.first}..{report.last} hold: {report.transactions} transactions, "
            f"every hash, root and signature re-checked from genesis in {seconds:.2f} s"
        )
    if last is not None and report.ok and report.last < last:
        raise UserError(
            "E359",
            f"the store ends at height {report.last}, {last} was asked for",
            facts={"store": str(path)},
            hint="vppd status says where the plant stands; a running node catches up by itself",
        )
    if not report.ok:
        raise UserError(
            "E257",
            f"the stored chain does not hold: {report.problem}",
            facts={"store": str(path)},
            hint="this node's disk is damaged or was tampered with; fetch the chain again from "
            "the other nodes",
        )


def _height(text: str) -> Height | None:
    """A height, or ``None`` for what may be a hash."""
    return int(text) if text.isdecimal() and len(text) < 19 else None


def _range(text: str) -> tuple[Height, Height | None]:
    if not text:
        return 1, None
    first, dots, last = text.partition("..")
    numbers = first.isdecimal() and (not dots or last.isdecimal())
    if not numbers or int(first) < 1 or (dots and int(last) < int(first)):
        raise UserError(
            "E355",
            f"{text!r} is not a range of heights",
            hint="vppd block verify 1..100, or nothing for all",
            exit_code=Exit.USAGE,
        )
    return int(first), int(last) if dots else int(first)


async def _names(crossing: Crossing, raw: bytes) -> tuple[Validator, ...]:
    """Who voted in the epoch of a header."""
    header = decode_header(raw)
    epochs = await crossing.reach(header.epoch)
    return epochs.at(header.height).validators.members


def _document(block: DecidedView, members: tuple[Validator, ...]) -> dict[str, Any]:
    header = decode_header(block.header)
    certificate = block.certificate
    txs = []
    for i, raw in enumerate(block.txs):
        receipt = block.receipts[i + 1] if block.receipts else None
        tx = render_transaction(raw, kinds_in(decode_receipt(receipt)) if receipt else None)
        tx["receipt"] = render_receipt(receipt) if receipt else {}
        txs.append(tx)
    return {
        "height": header.height,
        "hash": header.digest().hex(),
        "time": iso(header.time_ms),
        "time_ms": header.time_ms,
        "proposer": _name_of(header, members),
        "epoch": header.epoch,
        "view": certificate.view,
        "parent": header.parent.hex(),
        "tx_root": header.tx_root.hex(),
        "state_root_before": header.state_root.hex(),
        "receipts_root_before": header.receipts_root.hex(),
        "next_validators": header.next_validators.hex(),
        "bytes": header.body_bytes,
        "signers": [
            members[i].name if i < len(members) else str(i) for i in signers_of(certificate)
        ],
        "triggers": render_receipt(block.receipts[0]) if block.receipts else {},
        "transactions": txs,
    }


def _row(raw: bytes, members: tuple[Validator, ...]) -> dict[str, str | int | None]:
    """The columns of P0, Table 3."""
    header = decode_header(raw)
    return {
        "height": header.height,
        "hash": header.digest().hex()[:24],
        "time": iso(header.time_ms),
        "miner": _name_of(header, members),
        "size": len(raw) + header.body_bytes,
        "transactions": header.tx_count,
    }


_WIDTHS = (8, 24, 24, 8, 7, 12)


def _lines(rows: list[dict[str, str | int | None]]) -> list[str]:
    padded = [
        {
            name: str(value).ljust(width)
            for (name, value), width in zip(row.items(), _WIDTHS, strict=True)
        }
        for row in rows
    ]
    return table(padded) if padded else []


def _one_line(row: dict[str, str | int | None]) -> str:
    import json

    return json.dumps(row)


def _name_of(header: Header, members: tuple[Validator, ...]) -> str:
    for validator in members:
        if validator.key == header.proposer:
            return validator.name
    return key_text(header.proposer)


def iso(time_ms: int) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(time_ms / 1_000, UTC).isoformat(timespec="milliseconds")


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={_cell(part)}" for name, part in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(_cell(part) for part in value) or "-"
    return str(value)
