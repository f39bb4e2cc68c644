"""What must hold after every event, whoever runs: checked from outside, knowing no engine.

One digest per height; valid certificates and chain; no honest replica signs twice at one position;
nothing leaves before it is durable; equal roots; money conserved; what a node once decided it
still holds after a restart.
"""

from __future__ import annotations

from vppd.consensus.certificate import check_certificate
from vppd.consensus.messages import CertificateKind
from vppd.consensus.validators import ValidatorSet
from vppd.crypto import Verify
from vppd.errors import PeerFault
from vppd.header import decode_header
from vppd.ledger.execution import Ledger
from vppd.node.machine import Committed
from vppd.types import Digest, Height, Micro, ReplicaIndex


class Violation(Exception):
    """An invariant does not hold."""


class Checkers:
    """Watches one run.

    Args:
        chain_id: of the simulated plant.
        validators: its replicas.
        verify: the simulated plant's verifier.
        total: money in the plant at genesis.
    """

    def __init__(
        self, chain_id: Digest, validators: ValidatorSet, verify: Verify, total: Micro
    ) -> None:
        self._chain_id = chain_id
        self._validators = validators
        self._n = len(validators.members)
        self._f = (self._n - 1) // 3  # from the paper, not from the code under test
        self._verify = verify
        self._total = total
        self._digests: dict[Height, Digest] = {0: chain_id}
        self._roots: dict[Height, tuple[Digest, Digest]] = {}
        self._signed: dict[tuple[ReplicaIndex, int, int, int, str], Digest] = {}
        self._reported: dict[ReplicaIndex, Height] = {}

    def signed(
        self,
        signer: ReplicaIndex,
        round_: str,
        position: tuple[int, int, int],
        digest: Digest,
        *,
        durable: bool,
    ) -> None:
        """A replica's vote (``1``), commit (``2``) or proposal (``P``) is leaving it."""
        if not durable:
            raise Violation(f"replica {signer} sends {round_} at {position} before it is durable")
        before = self._signed.setdefault((signer, *position, round_), digest)
        if before != digest:
            raise Violation(
                f"replica {signer} signs {round_} twice at (epoch, view, height) {position}: "
                f"{before.hex()[:16]} and {digest.hex()[:16]}"
            )

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
            raise Violation(
                f"fork at height {height}: node {node} decided {digest.hex()[:16]}, "
                f"others {known.hex()[:16]}"
            )
        header = decode_header(decision.header)
        if header.digest() != digest or header.parent != self._digests[height - 1]:
            raise Violation(f"node {node} broke the hash chain at height {height}")
        certificate = decision.certificate
        if (certificate.height, certificate.digest) != (height, digest) or (
            certificate.kind != CertificateKind.COMMIT
        ):
            raise Violation(f"node {node} decided height {height} on another certificate")
        if 2 * len(certificate.signatures) < self._n + self._f + 1:
            raise Violation(
                f"node {node} decided height {height} on {len(certificate.signatures)} of "
                f"{self._n} signatures"
            )
        try:
            check_certificate(certificate, self._validators, self._chain_id, self._verify)
        except PeerFault as err:
            raise Violation(f"node {node}, height {height}: {err}") from err
        roots = (execution.state_root, execution.receipts_root)
        if self._roots.setdefault(height, roots) != roots:
            raise Violation(f"node {node} has other roots after height {height}")
        if ledger.total_micro() != self._total:
            raise Violation(
                f"node {node}, height {height}: {ledger.total_micro()} micro in the plant, "
                f"{self._total} at genesis"
            )
        self._reported[node] = max(height, self._reported.get(node, 0))

    def restarted(self, node: ReplicaIndex, decided: Height) -> None:
        """A node is back with what its disk kept."""
        if decided < self._reported.get(node, 0):
            raise Violation(
                f"node {node} had decided height {self._reported[node]} and restarts at {decided}"
            )
