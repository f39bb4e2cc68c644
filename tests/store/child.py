"""A process that promises until it dies; it says on stdout what has become durable.

python -m tests.store.child persist PATH     # until killed
python -m tests.store.child limited PATH     # until the disk refuses, then twice more
"""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from pathlib import Path

from tests.store import builders as b
from vppd.consensus.boundary import BodyRecord
from vppd.errors import LocalFault
from vppd.store.chain import ChainStore
from vppd.types import Height


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def block_of(height: Height) -> BodyRecord:
    """What this process votes for."""
    return b.body(height, salt=1, txs=(b"%d" % height * 50,))


async def height_after(store: ChainStore) -> None:
    """One height as a replica goes through it."""
    height = await store.decided() + 1
    block = block_of(height)
    await store.persist([b.body(height), block, b.proposal(block), b.vote(block)])
    say(f"vote {height}")
    await store.persist([b.prepared(block)])
    say(f"prepared {height}")
    await store.persist([b.decision(block)])
    say(f"decided {height}")
    if await store.executed() == height - 1:
        store.put_execution(b.execution(height))


async def persist(path: Path) -> None:
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        await store.seed_state(b.GENESIS_STATE)
        while await store.executed() < await store.decided():
            store.put_execution(b.execution(await store.executed() + 1))
        while True:
            await height_after(store)


async def limited(path: Path) -> None:
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        await store.seed_state(b.GENESIS_STATE)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, resource.RLIM_INFINITY))
        try:
            while True:
                await height_after(store)
        except LocalFault as fault:
            say(f"fault {fault}")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for attempt in (store.persist([b.view(1)]), height_after(store)):
            try:
                await attempt
            except LocalFault as fault:
                say(f"refused {fault}")
            else:
                say("accepted")


if __name__ == "__main__":
    what = {"persist": persist, "limited": limited}[sys.argv[1]]
    asyncio.run(what(Path(sys.argv[2])))
