"""A machine that goes on where the store ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import structlog

from vppd.codec import Malformed
from vppd.config.home import Home
from vppd.consensus.boundary import Decision
from vppd.crypto import verify
from vppd.errors import LocalFault
from vppd.header import decode_header
from vppd.ledger.execution import Ledger
from vppd.node.beats import Turn
from vppd.node.clock import now
from vppd.node.machine import Machine
from vppd.store.chain import ChainStore
from vppd.types import Height

log = structlog.get_logger("vppd.node")

MakeMachine: TypeAlias = Callable[..., Machine]
"""Builds it of what :class:`Machine` takes; the bench also builds machines of other engines."""


async def resume(
    home: Home, store: ChainStore, make_machine: MakeMachine = Machine
) -> tuple[Machine, Turn]:
    """A machine that goes on where the store ends, and its first turn.

    Raises:
        LocalFault: the store cannot be read, or lacks what it refers to.
    """
    genesis = home.genesis
    kept = await store.resume()
    executed = kept.executed
    if executed == 0:
        ledger = Ledger.from_genesis(genesis)
        await store.seed_state(ledger.entries())
        header = None
    else:
        block, execution = await store.certified(executed), await store.execution(executed)
        if block is None or execution is None:
            raise LocalFault(f"{home.node.store} lacks block {executed} that it has executed")
        header = decode_header(block.header)
        entries = await store.state_entries()
        try:
            ledger = Ledger.load(genesis, executed, entries, header, execution.receipts_root)
        except Malformed as err:  # it blames a peer; what our own disk returns is our own fault
            raise LocalFault(f"{home.node.store}: the stored state is damaged: {err}") from err
        if ledger.state_root != execution.state_root:
            raise LocalFault(
                f"{home.node.store}: the stored state is not that of height {executed}"
            )
        ledger.freeze()  # for joiners, until the next checkpoint
    missed = [await _decision(store, h) for h in range(executed + 1, kept.decided + 1)]
    machine = make_machine(genesis, home.signer, verify, ledger)
    turn = machine.start(now(), kept.log, header, missed)
    log.info("resumed", decided=kept.decided, executed=executed, replayed=len(missed))
    return machine, turn


async def _decision(store: ChainStore, height: Height) -> Decision:
    block = await store.block(height)
    if block is None:
        raise LocalFault(f"the store lacks decided block {height}")
    certificate = block.certificate
    return Decision(height, certificate.digest, block.header, block.txs, certificate)
