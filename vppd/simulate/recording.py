"""One simulated run with every frame kept, in the order they left (``vppd simulate --trace``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vppd.config.engines import DPOS
from vppd.node.beats import Frame
from vppd.node.trace import QUIET, Entry, Who, rows_of, write_lines
from vppd.simulate.cluster import Cluster
from vppd.simulate.outcome import Outcome, Setup
from vppd.simulate.plant import START_UNIX_MS
from vppd.simulate.replay import FORMAT
from vppd.types import ReplicaIndex


def record(setup: Setup, seed: int, path: Path) -> Outcome:
    """Run a seed and write its trace.

    Args:
        setup: what to run.
        seed: which seed.
        path: the file; replaced.

    Raises:
        OSError: it cannot be written.
    """
    cluster = Cluster(setup, seed)
    names = [validator.name for validator in cluster.genesis.validators]
    names += [f"joiner-{i}" for i in range(len(names), cluster.total)]
    rows: list[dict[str, Any]] = []

    def keep(sender: ReplicaIndex, frame: Frame) -> None:
        if frame.type in QUIET:
            return
        to = None if frame.to == "all" else frame.to
        machine = cluster.nodes[sender].machine
        height = 0 if machine is None else machine.ledger.height + 1
        unix_ms = START_UNIX_MS + cluster.time_us // 1_000
        entry = Entry(unix_ms, sender, to, (frame.type, frame.payload))
        rows.extend(rows_of(entry, lambda i: Who(names[i], cluster.keys[i]), height))

    cluster.recorder = keep
    outcome = cluster.run()
    honest = [n for n in cluster.nodes if n.index not in cluster.byzantine and n.machine]
    ledgers = [node.machine.ledger for node in honest if node.machine is not None]
    furthest = max(ledgers, key=lambda ledger: ledger.height)
    elections = {"delegates": setup.delegates, "epoch_blocks": setup.epoch_blocks}
    head = {
        "trace": FORMAT,
        "node": None,
        "chain_id": cluster.genesis.digest.hex(),
        "simulated": {
            "n": setup.n,
            "engine": setup.engine,
            "path": setup.path,
            "operators": setup.operators,
            **({} if setup.engine != DPOS else elections),
        },
        "byzantine": [names[i] for i in sorted(cluster.byzantine)],
        "first": 1,
        "executed": furthest.height,
        "state_root": furthest.state_root.hex(),
        "left_out": 0,
    }
    with path.open("w", encoding="utf-8") as file:
        file.writelines(write_lines(head, rows))
    return outcome
