"""The epochs of a chain, as one node shows them and the votes of each prove the next."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from vppd.codec import Malformed
from vppd.config.genesis import Genesis
from vppd.consensus.messages import EraLink
from vppd.crypto import verify
from vppd.errors import UserError
from vppd.store.epochs import Epochs
from vppd.types import Epoch

AskLinks: TypeAlias = Callable[[Epoch], Awaitable[tuple[EraLink, ...]]]
"""Steps into an epoch and those after it; none: there is no such epoch."""


class BadProof(UserError):
    """The node's answer does not hold."""

    def __init__(self, why: str) -> None:
        super().__init__(
            "E354",
            f"the node's answer does not prove what it says: {why}",
            hint="ask another node; this one is broken or lying",
        )


class Crossing:
    """Follows a chain from epoch to epoch, as far as it is needed.

    Args:
        genesis: the chain.
        links: asks the node how to get from epoch to epoch; :meth:`.client.Client.links`.
    """

    def __init__(self, genesis: Genesis, links: AskLinks) -> None:
        self._epochs = Epochs(genesis)
        self._links = links

    async def reach(self, epoch: Epoch) -> Epochs:
        """The epochs from genesis on, at least up to this one.

        Raises:
            BadProof: a step is missing, or the epoch before does not vouch for it.
            ConfigError: E107, E125, an engine that is not installed here, or unusable.
        """
        while self._epochs.latest < epoch:
            steps = await self._links(self._epochs.latest + 1)
            if not steps:
                raise BadProof(f"it shows no way from epoch {self._epochs.latest} to {epoch}")
            for link in steps:
                try:
                    self._epochs.cross(link, verify)
                except Malformed as err:
                    raise BadProof(f"on the way to epoch {epoch}: {err}") from err
        return self._epochs
