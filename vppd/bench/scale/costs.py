"""What a node's work costs on one machine: measured, kept as a file, used in the simulation."""

from __future__ import annotations

from pathlib import Path

import msgspec

from vppd.consensus.messages import Block, BlockBody, Blocks
from vppd.errors import UserError
from vppd.net.gate import PeerMessage


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """CPU time of one core in microseconds, and the disk's in real time."""

    machine: dict[str, str]
    """Where they were measured."""
    receive_us: dict[str, float]
    """By kind of message: decoding, whether it matters, the gate without signatures, the inbox.

    Kinds that no plant without faults sends count as the dearest one.
    """
    unwanted_us: float
    """A message that cannot matter any more."""
    verify_us: float
    """One signature checked."""
    sign_us: float
    """One made."""
    block_tx_us: float
    """Per transaction of a block received: the gate without signatures, and the hashes."""
    execute_tx_us: float
    """Per transaction of a block executed: a transfer."""
    pack_tx_us: float
    """Per transaction put into a block of one's own."""
    turn_us: float
    """One step of the engine, however many messages it takes."""
    step_us: float
    """More for each message in it."""
    release_us: float
    """Letting a turn's effects go, but for signatures, frames and execution."""
    decide_us: float
    """More for a decided block, without its transactions."""
    frame_us: float
    """One frame through one TLS link: either side's half."""
    frame_kib_us: float
    """More for each KiB of it."""
    write_us: list[float]
    """Samples of a promise becoming durable, ascending; real time."""

    def receive(self, message: PeerMessage, signatures: int) -> float:
        """What taking a message in costs.

        Args:
            message: decoded.
            signatures: that the gate verifies.
        """
        dearest = max(self.receive_us.values(), default=0.0)
        base = self.receive_us.get(type(message).__name__, dearest)
        txs = 0
        if isinstance(message, Block | BlockBody):
            txs = len(message.txs)
        elif isinstance(message, Blocks):
            txs = sum(len(block.txs) for block in message.blocks)
        return base + signatures * self.verify_us + txs * self.block_tx_us

    def frame(self, size: int) -> float:
        """What sending or receiving a frame of ``size`` bytes costs, on one link."""
        return self.frame_us + size / 1_024 * self.frame_kib_us

    def slower(self, factor: float) -> Costs:
        """The same on a machine whose core takes ``factor`` times as long; the disk as it is."""

        def times(value: float) -> float:
            return round(value * factor, 3)

        scaled = {
            field: times(value)
            for field, value in msgspec.structs.asdict(self).items()
            if isinstance(value, float)
        }
        received = {kind: times(value) for kind, value in self.receive_us.items()}
        return msgspec.structs.replace(self, receive_us=received, **scaled)


def load(path: Path) -> Costs:
    """Costs measured before.

    Raises:
        UserError: E450, not readable, or not such a file.
    """
    try:
        costs = msgspec.json.decode(path.read_bytes(), type=Costs)
    except (OSError, msgspec.DecodeError) as err:
        why = str(err)
    else:
        if costs.write_us:
            return costs
        why = "it has no samples of the disk"
    raise UserError(
        "E450",
        "not a file of measured costs",
        facts={"file": str(path), "why": why},
        hint="vppd bench scale --calibrate FILE writes one",
    )


def save(path: Path, costs: Costs) -> None:
    """Keep them.

    Raises:
        UserError: E451, they cannot be written.
    """
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(costs), indent=2) + b"\n")
    except OSError as err:
        raise UserError(
            "E451",
            "the measured costs cannot be written",
            facts={"file": str(path), "why": str(err)},
            hint="another path",
        ) from err
