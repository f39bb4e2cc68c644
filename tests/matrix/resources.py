"""Resource management: parameters of members and devices, control of their readings."""

from __future__ import annotations

from tests.ledger.chain import ANN, ANN_METER, BOB, BOB_METER
from tests.ledger.town import AGG, DER, OP, Town, key, town
from tests.matrix.scene import Refusal, Scene, signed_scene
from tests.matrix.users import AGGREGATORS, NOT_PERMITTED, saying
from vppd.crypto import SigningKey
from vppd.ledger.codes import ErrorCode
from vppd.ledger.events import Settled, SettlementFlag
from vppd.ledger.member_events import AcquisitionSet, ParametersSet
from vppd.ledger.registration.meters import PAUSED, RETIRED, TAKEN
from vppd.ledger.registration.ops import SetParameters
from vppd.ledger.registration.views import parameters_view
from vppd.ledger.transaction import Reading

SETTINGS = (("capacity_w", 3_000), ("phases", 3))


def _parameters(chain: Town, who: SigningKey, of: SigningKey, *refusals: Refusal) -> Scene:
    op = SetParameters(key(of), SETTINGS)

    def done() -> None:
        view = chain.ledger.look(lambda ctx, ledger: parameters_view(ctx, ledger, key(of)))
        assert (view["version"], view["parameters"]) == (1, dict(SETTINGS))
        assert [change["height"] for change in view["changes"]] == [chain.ledger.height]

    return signed_scene(
        chain, (who, op), done, saying(ParametersSet(key(of), 1, SETTINGS, key(who))), *refusals
    )


def parameters_service() -> Scene:
    """The technical duty maintains anybody's; others only their own."""
    return _parameters(
        Town(), OP, BOB,
        Refusal(DER, SetParameters(key(BOB), SETTINGS), NOT_PERMITTED),
        Refusal(ANN, SetParameters(key(BOB), SETTINGS), NOT_PERMITTED),
    )  # fmt: skip


def parameters_aggregate() -> Scene:
    """An aggregator maintains those of its members."""
    return _parameters(
        Town(town(duties=AGGREGATORS)), AGG, ANN,
        Refusal(AGG, SetParameters(key(BOB), SETTINGS), NOT_PERMITTED),
        Refusal(BOB, SetParameters(key(ANN), SETTINGS), NOT_PERMITTED),
    )  # fmt: skip


def parameters_terminal() -> Scene:
    """A member maintains those of its meter; the meter itself signs readings only."""
    own = SetParameters(key(BOB_METER), SETTINGS)
    return _parameters(
        Town(), BOB, BOB_METER,
        Refusal(BOB_METER, own, ErrorCode.NOT_AN_ACCOUNT),
        Refusal(ANN, own, NOT_PERMITTED),
        Refusal(BOB, SetParameters(key(BOB_METER), (("no name", 1),)), ErrorCode.BAD_PARAMETER),
    )  # fmt: skip


def _pause(chain: Town, who: SigningKey, meter: SigningKey, *refusals: Refusal) -> Scene:
    """A pause of slot 1: its readings are refused, its settlement is an estimate."""
    op = chain.control(meter, 1, PAUSED)

    def done() -> None:
        chain.ok(chain.at(1), meter, Reading(0, 10, 0))
        chain.ok(chain.at(1), who, chain.control(meter, 3, TAKEN))
        refused = chain.fails(chain.at(2), meter, Reading(1, 20, 0))
        assert refused == (ErrorCode.NOT_ACQUIRED, (1, 3))
        chain.ok(chain.at(3), meter, Reading(2, 30, 0))
        chain.settle(2)
        (found,) = [e for e in chain.all_told(Settled) if e.slot == 2]
        assert found.flags == SettlementFlag.ESTIMATED

    said = AcquisitionSet(key(meter), 1, PAUSED, 1, key(who), "works on the line")
    return signed_scene(chain, (who, op), done, saying(said), *refusals)


def acquisition_service() -> Scene:
    """The technical duty pauses a meter; a validator without it does not."""
    chain = Town()
    op = chain.control(BOB_METER, 1, PAUSED)
    return _pause(
        chain, OP, BOB_METER,
        Refusal(DER, op, NOT_PERMITTED),
        Refusal(BOB, op, NOT_PERMITTED),
        Refusal(OP, chain.control(BOB_METER, 0, PAUSED), ErrorCode.SLOT_HAS_BEGUN),
    )  # fmt: skip


def acquisition_aggregate() -> Scene:
    """An aggregator pauses a meter of its member, and no other."""
    chain = Town(town(duties=AGGREGATORS))
    return _pause(
        chain, AGG, ANN_METER,
        Refusal(AGG, chain.control(BOB_METER, 1, PAUSED), NOT_PERMITTED),
        Refusal(ANN, chain.control(ANN_METER, 1, PAUSED), NOT_PERMITTED),
    )  # fmt: skip


def acquisition_terminal() -> Scene:
    """A retired meter is heard no more; neither it nor its owner can bring it back."""
    chain = Town()
    op = chain.control(BOB_METER, 1, RETIRED)

    def done() -> None:
        again = chain.control(BOB_METER, 9, TAKEN)
        assert chain.fails(chain.at(3), OP, again) == (ErrorCode.METER_RETIRED, (1,))
        late = chain.fails(chain.at(3), BOB_METER, Reading(2, 5, 0))
        assert late == (ErrorCode.METER_RETIRED, (1,))

    return signed_scene(
        chain, (OP, op), done,
        saying(AcquisitionSet(key(BOB_METER), 1, RETIRED, 1, key(OP), "works on the line")),
        Refusal(BOB_METER, op, ErrorCode.NOT_AN_ACCOUNT),
        Refusal(BOB, op, NOT_PERMITTED),
    )  # fmt: skip
