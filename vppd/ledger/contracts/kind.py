"""What a kind of contract is: the boundary between the engine and its state machines.

Whatever a kind does must follow from its arguments alone: no clock, no chance, no files, no floats,
no iteration over sets; docs/contracts.md says so to those who bring their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

from vppd.codec import Decoder, Malformed
from vppd.config.contracts import KindName
from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.types import Height, Micro, PublicKey, TimeMs

T = TypeVar("T")
__all__ = ["Desk", "ErrorCode", "Failed", "Kind", "KindName", "Standing", "read"]


class Standing(NamedTuple):
    """Where a contract stands between two moves."""

    phase: int
    """0…255, an index into its kind's ``phases``."""
    data: bytes
    """What the kind remembers, in its own encoding."""
    due_ms: TimeMs | None = None
    """Block time at which to fire next; ``None``: no trigger."""
    ended: bool = False
    """It leaves the state; it must hold no money any more."""


class Desk(Protocol):
    """What a contract can see and do while it moves."""

    @property
    def number(self) -> int:
        """Of this contract; contracts are numbered as they are opened."""

    @property
    def owner(self) -> PublicKey:
        """Who opened it."""

    @property
    def caller(self) -> PublicKey | None:
        """Who opens or calls it now; ``None``: time fires it."""

    @property
    def time_ms(self) -> TimeMs:
        """Of the block being executed."""

    @property
    def height(self) -> Height:
        """Of the block being executed."""

    @property
    def held(self) -> Micro:
        """What the contract holds, micro-currency."""

    @property
    def context(self) -> Context:
        """The whole state: for this build's own kinds only."""

    def balance(self, account: PublicKey) -> Micro | None:
        """An account's balance; ``None``: there is no such account."""

    def deposit(self, amount: Micro) -> None:
        """Take ``amount``, zero or more, from the caller into the contract.

        Raises:
            Failed: the caller has less, or nobody calls.
        """

    def pay(self, to: PublicKey, amount: Micro) -> None:
        """Pay ``amount``, zero or more, out of the contract.

        Raises:
            Failed: the contract holds less, or nobody has that account.
        """

    def say(self, topic: int, data: bytes) -> None:
        """News in the receipt; ``topic`` 0…255."""

    def refuse(self, reason: int) -> Failed:
        """To be raised: a rule of this kind forbids it; ``reason`` is the kind's own number."""


class Kind(ABC):
    """One kind of contract. It keeps nothing between calls: a contract is its :class:`Standing`."""

    name: ClassVar[KindName]
    """As transactions and ``[contracts]`` in genesis write it."""
    phases: ClassVar[tuple[str, ...]]
    """What people call the phases."""
    methods: ClassVar[tuple[str, ...]]
    """What people call the methods."""

    @abstractmethod
    def open(self, desk: Desk, terms: bytes) -> Standing:
        """A member opens a contract.

        Raises:
            Failed: not with these terms.
        """

    @abstractmethod
    def call(self, desk: Desk, now: Standing, method: int, args: bytes) -> Standing:
        """A member calls it; ``method`` is an index into ``methods``.

        Raises:
            Failed: not now, not by this caller, or not so.
        """

    @abstractmethod
    def fire(self, desk: Desk, now: Standing) -> Standing:
        """Its trigger's time has come; there is no trigger any more but the one it returns."""

    def release(self, desk: Desk, now: Standing) -> None:  # noqa: ARG002  # for others to use
        """The operators' quorum ends the contract: what it holds goes to who opened it."""
        desk.pay(desk.owner, desk.held)

    def view(self, now: Standing) -> dict[str, Any]:
        """What ``data`` says, for people: JSON, units in the names."""
        return {"data": now.data.hex()}


def read(decoder: Decoder[T], data: bytes) -> T:
    """Terms or arguments as a kind's own record.

    Raises:
        Failed: they are none.
    """
    try:
        return decoder(data)
    except Malformed as err:
        raise Failed(ErrorCode.BAD_TERMS) from err
