"""A recorded run, fed to a fresh replica: it must arrive at the same ledger.

The replica only follows (it has no validator's key), so nothing depends on clocks and timers: what
it decides follows from the messages alone. Every message passes the same gate as in a running
node, whether the replica needs it or not: one that does not hold is not the one that was recorded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vppd.config.genesis import Genesis
from vppd.consensus.boundary import Now, Record
from vppd.consensus.messages import Block, BlockBody, Blocks, GetBlock, Ping, Reply, Tx, Txs
from vppd.crypto import SigningKey, Verify, parse_key, sha256
from vppd.errors import PeerFault, UserError
from vppd.header import Header, decode_header
from vppd.ledger.execution import Ledger
from vppd.net.gate import PeerMessage, decode_message, header_of
from vppd.node.beats import Effects, Frame, Turn
from vppd.node.machine import Machine
from vppd.node.trace import frame_of
from vppd.simulate.plant import sim_genesis
from vppd.store.verify import stored_blocks
from vppd.types import Digest, Height, PeerNumber

FORMAT = 1
NOBODY = SigningKey(sha256(b"a replica that only follows"))


class Recorded(NamedTuple):
    """A trace file."""

    path: Path
    head: dict[str, Any]
    """What it is of, and where it ended: ``executed``, ``state_root``."""
    rows: Sequence[dict[str, Any]]


class Replayed(NamedTuple):
    """What came of a replay."""

    messages: int
    height: Height
    state_root: Digest


def read_trace(path: Path) -> Recorded:
    """Read a file that ``vppd block trace --out`` or ``vppd simulate --trace`` wrote.

    Raises:
        UserError: E440.
    """
    try:
        head, rows = _parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError) as err:
        raise UserError(
            "E440",
            f"{path} is not a trace that can be read",
            facts={"why": f"{type(err).__name__}: {err}"},
            hint="vppd block trace --out FILE writes one, and vppd simulate --trace FILE",
        ) from err
    return Recorded(path, head, rows)


def _parse(text: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    head, *rows = [json.loads(line) for line in text.splitlines()]
    if head["trace"] != FORMAT:
        raise ValueError(f"format {head['trace']}, this build reads {FORMAT}")
    numbers, texts = (head["first"], head["executed"]), (head["state_root"], head["chain_id"])
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ValueError("its first line names no heights")
    if not all(len(bytes.fromhex(text)) == 32 for text in texts):
        raise ValueError("its first line names no state and chain")
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line that is no message")
    return head, rows


def simulated_genesis(recorded: Recorded) -> Genesis | None:
    """The plant of a simulated run, which needs no file; ``None``: a real one's."""
    plant = recorded.head.get("simulated")
    return None if plant is None else sim_genesis(**plant)


def replay(
    recorded: Recorded, genesis: Genesis, verify: Verify, store: Path | None = None
) -> Replayed:
    """Feed it to a fresh replica.

    Args:
        recorded: the trace.
        genesis: of its chain.
        verify: that chain's verifier.
        store: a ``chain.db`` with the heights before the trace begins; they are checked and
            executed again. ``None``: it begins at height 1.

    Raises:
        UserError: E441, another chain's, or it begins later than ``store`` ends; E442, it does
            not hold: a message, the height it ends at, or the state there.
    """
    head = recorded.head
    if head["chain_id"] != genesis.digest.hex():
        raise UserError(
            "E441",
            "the trace is of another chain",
            facts={"trace": head["chain_id"], "genesis": genesis.digest.hex()},
            hint="--genesis names the genesis.toml of the plant that was recorded",
        )
    follower = _Follower(recorded, verify, _beginning(recorded, genesis, verify, store))
    for line, row in enumerate(recorded.rows, 2):
        follower.hear(line, row)
    return follower.end()


class _Beginning(NamedTuple):
    """Where the fresh replica stands when the trace begins."""

    genesis: Genesis
    ledger: Ledger
    log: tuple[Record, ...]
    header: Header | None


def _beginning(
    recorded: Recorded, genesis: Genesis, verify: Verify, store: Path | None
) -> _Beginning:
    ledger = Ledger.from_genesis(genesis, verify=verify)
    log: tuple[Record, ...] = ()
    header: Header | None = None
    below = recorded.head["first"] - 1
    if below > 0 and store is not None:
        for block in stored_blocks(store, genesis):
            header = decode_header(block.body.header)
            ledger.execute(header, block.body.txs)
            log = (block.body, block.decision)
            if ledger.height == below:
                break
    if ledger.height != max(0, below):
        raise UserError(
            "E441",
            f"the trace begins at height {below + 1}, what comes before ends at {ledger.height}",
            facts={"file": str(recorded.path)},
            hint="--store names a chain.db with the heights before, such as the recorded node's",
        )
    return _Beginning(genesis, ledger, log, header)


