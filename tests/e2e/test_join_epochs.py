"""A node that comes after the plant has changed its members and rules joins by snapshot."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.plant import eventually, plant_of
from tests.e2e.test_membership import Growing, agree, ready, votes
from vppd.config.genesis import ConsensusRules

pytestmark = [pytest.mark.slow, pytest.mark.net]

CHECKPOINT = 8


def test_a_late_node_crosses_every_epoch_and_becomes_a_member(tmp_path: Path) -> None:
    rules = ConsensusRules(checkpoint_blocks=CHECKPOINT)
    with plant_of(tmp_path / "plant", 4, consensus=rules) as made, ExitStack() as stack:
        plant = Growing(made, stack)
        plant.start()
        op, one, two, three = plant.nodes
        plant.pay()
        agree(("set", "view_timeout_ms=3000"), op, one)
        plant.pay()
        agree(("remove", three.name), op, two)
        while (op.status() or {})["height"] < 3 * CHECKPOINT:
            plant.pay()

        late = plant.found("der-9")
        late.start("--home", str(late.home), "--sync", "snapshot")
        # Where no peer is connected yet it begins without a block, and goes back when one is.
        eventually(
            lambda: (s := late.status()) and not s["joining"] and s["first_block"] > CHECKPOINT,
            f"{late.name} has joined by a snapshot",
        )
        joined = late.view("status")
        assert joined["epoch"] == 2, "the members changed once, the rules once"
        said = agree(("add", ready(late)), op)
        plant.pay()
        plant.pay()
        eventually(lambda: votes(late), f"{late.name} votes from {said['first_height']} on")

        assert late.terminate() == 0
        checked = late.vppd("db", "check", "-o", "json")
        assert checked.code == 0, checked.err
        assert checked.data["begins"] > CHECKPOINT
        late.start()
        eventually(lambda: votes(late), f"{late.name} votes again")

        archive = tmp_path / "chain.vppd"
        assert op.vppd("db", "export", archive).code == 0
        other = plant.found("der-10")
        imported = other.vppd("db", "import", archive)
        assert imported.code == 0, imported.err
        whole = other.vppd("db", "check", "-o", "json")
        assert whole.code == 0, whole.err
        assert whole.data["begins"] == 0
        assert one.terminate() == 0
        pruned = one.vppd("db", "prune", "--keep", 4)
        assert pruned.code == 0, pruned.err
        part = one.vppd("db", "check", "-o", "json")
        assert part.code == 0, part.err
        assert part.data["begins"] > 0
