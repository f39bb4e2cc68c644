"""What must hold after every event, whoever runs: checked from outside, knowing no engine.

One digest per height; valid certificates and chain; no honest replica signs twice at one position;
nothing leaves before it is durable; equal roots; money conserved; what a node once decided it
still holds after a restart.
"""

from __future__ import annotations

from collections.abc import Container

from vppd.config.founding import founding_era
from vppd.config.genesis import Engine, Genesis
from vppd.consensus.certificate import check_certificate
from vppd.consensus.messages import CertificateKind
from vppd.consensus.profile import profile_of
from vppd.consensus.terms import validators_of
from vppd.crypto import Verify
from vppd.era import Era
from vppd.errors import PeerFault
from vppd.header import decode_header
from vppd.ledger.execution import Ledger
from vppd.node.beats import Committed
from vppd.simulate.disk import Promise
from vppd.types import Digest, Epoch, Height, Micro, PublicKey, ReplicaIndex


class Violation(Exception):
    """An invariant does not hold."""


class Fork(Violation):
    """Two blocks are decided at one height: the worst there is."""


def sizes_of(era: Era) -> dict[int, int]:
    """Votes that decide a height, by kind: from the paper, not from the code under test."""
    n = len(era.members)
    f = (n - 1) // 3 if era.f is None else era.f
    sizes: dict[int, int] = {CertificateKind.COMMIT: (n + f + 2) // 2}
    if profile_of(Engine(era.engine)).fast_exit:
        slack = (n - 3 * f - 1) // 2 if f else 0
        sizes[CertificateKind.FAST] = n - (slack if era.p is None else era.p)
    return sizes


class Checkers:
    """Watches one run.

    Args:
        genesis: of the simulated plant.
        verify: the simulated plant's verifier.
        total: money in the plant at genesis.
    """

    def __init__(self, genesis: Genesis, verify: Verify, total: Micro) -> None:
        self._chain_id = genesis.digest
        self._eras = {0: founding_era(genesis)}
        """Those some node's ledger has decided on, by epoch."""
        self._sizes = {0: sizes_of(self._eras[0])}
        self._verify = verify
        self._total = total
        self._digests: dict[Height, Digest] = {0: genesis.digest}
        self._roots: dict[Height, tuple[Digest, Digest]] = {}
        self._signed: dict[tuple[ReplicaIndex, int, int, int, str], Digest] = {}
        self._reported: dict[ReplicaIndex, Height] = {}
        self._left: dict[ReplicaIndex, tuple[int, int]] = {}
        """The (epoch, view) each replica has asked for last."""
        self._opened: dict[tuple[int, int], Height] = {}
        """H0 by (epoch, view), the lowest that was shown."""

    def signed(
        self, signer: ReplicaIndex, promise: Promise, promised: Container[Promise],
        first_height: tuple[int, int, Height],
    ) -> None:  # fmt: skip
        """A signature of an honest replica is leaving it.

        Vote (``1``), commit (``2``), proposal (``P``), view change (``V``) or new view (``N``); the
        last two at most once per view, whatever height they name. ``first_height``: an (epoch,
        view) this replica was shown a new view for, and the height from which it may vote there.
        """
        round_, *at, digest = promise
        position = (at[0], at[1], at[2])
        if promise not in promised:
            raise Violation(f"replica {signer} sends {round_} at {position} before it is durable")
        once = (at[0], at[1], 0) if round_ in "VN" else position
        new = (signer, *once, round_) not in self._signed
        before = self._signed.setdefault((signer, *once, round_), digest)
        if before != digest:
            raise Violation(
                f"replica {signer} signs {round_} twice at (epoch, view, height) {position}: "
                f"{before.hex()[:16]} and {digest.hex()[:16]}"
            )
        view = position[:2]
        if round_ == "V":
            self._left[signer] = max(view, self._left.get(signer, view))
        elif round_ == "N":
            self._opened[view] = min(position[2], self._opened.get(view, position[2]))
        elif new and view < self._left.get(signer, view):
            raise Violation(
                f"replica {signer} signs {round_} at {position} after it left for view "
                f"{self._left[signer]}"
            )
        elif view[1] > 0 and first_height[:2] < view:
            raise Violation(
                f"replica {signer} signs {round_} at {position}, in a view it was never shown"
            )
        elif view == first_height[:2] and position[2] < first_height[2]:
            raise Violation(
                f"replica {signer} signs {round_} at {position}, below the first height "
                f"{first_height[2]} of the view it was shown"
            )
        elif position[2] < self._opened.get(view, 0) and not self._moves(position[0]):
            raise Violation(
                f"replica {signer} signs {round_} at {position}, below the first height "
                f"{self._opened[view]} of that view"
            )

    def _moves(self, epoch: Epoch) -> bool:
        """Whether a view may be opened more than once, by the leaders of several heights."""
        return profile_of(Engine(self._eras[epoch].engine)).moves

    def has_opened(self, leader: ReplicaIndex, opening: Promise) -> bool:
        """Whether an honest replica has signed exactly this new view before."""
        _, epoch, view, _, digest = opening
        return self._signed.get((leader, epoch, view, 0, "N")) == digest

    def entitled(
        self, node: ReplicaIndex, key: PublicKey, name: Digest | None, promise: Promise
    ) -> None:
        """A signature of an honest node is leaving it: is it one of those who may give it?

        Args:
            node: whose.
            key: of that node.
            name: the nonce its disk gives its memory, zeros if it never needed one; ``None``: it
                has forgotten what it signed, and nothing it signs now is worth anything.
            promise: what it signs.
        """
        round_, epoch, _, height, _ = promise
        era = self._eras.get(epoch)
        members = {} if era is None else {m.key: m.nonce for m in era.members}
        if name is None or members.get(key) != name:
            raise Violation(
                f"node {node} signs {round_} at height {height} in epoch {epoch}, "
                f"which does not list {'it' if key not in members else 'its memory'}"
            )
        after = self._eras.get(epoch + 1)
        over = after is not None and height >= after.first
        if round_ in "P12" and era is not None and (height < era.first or over):
            raise Violation(f"node {node} signs {round_} at height {height} in epoch {epoch}")

    def fell_silent(self, node: ReplicaIndex, reason: str) -> None:
        """A node gives up voting for good, and its disk has lost nothing."""
        raise Violation(f"node {node} takes its own memory for lost: {reason}")

    def damaged(self, node: ReplicaIndex) -> None:
        """A node's disk has lost what it held: what it reported is not expected of it."""
        self._reported.pop(node, None)

    def spoke_of(self, node: ReplicaIndex, height: Height, durable: Height) -> None:
        """A node passes on a decision, or says what executing it gave."""
        if height > durable:
            raise Violation(
                f"node {node} speaks of decision {height}, its disk has {durable} decisions"
            )

    def committed(self, node: ReplicaIndex, block: Committed, ledger: Ledger) -> None:
        """A node has decided and executed a block."""
        decision, execution = block
        height, digest = decision.height, decision.digest
        known = self._digests.setdefault(height, digest)
        if known != digest:
            raise Fork(
                f"fork at height {height}: node {node} decided {digest.hex()[:16]}, "
                f"others {known.hex()[:16]}"
            )
        header = decode_header(decision.header)
        if header.digest() != digest or header.parent != self._digests[height - 1]:
            raise Violation(f"node {node} broke the hash chain at height {height}")
        certificate = decision.certificate
        about = (certificate.height, certificate.digest) == (height, digest)
        era = max((e for e in self._eras.values() if e.first <= height), key=lambda e: e.epoch)
        sizes = self._sizes[era.epoch]
        if header.epoch != era.epoch or certificate.epoch != era.epoch:
            raise Violation(
                f"node {node} decided height {height} in epoch {certificate.epoch}, "
                f"which lies in epoch {era.epoch}"
            )
        if not about or certificate.kind not in sizes:
            raise Violation(f"node {node} decided height {height} on another certificate")
        if len(certificate.signatures) < sizes[certificate.kind]:
            raise Violation(
                f"node {node} decided height {height} on {len(certificate.signatures)} of "
                f"{len(era.members)} signatures"
            )
        try:
            check_certificate(certificate, validators_of(era), self._chain_id, self._verify)
        except PeerFault as err:
            raise Violation(f"node {node}, height {height}: {err}") from err
        self._learn(node, height, ledger)
        roots = (execution.state_root, execution.receipts_root)
        if self._roots.setdefault(height, roots) != roots:
            raise Violation(f"node {node} has other roots after height {height}")
        if ledger.total_micro() != self._total:
            raise Violation(
                f"node {node}, height {height}: {ledger.total_micro()} micro in the plant, "
                f"{self._total} at genesis"
            )
        self._reported[node] = max(height, self._reported.get(node, 0))

    def _learn(self, node: ReplicaIndex, height: Height, ledger: Ledger) -> None:
        """Eras are decided once, and each takes effect two heights after the block that did."""
        if ledger.height != height:
            return  # further by now; whoever executed this height alone has shown it
        for era in ledger.eras:
            known = self._eras.setdefault(era.epoch, era)
            if known != era:
                raise Violation(f"node {node} knows another epoch {era.epoch} than others")
            if era.epoch not in self._sizes:
                self._sizes[era.epoch] = sizes_of(era)
                if era.first != height + 2:
                    raise Violation(
                        f"node {node} begins epoch {era.epoch} at {era.first}, decided at {height}"
                    )

    def restarted(self, node: ReplicaIndex, decided: Height) -> None:
        """A node is back with what its disk kept."""
        if decided < self._reported.get(node, 0):
            raise Violation(
                f"node {node} had decided height {self._reported[node]} and restarts at {decided}"
            )
