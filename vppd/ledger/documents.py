"""What a ledger shows people: JSON documents (docs/clients.md), a line for each.

Rendering is in the rooms that know what they render; none of them changes anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from vppd.ledger import views
from vppd.ledger.grid_view import paths_view
from vppd.ledger.orders_view import orders_view
from vppd.ledger.plans_view import plan_view, resources_view
from vppd.ledger.validators_view import validators_view
from vppd.types import PublicKey, Slot

if TYPE_CHECKING:
    from vppd.ledger.context import Context
    from vppd.ledger.execution import Ledger

T = TypeVar("T")


class Documents(ABC):
    """The part of a ledger that is looked at."""

    __slots__ = ()

    @abstractmethod
    def look(self, render: Callable[[Context, Ledger], T]) -> T:
        """A document of the state as the next block finds it; ``render`` changes nothing."""

    def validators_view(self) -> dict[str, Any]:
        """Members, candidates and proposals, as the next block finds them."""
        return self.look(lambda ctx, _: validators_view(ctx))

    def account_view(self, key: PublicKey) -> dict[str, Any]:
        """A member or meter as a JSON document (docs/clients.md)."""
        return self.look(lambda _, ledger: views.account_view(ledger, key))

    def slots_view(self) -> list[dict[str, Any]]:
        """Slots and their phases."""
        return self.look(lambda _, ledger: views.slots_view(ledger))

    def book_view(self, slot: Slot) -> list[dict[str, Any]]:
        """Resting orders of a slot."""
        return self.look(lambda _, ledger: views.book_view(ledger, slot))

    def orders_view(self, key: PublicKey) -> list[dict[str, Any]]:
        """Orders of a member and what became of them."""
        return self.look(lambda ctx, ledger: orders_view(ctx, ledger, key))

    def trades_view(self, slot: Slot) -> list[dict[str, Any]]:
        """Trades of a slot."""
        return self.look(lambda ctx, ledger: views.trades_view(ctx, ledger, slot))

    def contracts_view(self) -> list[dict[str, Any]]:
        """Contracts and slots: where each stands and when it will move by itself."""
        return self.look(views.contracts_view)

    def paths_view(self, slot: Slot) -> dict[str, Any]:
        """Which way a slot's trades go through the grid."""
        return self.look(lambda ctx, ledger: paths_view(ctx.state, ledger, slot))

    def plan_view(self, slot: Slot) -> dict[str, Any]:
        """Plans and forecasts of a slot."""
        return self.look(lambda ctx, ledger: plan_view(ledger, ctx.state, slot))

    def resources_view(self) -> list[dict[str, Any]]:
        """What members say they have."""
        return self.look(lambda ctx, ledger: resources_view(ledger, ctx.state))

    def shares_view(self, slot: Slot | None) -> dict[str, Any]:
        """How a cooperative slot was shared; ``None``: the latest that is."""
        return self.look(lambda ctx, ledger: views.shares_view(ctx, ledger, slot))

    def settlement_view(self, slot: Slot, key: PublicKey) -> dict[str, Any]:
        """A member's settlement of a slot."""
        return self.look(lambda _, ledger: views.settlement_view(ledger, slot, key))