class _Follower:
    """The fresh replica."""

    def __init__(self, recorded: Recorded, verify: Verify, beginning: _Beginning) -> None:
        self._recorded = recorded
        self._liars = frozenset(recorded.head.get("byzantine", ()))
        ledger = beginning.ledger
        self._machine = Machine(beginning.genesis, NOBODY, verify, ledger)
        members = self._machine.validators.members
        self._names = {member.name: member.key for member in members}
        self._ms = 0
        self._bodies: dict[Digest, BlockBody] = {}
        self._roots: dict[Height, Digest] = {ledger.height: ledger.state_root}
        self._messages = 0
        self._early: list[tuple[int, dict[str, Any], PeerMessage]] = []
        """Of epochs that this replica has not heard the decision on yet."""
        self._release(self._machine.start(self._now(), beginning.log, beginning.header, ()))

    def _now(self) -> Now:
        return Now(self._ms, self._ms)

    def hear(self, line: int, row: dict[str, Any]) -> None:
        """One line of the file."""
        self._messages += 1
        try:
            message = decode_message(*frame_of(row))
        except (PeerFault, ValueError, KeyError, TypeError) as err:
            self._fail(line, row, err)
            return
        if not self._knows(message):
            self._early.append((line, row, message))
            return
        self._hear(line, row, message)
        early, self._early = self._early, []
        for line_, row_, said in early:
            if self._knows(said):
                self._hear(line_, row_, said)
            else:
                self._early.append((line_, row_, said))

    def _hear(self, line: int, row: dict[str, Any], message: PeerMessage) -> None:
        try:
            self._take(self._sender(row), message)
        except (PeerFault, ValueError, KeyError, TypeError) as err:
            self._fail(line, row, err)

    def _fail(self, line: int, row: dict[str, Any], err: Exception) -> None:
        if row.get("sender") in self._liars:
            return
        what = f"{row.get('message')} of {row.get('sender')} for height {row.get('height')}"
        raise self._broken(f"line {line}, {what}: {err}") from err

    def _knows(self, message: PeerMessage) -> bool:
        """Whether the epoch it names is not still to come."""
        if isinstance(message, Blocks) and not message.blocks:
            return True
        header = header_of(message, self._machine.terms.leader)
        epoch = message.epoch if isinstance(message, Reply) else header.epoch if header else 0
        return epoch <= self._machine.terms.latest.epoch

    def _sender(self, row: dict[str, Any]) -> PeerNumber | None:
        """Who said it: recordings of the release before have the name alone.

        Raises:
            ValueError: not a key.
        """
        text = row.get("sender_key")
        key = self._names.get(row.get("sender", "")) if text is None else parse_key(text)
        return None if key is None else self._machine.roster.number(key)

    def _take(self, sender: PeerNumber | None, message: PeerMessage) -> None:
        machine = self._machine
        machine.gate.check(message)  # also what the replica does not need
        if isinstance(message, Block):
            self._bodies.setdefault(message.digest, _body_of(message))
        elif isinstance(message, BlockBody):
            self._bodies.setdefault(message.digest, message)
        if not isinstance(message, Tx | Txs | Ping) and machine.wants(sender, message):
            machine.receive(sender, message)
        self._settle()

    def _settle(self) -> None:
        while self._machine.has_work:
            self._ms += 1
            self._release(self._machine.turn(self._now()))

    def _release(self, turn: Turn) -> None:
        effects: Effects = self._machine.release(turn, self._now())
        for block in effects.committed:
            self._roots[block.execution.height] = block.execution.state_root
        self._answer(effects.frames)

    def _answer(self, frames: Iterable[Frame]) -> None:
        """A body the recorded node had asked for as well, under the proposal it was seen in."""
        for frame in frames:
            asked = decode_message(frame.type, frame.payload)
            if isinstance(asked, GetBlock) and asked.digest in self._bodies:
                self._machine.receive(None, self._bodies[asked.digest])

    def end(self) -> Replayed:
        """Compare with where the recording ended."""
        executed, root = self._recorded.head["executed"], self._recorded.head["state_root"]
        reached = self._machine.ledger.height
        for line, row, message in self._early:
            if reached >= executed:
                self._hear(line, row, message)
        if reached < executed:
            raise self._broken(f"it leads to height {reached}, it was recorded at {executed}")
        if self._roots[executed].hex() != root:
            raise self._broken(
                f"height {executed} has the state {self._roots[executed].hex()[:16]}, "
                f"{root[:16]} was recorded"
            )
        return Replayed(self._messages, executed, self._roots[executed])

    def _broken(self, what: str) -> UserError:
        return UserError(
            "E442",
            f"the trace does not hold: {what}",
            facts={
                "file": str(self._recorded.path),
                "left out": str(self._recorded.head.get("left_out", 0)),
            },
            hint="it was changed after it was recorded, or messages are missing",
        )


def _body_of(block: Block) -> BlockBody:
    at = (block.epoch, block.view, block.height, block.digest)
    return BlockBody(*at, block.header, block.txs, block.proposal_sig)
