"""``vppd meter``: put a meter's readings on chain, and see which meters there are."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from vppd.cli.online import HomeOption, account_of, genesis_of, submit, with_client
from vppd.cli.output import Output, OutputOption, by_name, print_json, print_rows
from vppd.cli.progress import progress
from vppd.cli.tx import GONE
from vppd.client.client import Client
from vppd.client.readings import Fate, ReadingsFile, Row, moment_text
from vppd.client.render import render_receipt
from vppd.config.genesis import Genesis
from vppd.config.keys import load_key
from vppd.crypto import SigningKey, key_text
from vppd.errors import UserError
from vppd.ledger.codes import Status
from vppd.ledger.receipts import decode_receipt
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.transaction import Reading, make_transaction
from vppd.net.requests import TxStage

LIFETIME_BLOCKS = 1_000
_STDIN = Path("-")


def push(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV of one meter: slot or end, import_wh, export_wh; - reads standard input."
        ),
    ],
    key: Annotated[
        Path | None, typer.Option(help="The meter's key; default: meter.key in the node's folder.")
    ] = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Check every row, then send what is not on chain yet, and wait until it is decided.

    Raises:
        UserError: E230 … E239, a row is wrong and nothing was sent; E390, the key is no meter's;
            E391, the chain did not take what was sent.
    """
    genesis = genesis_of(home)
    signer = load_key(key or home / "meter.key")
    source = "standard input" if file == _STDIN else str(file)
    readings = ReadingsFile(_read(file), source, genesis.market, signer.public_key)

    async def work(client: Client) -> dict[str, Any]:
        meter = await _meter(client, signer)
        now_ms: int = (await client.view("status"))["unix_ms"]
        rows = readings.sort_out(meter, now_ms)
        most = await _most_ops(client, genesis)
        sent = _Sent(client, genesis, signer, meter, source)
        with progress("readings", len(rows[Fate.CORRECTION]) + len(rows[Fate.NEW])) as advance:
            for part in _parts(rows[Fate.CORRECTION], most):
                advance(await sent.push(part))
            corrected = sent.rows
            for part in _parts(rows[Fate.NEW], most):
                advance(await sent.push(part))
        return {
            "meter": key_text(signer.public_key),
            "account": meter["account"],
            "recorded": sent.rows - corrected,
            "corrected": corrected,
            "already_recorded": len(rows[Fate.RECORDED]),
            "closed": len(rows[Fate.CLOSED]),
            "transactions": sent.hashes,
        }

    done = with_client(home, work)
    if output is Output.JSON:
        print_json(done)
    else:
        print("\n".join(_said(done)))


def list_meters(home: HomeOption = Path(), output: OutputOption = Output.TABLE) -> None:
    """List meters by member: key, last slot with a reading, its end, and both registers."""
    genesis = genesis_of(home)

    async def work(client: Client) -> list[dict[str, Any]]:
        accounts = by_name(await client.view("accounts"))
        keys = [key for account in accounts for key in account["meters"]]
        return list(await asyncio.gather(*(client.view("account", key) for key in keys)))

    rows = [_row(meter, genesis) for meter in with_client(home, work)]
    if rows or output is Output.JSON:
        print_rows(rows, output)
    else:
        print("this plant has no meters; genesis.toml lists them")


def _row(meter: dict[str, Any], genesis: Genesis) -> dict[str, str | int | None]:
    """The last registers: of an open slot, or where the meter's first open slot starts."""
    start = {**meter, "slot": meter["known_before_slot"] - 1}
    last = meter["readings"][-1] if meter["readings"] else start
    slot = last["slot"] if last["slot"] >= 0 else None
    return {
        "meter": meter["key"],
        "account": meter["account"],
        "last_slot": slot,
        "end": None if slot is None else moment_text(due_ms(genesis.market, slot, Phase.METERED)),
        "import_wh": last["import_wh"],
        "export_wh": last["export_wh"],
    }


