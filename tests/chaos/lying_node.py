"""A daemon whose chunks are not what it offers: ``python -m tests.chaos.lying_node start …``.

It decides and serves blocks like any other; only joiners get a changed value in every chunk.
"""

from __future__ import annotations

from vppd.cli.main import run
from vppd.consensus.messages import Chunk, SyncMessage
from vppd.node import daemon
from vppd.node.snapshots import Answer, Snapshots


class LyingSnapshots(Snapshots):
    """Adds a byte to the first value of each chunk."""

    async def answer(self, asked: SyncMessage) -> Answer | None:
        said = await super().answer(asked)
        if not isinstance(said, Chunk):
            return said
        buckets = list(said.buckets)
        for number, pairs in enumerate(buckets):
            if pairs:
                (key, value), *others = pairs
                buckets[number] = ((key, value + b"\x00"), *others)
                break
        return Chunk(said.height, said.bucket, tuple(buckets))


if __name__ == "__main__":
    setattr(daemon, "Snapshots", LyingSnapshots)  # noqa: B010 - mypy sees an import only
    run()
