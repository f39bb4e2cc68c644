"""A recorded run leads a fresh replica to the same ledger; a changed one is refused by name."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from vppd.codec import encode
from vppd.config.engines import DPOS
from vppd.config.genesis import Engine
from vppd.consensus.messages import Block, Collected, Prepare, Type
from vppd.errors import UserError
from vppd.net.gate import decode_message
from vppd.node.trace import frame_of
from vppd.simulate.faults import parse_sets
from vppd.simulate.outcome import Setup
from vppd.simulate.plant import sim_genesis, sim_verify
from vppd.simulate.recording import record
from vppd.simulate.replay import Recorded, Replayed, read_trace, replay, simulated_genesis

QUIET = Setup(faults=parse_sets("none"), path="collect", heights=4)


def again(path: Path) -> Replayed:
    recorded = read_trace(path)
    genesis = simulated_genesis(recorded)
    assert genesis is not None
    return replay(recorded, genesis, sim_verify)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trace") / "quiet.trace"
    assert record(QUIET, 1, path).violation is None
    return path


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_replica_that_hears_it_all_arrives_at_the_same_ledger(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "run.trace"
    faults = parse_sets("all" if seed % 4 else "none")
    way = ("auto", "collect", "broadcast")[seed % 3]
    setup = Setup(faults=faults, path=way, n=(1, 4, 6, 7)[seed % 4], heights=8)  # type: ignore[arg-type]
    outcome = record(setup, seed, path)
    assert outcome.violation is None, f"seed {seed}"
    done = again(path)
    head = read_trace(path).head
    assert done.height == head["executed"] == outcome.decided >= 8, f"seed {seed}"
    assert done.state_root.hex() == head["state_root"], f"seed {seed}"


@pytest.mark.parametrize("seed", range(1, 5))
def test_the_same_holds_across_elections(seed: int, tmp_path: Path) -> None:
    """Producers and their indices change; whoever follows learns of each epoch from its ledger."""
    path = tmp_path / "run.trace"
    faults = parse_sets("all" if seed % 2 else "none")
    setup = Setup(engine=DPOS, n=7, delegates=4, epoch_blocks=8, heights=40, faults=faults)
    outcome = record(setup, seed, path)
    assert outcome.violation is None, f"seed {seed}"
    done = again(path)
    recorded = read_trace(path)
    assert done.height == recorded.head["executed"] >= 40, f"seed {seed}"
    assert done.state_root.hex() == recorded.head["state_root"], f"seed {seed}"
    blocks = [frame_of(row)[1] for row in recorded.rows if row["message"] == "block"]
    assert {decode_message(Type.BLOCK, raw).epoch for raw in blocks} >= set(range(5))  # type: ignore[union-attr]


def test_a_message_of_an_epoch_that_never_comes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.trace"
    record(Setup(engine=DPOS, n=5, delegates=4, heights=10, faults=parse_sets("none")), 1, path)

    def change(lines: list[dict[str, Any]]) -> None:
        reframe(of(lines, "prepare"), lambda vote: replace(vote, epoch=9))

    fails(changed(path, tmp_path / "t", change), "E442", r"line \d+, prepare of .*: epoch 9 is not")


def test_recording_changes_nothing(tmp_path: Path) -> None:
    traces = {record(QUIET, 3, tmp_path / name).trace for name in ("one", "two")}
    assert len(traces) == 1
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


# ---------------------------------------------------------------- changed traces


def changed(path: Path, to: Path, change: Callable[[list[dict[str, Any]]], object]) -> Path:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    change(lines)
    to.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return to


def fails(path: Path, code: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        again(path)
    assert caught.value.code == code


def of(lines: list[dict[str, Any]], message: str, nth: int = 0) -> dict[str, Any]:
    return [line for line in lines if line.get("message") == message][nth]


def reframe(line: dict[str, Any], change: Callable[[Any], Any]) -> None:
    type_, payload = frame_of(line)
    bent = bytes([type_]) + encode(change(decode_message(type_, payload)))
    line["frame"] = base64.b64encode(bent).decode()


@pytest.mark.parametrize("message", ["block", "received", "agree", "reply"])
def test_a_changed_message_is_named(message: str, quiet: Path, tmp_path: Path) -> None:
    def change(lines: list[dict[str, Any]]) -> None:
        raw = bytearray(base64.b64decode(of(lines, message, 1)["frame"]))
        raw[-1] ^= 1
        of(lines, message, 1)["frame"] = base64.b64encode(raw).decode()

    fails(changed(quiet, tmp_path / "t", change), "E442", rf"line \d+, {message} of .* for height")


def test_a_changed_transaction_is_named(quiet: Path, tmp_path: Path) -> None:
    def without(block: Block) -> Block:
        fields = {name: getattr(block, name) for name in Block.__struct_fields__}
        return Block(**fields | {"txs": block.txs[1:]})

    def change(lines: list[dict[str, Any]]) -> None:
        full = next(
            line for line in lines
            if line.get("message") == "block"
            and decode_message(*frame_of(line)).txs  # type: ignore[union-attr]
        )  # fmt: skip
        reframe(full, without)

    fails(changed(quiet, tmp_path / "t", change), "E442", r"line \d+, block of op-0.*holds")


def test_another_voter_is_named(quiet: Path, tmp_path: Path) -> None:
    def change(lines: list[dict[str, Any]]) -> None:
        def other(vote: Collected) -> Collected:
            at = (vote.epoch, vote.view, vote.height, vote.digest)
            return Collected(*at, vote.signer % 3 + 1, vote.sig)

        reframe(of(lines, "received"), other)

    fails(changed(quiet, tmp_path / "t", change), "E442", "received of der-.*did not sign this")


def test_missing_messages_are_noticed(quiet: Path, tmp_path: Path) -> None:
    def drop(lines: list[dict[str, Any]]) -> None:
        lines[:] = [x for x in lines if (x.get("message"), x.get("height")) != ("block", 3)]

    words = r"leads to height 2, it was recorded at \d"
    fails(changed(quiet, tmp_path / "t", drop), "E442", words)


def test_another_state_or_end_is_noticed(quiet: Path, tmp_path: Path) -> None:
    def state(lines: list[dict[str, Any]]) -> None:
        lines[0]["state_root"] = "00" * 32

    def further(lines: list[dict[str, Any]]) -> None:
        lines[0]["executed"] += 1

    fails(changed(quiet, tmp_path / "t", state), "E442", r"has the state .*, 0000000000000000 was")
    fails(changed(quiet, tmp_path / "t", further), "E442", "leads to height")


def test_a_trace_that_begins_late_needs_what_came_before(quiet: Path, tmp_path: Path) -> None:
    def late(lines: list[dict[str, Any]]) -> None:
        lines[0]["first"] = 3

    fails(changed(quiet, tmp_path / "t", late), "E441", "begins at height 3, .* ends at 0")


def test_a_trace_of_another_chain_is_refused(quiet: Path) -> None:
    recorded = read_trace(quiet)
    with pytest.raises(UserError, match="of another chain"):
        replay(recorded, sim_genesis(7, Engine("bncm")), sim_verify)


@pytest.mark.parametrize(
    "text",
    [
        "", "no json\n", "[]\n", "{}\n", '{"trace": 2}\n',
        '{"trace": 1, "first": 1, "executed": "x", "state_root": "00", "chain_id": "00"}\n',
        '{"trace": 1, "first": 1, "executed": 1, "state_root": "00", "chain_id": "00"}\n',
    ],
)  # fmt: skip
def test_what_is_no_trace_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "t").write_text(text)
    with pytest.raises(UserError, match="not a trace that can be read") as caught:
        read_trace(tmp_path / "t")
    assert caught.value.code == "E440"


def test_a_liar_s_message_need_not_hold(quiet: Path) -> None:
    """What honest replicas refused decided nothing; who is no liar is believed to have said it."""
    recorded = read_trace(quiet)
    forged = Prepare(0, 0, 1, bytes(32), 2, bytes(64))
    row = {
        **recorded.rows[0], "sender": "der-2", "message": "prepare",
        "frame": base64.b64encode(bytes([5]) + encode(forged)).decode(),
    }  # fmt: skip
    genesis = simulated_genesis(recorded)
    assert genesis is not None
    honest = Recorded(recorded.path, recorded.head, [row, *recorded.rows])
    with pytest.raises(UserError, match="line 2, prepare of der-2"):
        replay(honest, genesis, sim_verify)
    lying = honest._replace(head={**recorded.head, "byzantine": ["der-2"]})
    assert replay(lying, genesis, sim_verify).height == recorded.head["executed"]