def _read(file: Path) -> bytes:
    if file == _STDIN:
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as err:
        raise UserError(
            "E230",
            "the file of readings cannot be read",
            facts={"file": str(file), "why": err.strerror or str(err)},
            hint="the path of a CSV file, or - for standard input",
        ) from err


async def _most_ops(client: Client, genesis: Genesis) -> int:
    """Operations of a transaction by the rules in force, and by those already decided on."""
    view = await client.view("validators")
    founding = genesis.consensus.max_tx_ops
    eras = (view["era"], view["scheduled"] or view["era"])
    return min(int(era["rules"].get("max_tx_ops", founding)) for era in eras)


async def _meter(client: Client, signer: SigningKey) -> dict[str, Any]:
    meter = await account_of(client, signer.public_key)
    if meter["kind"] != "meter":
        raise UserError(
            "E390",
            "this key is a member's, and only a meter's signs readings",
            facts={"key": key_text(signer.public_key), "member": meter["name"]},
            hint="--key meter.key; vppd meter list shows the plant's meters",
        )
    return meter


def _parts(rows: Sequence[Row], size: int) -> Iterator[Sequence[Row]]:
    """What one transaction holds at most, in order."""
    return (rows[i : i + size] for i in range(0, len(rows), size))


class _Sent:
    """Readings on their way, one transaction after the other.

    Args:
        client: of the node.
        genesis: its chain.
        signer: the meter.
        meter: its ``account`` view.
        source: what to call the file.
    """

    def __init__(
        self,
        client: Client,
        genesis: Genesis,
        signer: SigningKey,
        meter: dict[str, Any],
        source: str,
    ) -> None:
        self._client = client
        self._genesis = genesis
        self._signer = signer
        self._nonce: int = meter["nonce"]
        self._expiry: int = meter["height"] + LIFETIME_BLOCKS
        self._source = source
        self.rows = 0
        """On chain now."""
        self.hashes: list[str] = []

    async def push(self, rows: Sequence[Row]) -> int:
        """Get rows decided, together; their number.

        Raises:
            UserError: E391, they are not on chain; E350, the node refuses them.
        """
        ops = [Reading(row.slot, row.import_wh, row.export_wh) for row in rows]
        raw = make_transaction(self._signer, self._genesis.digest, self._nonce, self._expiry, ops)
        tx_id = await submit(self._client, raw)
        self._nonce += 1
        state = await self._client.wait(tx_id, raw)
        if state.stage != TxStage.COMMITTED:
            raise self._not_taken(rows[0], {"why": GONE[TxStage.DROPPED]["why"]})
        receipt = decode_receipt(state.receipt)
        if receipt.status != Status.OK:
            told = render_receipt(state.receipt)
            # Of a failure the first detail is the operation: its row is the one that is wrong.
            failed = rows[receipt.detail[0]] if receipt.status == Status.FAILED else rows[0]
            raise self._not_taken(failed, {"why": told["why"]})
        self.rows += len(rows)
        self.hashes.append(tx_id.hex())
        return len(rows)

    def _not_taken(self, row: Row, why: dict[str, str]) -> UserError:
        return UserError(
            "E391",
            "the chain did not take a reading that looked right a moment ago",
            facts={
                "file": self._source,
                "line": str(row.line),
                **why,
                "sent": f"{self.rows} rows before it are on chain",
            },
            hint="push the file again: rows that are on chain are passed over",
        )


def _said(done: dict[str, Any]) -> list[str]:
    """One line for each kind of row there was."""
    words = (
        ("recorded", "recorded"),
        ("corrected", "corrected"),
        ("already_recorded", "already recorded"),
        ("closed", "passed over: their slots are closed, and the meter has later readings"),
    )
    counts = [f"{done[name]} {word}" for name, word in words if done[name]]
    return [f"{done['meter']}, meter of {done['account']}", *(f"  {line}" for line in counts)]
