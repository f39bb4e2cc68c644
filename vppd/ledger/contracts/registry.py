"""Which kinds of contracts a chain has."""

from __future__ import annotations

from vppd.config.contracts import KindName, load_kind, taken
from vppd.config.genesis import Genesis
from vppd.ledger.contracts.kind import Kind
from vppd.ledger.kinds.deal import DEAL
from vppd.ledger.kinds.event import EVENT_KIND
from vppd.ledger.kinds.project import PROJECT_KIND
from vppd.ledger.kinds.standby import STANDBY_KIND
from vppd.ledger.kinds.three_party import THREE_PARTY
from vppd.ledger.kinds.urgent import URGENT

OWN: tuple[Kind, ...] = (
    # Orders, deals and urgent orders
    DEAL,
    STANDBY_KIND,
    URGENT,
    THREE_PARTY,
    # Demand response
    PROJECT_KIND,
    EVENT_KIND,
)
"""Of this build; every chain has them."""


def kinds_of(genesis: Genesis) -> dict[str, Kind]:
    """Kinds by name: this build's own, and those genesis names besides.

    Raises:
        ConfigError: E126 or E127, one that genesis names cannot run here.
    """
    own = {str(kind.name): kind for kind in OWN}
    for name in genesis.contracts.kinds:
        if name in own:
            raise taken(KindName(name))
    others = {
        name: load_kind(KindName(name), Kind)  # type: ignore[type-abstract]
        for name in genesis.contracts.kinds
    }
    return own | others
