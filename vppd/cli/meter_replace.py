"""``vppd meter replace``: another meter goes on where one stopped, on chain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vppd.cli.market import LIFETIME_BLOCKS, MOST
from vppd.cli.online import HomeOption, account_of, genesis_of, node_config, submit, with_client
from vppd.cli.output import Output, OutputOption
from vppd.cli.tx import print_state, require_success
from vppd.client.client import Client
from vppd.config.keys import load_key
from vppd.crypto import parse_key
from vppd.errors import Exit, UserError
from vppd.ledger.transaction import ReplaceMeter, make_transaction
from vppd.net.requests import TxState
from vppd.types import Digest, PublicKey


def replace(
    old: Annotated[str, typer.Argument(metavar="OLD", help="Key of the meter that stopped.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Key of the one that goes on.")],
    slot: Annotated[int, typer.Option(min=0, max=MOST, help="During which slot.")],
    final_import: Annotated[
        int, typer.Option(min=0, max=MOST, help="What the old one showed at last, Wh.")
    ],
    final_export: Annotated[
        int, typer.Option(min=0, max=MOST, help="The same of its export register.")
    ] = 0,
    first_import: Annotated[
        int, typer.Option(min=0, max=MOST, help="What the new one showed at first, Wh.")
    ] = 0,
    first_export: Annotated[
        int, typer.Option(min=0, max=MOST, help="The same of its export register.")
    ] = 0,
    rollover: Annotated[
        int, typer.Option(min=0, max=MOST, help="Where its registers begin again; 0: never.")
    ] = 0,
    key: Annotated[
        Path | None, typer.Option(help="An authority's or operator's key; default: the node's.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it is decided.")] = False,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Say on chain that a meter was replaced; its member's energy goes on without a step.

    Raises:
        UserError: E538, and what ``vppd tx send`` raises.
    """
    genesis = genesis_of(home)
    signer = load_key(key or node_config(home).key_file)
    op = ReplaceMeter(
        _key(old, "OLD"),
        _key(new, "NEW"),
        slot,
        final_import,
        final_export,
        first_import,
        first_export,
        rollover,
    )

    async def work(client: Client) -> tuple[Digest, TxState | None]:
        account = await account_of(client, signer.public_key)
        expiry = account["height"] + LIFETIME_BLOCKS
        raw = make_transaction(signer, genesis.digest, account["nonce"], expiry, (op,))
        tx_id = await submit(client, raw)
        return tx_id, await client.wait(tx_id, raw) if wait else None

    tx_id, state = with_client(home, work)
    print_state(tx_id, state, output)
    require_success(state)


def _key(text: str, what: str) -> PublicKey:
    try:
        return parse_key(text)
    except ValueError as err:
        raise UserError(
            "E538",
            f"{what} is not a meter's key",
            facts={"given": text, "why": str(err)},
            hint="vppd key show meter.key prints it; vppd meter list shows those on chain",
            exit_code=Exit.USAGE,
        ) from err
