"""The epochs of a chain as they follow from genesis, to check what was signed in each.

Each era is vouched for by the one before: the header of its last height names the hash of the next
validators, engine and first height included, and carries a certificate (protocol.md, §10).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from vppd.codec import Malformed
from vppd.config.genesis import Genesis
from vppd.consensus.certificate import check_certificate
from vppd.consensus.messages import Certificate, EraLink
from vppd.consensus.terms import Term, founding_term, term_of, validators_with
from vppd.crypto import Verify
from vppd.era import Era
from vppd.header import Header, decode_header
from vppd.types import Digest, Epoch, Height


class Epochs:
    """Every term from genesis on.

    Args:
        genesis: the chain.
        eras: those after it, ascending.

    Raises:
        Malformed: they do not follow each other.
    """

    __slots__ = ("_firsts", "_genesis", "_terms")

    def __init__(self, genesis: Genesis, eras: Iterable[Era] = ()) -> None:
        self._genesis = genesis
        self._terms = [founding_term(genesis)]
        self._firsts: list[Height] = [1]
        for era in eras:
            self.add(era)

    @property
    def latest(self) -> Epoch:
        """The last one known."""
        return len(self._terms) - 1

    def at(self, height: Height) -> Term:
        """The term in force at a height, from 1 on."""
        return self._terms[bisect_right(self._firsts, height) - 1]

    def add(self, era: Era) -> None:
        """Learn of the next era.

        Raises:
            Malformed: it is not the next one, or nobody could vote in it.
        """
        self._require_next(era)
        try:
            term = term_of(era, self._genesis)
        except (ValueError, TypeError) as err:  # also rules that there are not
            raise Malformed(f"epoch {era.epoch}: {err}") from err
        self._terms.append(term)
        self._firsts.append(era.first)

    def _require_next(self, era: Era) -> None:
        if era.epoch != len(self._terms) or era.first <= self._firsts[-1]:
            raise Malformed(
                f"epoch {era.epoch} from height {era.first} after epoch {self.latest} from height "
                f"{self._firsts[-1]}"
            )

    def check_decided(self, raw: bytes, certificate: Certificate, verify: Verify) -> Header:
        """The header that a certificate decides, by the rules of its height.

        Raises:
            Malformed: it does not.
        """
        header = decode_header(raw)
        at = (header.digest(), header.height)
        if header.chain_id != self._genesis.digest or header.height < 1:
            raise Malformed(f"a header of height {header.height} that is not this chain's")
        if (certificate.digest, certificate.height) != at:
            raise Malformed(f"header {header.height} with the certificate of another block")
        term = self.at(header.height)
        if header.epoch != term.epoch:
            raise Malformed(
                f"header {header.height} of epoch {header.epoch}, in force is {term.epoch}"
            )
        if certificate.kind not in term.decisive:
            raise Malformed(f"certificate kind {certificate.kind} decides nothing")
        check_certificate(certificate, term.validators, self._genesis.digest, verify)
        return header

    def cross(self, link: EraLink, verify: Verify) -> None:
        """Learn of the next era from the one before it.

        Raises:
            Malformed: that one does not vouch for it.
            ConfigError: E107, E125, it does, and the engine is not installed here, or unusable.
        """
        header = self.check_decided(link.header, link.certificate, verify)
        if header.height != link.era.first - 1:
            raise Malformed(
                f"epoch {link.era.epoch} begins at {link.era.first}, not after {header.height}"
            )
        self._require_next(link.era)
        if header.next_validators not in _digests(link.era):
            raise Malformed(
                f"header {header.height} names other validators than those of epoch "
                f"{link.era.epoch}"
            )
        self.add(link.era)


def _digests(era: Era) -> set[Digest]:
    """Hashes of the validators, with and without slack for the fast path.

    The engine says which of them it is, and one that nobody vouches for need not be known here.

    Raises:
        Malformed: nobody could vote in it.
    """
    try:
        return {validators_with(era, p).digest for p in (era.p, 0)}
    except ValueError as err:
        raise Malformed(f"epoch {era.epoch}: {err}") from err
