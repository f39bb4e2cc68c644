"""``--fail`` and ``--kill``: whose link fails how often, and who dies when."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

from vppd.config.genesis import Genesis
from vppd.consensus.profile import founding_validators
from vppd.errors import Exit, UserError
from vppd.types import Height, Ppm, ReplicaIndex

PPM = 1_000_000
Fail: TypeAlias = tuple[tuple[ReplicaIndex, Ppm], ...]
Kill: TypeAlias = tuple[tuple[ReplicaIndex, Height], ...]


def parse_fail(texts: Sequence[str], genesis: Genesis) -> Fail:
    """``der-3=40%`` or ``3=0.4``; each item may hold several, comma-separated.

    Raises:
        UserError: E424.
    """
    shares: dict[ReplicaIndex, Ppm] = {}
    for word in _words(texts):
        name, _, text = word.partition("=")
        node, share = _node(name, genesis), _share(text)
        if node is None or share is None or node in shares:
            why = (
                f"{name!r} is none of the {len(genesis.validators)} nodes" if node is None
                else f"{text!r} is no share of the heights" if share is None
                else f"{name!r} has a share already"
            )  # fmt: skip
            raise UserError(
                "E424",
                f"--fail {word!r}: {why}",
                hint=f"--fail {genesis.validators[-1].name}=40% (or its index, and 0.4)",
                exit_code=Exit.USAGE,
            )
        shares[node] = share
    return tuple(shares.items())


def parse_kill(texts: Sequence[str], genesis: Genesis) -> Kill:
    """``op-0@3`` or ``0@3``: dead as soon as it has decided height 3.

    Raises:
        UserError: E425.
    """
    heights: dict[ReplicaIndex, Height] = {}
    for word in _words(texts):
        name, _, text = word.partition("@")
        node = _node(name, genesis)
        known = text.isascii() and text.isdecimal() and int(text) > 0
        if node is None or not known or node in heights:
            why = (
                f"{name!r} is none of the {len(genesis.validators)} nodes" if node is None
                else f"{text!r} is no height" if not known
                else f"{name!r} is dead already"
            )  # fmt: skip
            raise UserError(
                "E425",
                f"--kill {word!r}: {why}",
                hint=f"--kill {genesis.validators[0].name}@3 (or its index)",
                exit_code=Exit.USAGE,
            )
        heights[node] = int(text)
    return tuple(heights.items())


def require_quorum(fail: Fail, kill: Kill, genesis: Genesis) -> None:
    """Enough nodes must be left of whom progress can be asked.

    Raises:
        UserError: E428.
    """
    sizes = founding_validators(genesis).quorum
    needed = max(sizes.vote, sizes.view_change)
    missed = {node for node, share in fail if share} | {node for node, _ in kill}
    if sizes.n - len(missed) < needed:
        raise UserError(
            "E428",
            f"{len(missed)} of {sizes.n} nodes fail or die: decisions and a change of leader need "
            f"{needed}",
            hint=f"--fail and --kill together: {sizes.n - needed} at most, or a larger -n",
            exit_code=Exit.USAGE,
        )


def _words(texts: Sequence[str]) -> list[str]:
    return [word.strip() for text in texts for word in text.split(",")]


def _node(text: str, genesis: Genesis) -> ReplicaIndex | None:
    names = [validator.name for validator in genesis.validators]
    if text in names:
        return names.index(text)
    index = int(text) if text.isascii() and text.isdecimal() else len(names)
    return index if index < len(names) else None


def _share(text: str) -> Ppm | None:
    """``40%`` or ``0.4`` in parts per million."""
    number = text.removesuffix("%")
    try:
        share = Decimal(number) * (PPM // 100 if text.endswith("%") else PPM)
    except InvalidOperation:
        return None
    return int(share) if share.is_finite() and 0 <= share <= PPM else None
