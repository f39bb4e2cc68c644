"""Cooperative slots, shared a second time: by the definition of the Shapley value (P1, §3.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import count
from math import factorial
from typing import TypeAlias

from vppd.config.genesis import Genesis, Tariff
from vppd.config.sharing import SharingRules
from vppd.day.audit.findings import Findings
from vppd.day.audit.purses import Purses
from vppd.day.audit.rules import Calendar, Phase, amount, owed_to_grid
from vppd.day.audit.settlements import Settlements
from vppd.day.audit.slots import Slots
from vppd.day.audit.trades import Trades
from vppd.ledger.events import GRID, Pooled, PositionTaken, Purse, Reason, Shared
from vppd.types import PPM, Micro, PublicKey, Slot

_EXACT_PLAYERS = 12
_MOST_STEPS = 200_000
_Said: TypeAlias = PositionTaken | Pooled | Shared


class Sharing:
    """All sharing of the chain.

    Args:
        genesis: the rules, and the chain's id.
        calendar: tariffs.
        slots: where each slot stands.
        trades: what was declared.
        settlements: what was delivered.
        purses: told what each share has to move.
        findings: takes objections.
    """

    def __init__(
        self,
        genesis: Genesis,
        calendar: Calendar,
        slots: Slots,
        trades: Trades,
        settlements: Settlements,
        purses: Purses,
        findings: Findings,
    ) -> None:
        self._cooperative = genesis.market.rules == "cooperative"
        self._rules = genesis.market.sharing
        self._chain_id = genesis.digest
        self._calendar = calendar
        self._slots = slots
        self._trades = trades
        self._settlements = settlements
        self._purses = purses
        self._findings = findings
        self._shared: dict[Slot, dict[PublicKey, Shared]] = {}
        """What each member's latest share had to say."""
        self._versions: dict[Slot, int] = {}
        self._said: list[_Said] = []
        """In the receipt being read."""

    def hear(self, event: _Said) -> None:
        """Something was said about sharing."""
        self._said.append(event)

    def end_receipt(self, *, by_time: bool) -> None:
        """Compare what was said with what the rules make of the slots that advanced."""
        right: list[_Said] = []
        if by_time and self._cooperative:
            for slot, phase in self._slots.advanced:
                match phase:
                    case Phase.GATE_CLOSED:
                        right += self._position(slot)
                    case Phase.SETTLED | Phase.CLOSED:
                        right += self._share(slot, final=phase is Phase.CLOSED)
                    case _:
                        pass
        for said, due in zip(self._said, right, strict=False):
            if said != due:
                self._findings.add(f"the sharing says {said}, it must say {due}")
        if len(self._said) != len(right):
            found = f"{len(self._said)} sentences about sharing, there must be {len(right)}"
            self._findings.add(f"there are {found}")
        self._said = []

    def _position(self, slot: Slot) -> Iterator[_Said]:
        declared = self._trades.declared(slot)
        if declared:
            yield PositionTaken(slot, len(declared), sum(declared.values()))

    def _share(self, slot: Slot, *, final: bool) -> Iterator[_Said]:
        declared, delivered = self._trades.declared(slot), self._settlements.delivered(slot)
        members = [key for key in sorted(declared) if final or delivered.get(key) is not None]
        nets = [delivered.get(key) or 0 for key in members]
        tariff = self._calendar.tariff(slot)
        seed = self._chain_id + slot.to_bytes(8, "big") + self._rules.seed.encode()
        samples = _samples(sum(1 for net in nets if net), self._rules)
        shares = _shapley(nets, tariff, hashlib.sha256(seed).digest(), samples)
        fines = _fines([declared[key] for key in members], nets, self._rules)
        before = self._shared.get(slot, {})
        version = self._versions.get(slot, 0) + 1
        changed = []
        for key, net, share, fine in zip(members, nets, shares, fines, strict=True):
            alone = -owed_to_grid(net, tariff)
            due = Shared(slot, key, version, declared[key], net, alone, share, fine)
            old = before.get(key)
            if old is None or (net, alone, share, fine) != _numbers(old):
                changed.append(due)
                gained = share - alone - (old.share - old.alone if old else 0)
                self._expect(key, gained, Reason.SHARING)
                self._expect(key, fine - (old.penalty if old else 0), Reason.PENALTY)
        if not changed:
            return
        alone = sum(-owed_to_grid(net, tariff) for net in nets)
        worth = -owed_to_grid(sum(nets), tariff)
        yield Pooled(slot, version, len(members), sum(nets), worth, alone, samples)
        yield from changed
        self._versions[slot] = version
        self._shared[slot] = before | {due.account: due for due in changed}

    def _expect(self, account: PublicKey, delta: Micro, reason: Reason) -> None:
        self._purses.expect(account, Purse.BALANCE, delta, reason)
        self._purses.expect(GRID, Purse.GRID, -delta, reason)


