"""Project management: build, release, update, delete."""

from __future__ import annotations

from tests.ledger.chain import ANN, ANN_METER, BOB
from tests.ledger.town import (
    AGG,
    DAN,
    DER,
    OP,
    PRICE,
    Town,
    build,
    delete,
    event,
    join,
    key,
    leave,
    project,
    release,
    town,
    update,
)
from tests.matrix.scene import Refusal, Scene, Signed, signed_scene
from tests.matrix.users import AGGREGATORS, NOT_PERMITTED
from vppd.ledger.codes import ErrorCode
from vppd.ledger.events import ContractMoved, ContractSaid, Event
from vppd.ledger.kinds.project import TERMS_SAID
from vppd.ledger.registration.views import projects_view
from vppd.ledger.response.calls import read_project

DEARER = project(price=PRICE + 1)


def rows(chain: Town) -> list[tuple[str, int, int]]:
    """Phase, version and number of members of each project."""
    return [
        (row["phase"], row["version"], len(row["members"]))
        for row in chain.ledger.look(projects_view)
    ]


def scene(
    chain: Town, signed: Signed, then: list[tuple[str, int, int]], *refusals: Refusal
) -> Scene:
    def done() -> None:
        assert rows(chain) == then

    def told(found: list[Event]) -> None:
        moves = [e for e in found if isinstance(e, ContractMoved)]
        assert [m.kind for m in moves] == ["project"]

    return signed_scene(chain, signed, done, told, *refusals)


def build_service() -> Scene:
    """The commercial duty builds; the others do not, and absurd terms are none."""
    return scene(
        Town(), (OP, build()), [("draft", 1, 0)],
        Refusal(BOB, build(), NOT_PERMITTED),
        Refusal(DER, build(), NOT_PERMITTED),
        Refusal(OP, build(project(capacity_w=0)), ErrorCode.OUT_OF_BOUNDS),
    )  # fmt: skip


def build_aggregate() -> Scene:
    """An aggregator builds for its members; one of them does not."""
    chain = Town(town(duties=AGGREGATORS))
    return scene(chain, (AGG, build()), [("draft", 1, 0)], Refusal(ANN, build(), NOT_PERMITTED))


def build_terminal() -> Scene:
    """A device's key builds nothing, and a member has no part in a draft."""
    chain = Town()
    return scene(
        chain, (OP, build()), [("draft", 1, 0)],
        Refusal(ANN_METER, build(), ErrorCode.NOT_AN_ACCOUNT),
        Refusal(ANN, join(), ErrorCode.UNKNOWN_CONTRACT),
    )  # fmt: skip


def released_service() -> Scene:
    """Who built it releases it, once."""
    chain = Town()
    chain.ok(chain.at(0), OP, build())
    return scene(
        chain, (OP, release()), [("released", 1, 0)],
        Refusal(BOB, release(), NOT_PERMITTED),
        Refusal(OP, event(9, 9), ErrorCode.NOT_RELEASED),
    )  # fmt: skip


def released_aggregate() -> Scene:
    """An aggregator releases its own project, and nobody else's."""
    chain = Town(town(duties=AGGREGATORS))
    chain.ok(chain.at(0), OP, build())
    chain.ok(chain.at(0), AGG, build())
    return scene(
        chain, (AGG, release(1)), [("draft", 1, 0), ("released", 1, 0)],
        Refusal(AGG, release(0), NOT_PERMITTED),
        Refusal(DAN, release(1), NOT_PERMITTED),
    )  # fmt: skip


def released_terminal() -> Scene:
    """A member joins what is released, and by its own key only."""
    chain = Town()
    chain.ok(chain.at(0), OP, build())
    refused_draft = Refusal(ANN, join(), ErrorCode.NOT_RELEASED)
    assert chain.fails(chain.at(0), refused_draft.who, refused_draft.op)[0] is refused_draft.code
    chain.ok(chain.at(0), OP, release())
    return scene(
        chain, (ANN, join()), [("released", 1, 1)],
        Refusal(ANN_METER, join(), ErrorCode.NOT_AN_ACCOUNT),
        Refusal(ANN, join(capacity_w=9_999), ErrorCode.OUT_OF_BOUNDS),
    )  # fmt: skip


def update_service() -> Scene:
    """A new version of the terms, by the commercial duty."""
    chain = Town()
    chain.ok(chain.at(0), OP, build(), release())
    return scene(
        chain, (OP, update(DEARER)), [("released", 2, 0)],
        Refusal(BOB, update(DEARER), NOT_PERMITTED),
        Refusal(OP, update(project()), ErrorCode.NOTHING_CHANGES),
        Refusal(OP, update(project(baseline_days=0)), ErrorCode.OUT_OF_BOUNDS),
    )  # fmt: skip


def update_aggregate() -> Scene:
    """An aggregator updates its own project; each version stands in a receipt."""
    chain = Town(town(duties=AGGREGATORS))
    chain.ok(chain.at(0), AGG, build(), release())

    def done() -> None:
        assert rows(chain) == [("released", 2, 0)]

    def told(found: list[Event]) -> None:
        (said,) = [e for e in found if isinstance(e, ContractSaid)]
        assert said.topic == TERMS_SAID
        assert (read_project(said.data).version, read_project(said.data).terms) == (2, DEARER)

    return signed_scene(
        chain, (AGG, update(DEARER)), done, told, Refusal(DAN, update(DEARER), NOT_PERMITTED)
    )


def update_terminal() -> Scene:
    """Nobody is bound to terms it has not agreed to: a member agrees anew, to what it has read."""
    chain = Town()
    chain.ok(chain.at(0), OP, build(), release())
    chain.ok(chain.at(0), ANN, join())
    chain.ok(chain.at(0), OP, update(DEARER))
    return scene(
        chain, (ANN, join(version=2)), [("released", 2, 1)],
        Refusal(ANN, update(DEARER), NOT_PERMITTED),
        Refusal(OP, event(9, 9, members=(key(ANN),)), ErrorCode.NOT_AGREED),
        Refusal(ANN, join(version=1), ErrorCode.NOT_AGREED),
    )  # fmt: skip


def delete_service() -> Scene:
    """Deleted when nothing of it runs, by the commercial duty."""
    chain = Town()
    chain.ok(chain.at(0), OP, build(), release())
    chain.ok(chain.at(0), ANN, join())
    return scene(chain, (OP, delete()), [], Refusal(BOB, delete(), NOT_PERMITTED))


def delete_aggregate() -> Scene:
    """An aggregator deletes its own project, and nobody else's."""
    chain = Town(town(duties=AGGREGATORS))
    chain.ok(chain.at(0), OP, build())
    chain.ok(chain.at(0), AGG, build())
    return scene(
        chain, (AGG, delete(1)), [("draft", 1, 0)],
        Refusal(AGG, delete(0), NOT_PERMITTED),
        Refusal(ANN, delete(1), NOT_PERMITTED),
    )  # fmt: skip


def delete_terminal() -> Scene:
    """A member deletes nothing; it leaves, when it is not called."""
    chain = Town()
    chain.ok(chain.at(0), OP, build(), release())
    chain.ok(chain.at(0), ANN, join())
    return scene(
        chain, (ANN, leave()), [("released", 1, 0)],
        Refusal(ANN, delete(), NOT_PERMITTED),
        Refusal(BOB, leave(), ErrorCode.NOT_IN_PROJECT),
        Refusal(ANN_METER, leave(), ErrorCode.NOT_AN_ACCOUNT),
    )  # fmt: skip