def _numbers(said: Shared) -> tuple[int, Micro, Micro, Micro]:
    return said.net_wh, said.alone, said.share, said.penalty


def _samples(players: int, rules: SharingRules) -> int:
    """How many orders of joining are averaged; 0: all of them."""
    if players <= _EXACT_PLAYERS:
        return 0
    return max(1, min(rules.samples, _MOST_STEPS // players))


def _shapley(nets: Sequence[int], tariff: Tariff, seed: bytes, samples: int) -> list[Micro]:
    """Each member's mean contribution to what the grid pays; nought adds nothing."""
    players = [i for i, net in enumerate(nets) if net]

    def worth(members: Sequence[int]) -> Micro:
        return -owed_to_grid(sum(nets[i] for i in members), tariff)

    due = dict.fromkeys(range(len(nets)), Fraction(0))
    if samples == 0:
        for place, player in enumerate(players):
            others = players[:place] + players[place + 1 :]
            for mask in range(1 << len(others)):
                inside = [other for bit, other in enumerate(others) if mask >> bit & 1]
                size = len(inside)
                orders = factorial(size) * factorial(len(players) - 1 - size)
                added = worth([*inside, player]) - worth(inside)
                due[player] += Fraction(orders * added, factorial(len(players)))
    for index in range(samples):
        order = _order(players, seed, index)
        for place, player in enumerate(order):
            due[player] += Fraction(worth(order[: place + 1]) - worth(order[:place]), samples)
    return _whole(list(due.values()))


def _order(players: Sequence[int], seed: bytes, index: int) -> list[int]:
    """Fisher and Yates's shuffle by words of SHA-256(SHA-256(seed) ‖ index ‖ counter)."""
    prefix = hashlib.sha256(seed).digest() + index.to_bytes(8, "big")
    blocks = (hashlib.sha256(prefix + j.to_bytes(4, "big")).digest() for j in count())
    words = (int.from_bytes(b[i : i + 4], "big") for b in blocks for i in range(0, 32, 4))
    order = list(players)
    for places in range(len(order), 1, -1):
        place = next(w for w in words if w < 2**32 // places * places) % places
        order[places - 1], order[place] = order[place], order[places - 1]
    return order


def _fines(promised: Sequence[int], nets: Sequence[int], rules: SharingRules) -> list[Micro]:
    """What each gets of the others' penalties, less its own."""
    if len(nets) == 1:
        return [0]
    own = []
    for due, net in zip(promised, nets, strict=True):
        missing = due - net - abs(due) * rules.tolerance_ppm // PPM
        own.append(amount(max(0, missing), rules.penalty_price))
    return _whole([Fraction(sum(own) - paid, len(own) - 1) - paid for paid in own])


def _whole(parts: Sequence[Fraction]) -> list[int]:
    """Rounded down, and the units missing to the largest rests, the first of equal ones first."""
    floors = [part.numerator // part.denominator for part in parts]
    missing = int(sum(parts)) - sum(floors)
    rests = sorted(range(len(parts)), key=lambda i: (floors[i] - parts[i], i))
    return [floor + (i in rests[:missing]) for i, floor in enumerate(floors)]
