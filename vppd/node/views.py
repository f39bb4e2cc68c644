"""JSON for people: where the node stands, who is missing, and what the market holds.

Keys are documented in docs/clients.md. Numbers are integers with the unit in the name; keys and
digests are text.
"""

from __future__ import annotations

import resource
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from vppd import __version__
from vppd.codec import encode
from vppd.consensus.messages import Type
from vppd.crypto import KEY_PREFIX, key_text, parse_key
from vppd.ledger.execution import Ledger
from vppd.ledger.rating_views import credit_view, day_view
from vppd.ledger.registration.views import (
    events_view,
    parameters_view,
    people_view,
    permissions_view,
    projects_view,
)
from vppd.ledger.views import member_name
from vppd.market.calendar import settings_view
from vppd.market.tariff import tariff_for
from vppd.net.directory import PeerState, total_traffic
from vppd.node.clock import now
from vppd.node.machine import Machine
from vppd.node.metrics import COSTS, Metrics, Timing
from vppd.node.phases import HeightTimes
from vppd.node.trace import Trace, Who
from vppd.types import PeerNumber, PublicKey, Role, Slot

H = TypeVar("H", HeightTimes, Timing)
LAST_SLOT: Slot = 2**63 - 1
"""The largest number an order can name."""
MOST_SLOTS = 384
"""In one view of prices: four days of quarter hours."""


class UnknownView(Exception):
    """There is no such view; the text lists those there are."""


class Views:
    """Renders views of one node.

    Args:
        machine: engine, mempool and ledger.
        metrics: timings.
        network: the part of ``status`` that the network and the disk know.
        name: of this node.
        store: its database.
        trace: what was said lately.
        peers: what the network knows of every other node.
    """

    def __init__(
        self,
        machine: Machine,
        metrics: Metrics,
        network: Callable[[], dict[str, Any]],
        name: str,
        store: Path,
        trace: Trace,
        peers: Callable[[], Iterable[PeerState]] = tuple,
    ) -> None:
        self._machine = machine
        self._metrics = metrics
        self._network = network
        self._name = name
        self._store = store
        self._peers = peers
        self._trace = trace
        self._render: dict[str, Callable[[str], Any]] = {
            "status": lambda _: self.status(),
            "account": self.account,
            "accounts": lambda _: [self._account(key) for key in self._ledger.account_keys()],
            "market": lambda _: self.market(),
            "prices": self.prices,
            "validators": lambda _: self._ledger.validators_view(),
            "ready": lambda _: self.ready(),
            "plan": lambda slot: self._ledger.plan_view(_slot(slot)),
            "resources": lambda _: self._ledger.resources_view(),
            "members": lambda _: self._ledger.look(people_view),
            "permissions": lambda _: self._ledger.look(permissions_view),
            "parameters": self.parameters,
            "projects": lambda _: self._ledger.look(projects_view),
            "events": lambda _: self._ledger.look(events_view),
            "contracts": lambda _: self._ledger.contracts_view(),
            "day": lambda day: day_view(self._ledger.calendar, self._ledger.state, _day(day)),
            "credit": self.credit,
            "slots": lambda _: self._ledger.slots_view(),
            "orders": lambda member: self._ledger.orders_view(self._key(member)),
            "book": lambda slot: self._ledger.book_view(_slot(slot)),
            "trades": lambda slot: self._ledger.trades_view(_slot(slot)),
            "paths": lambda slot: self._ledger.paths_view(_slot(slot)),
            "shares": lambda slot: self._ledger.shares_view(_slot(slot) if slot else None),
            "settlement": self.settlement,
            "heights": lambda first: [t._asdict() for t in _since(first, metrics.heights)],
            "trace": self.trace,
            "timings": lambda first: [list(timing) for timing in _since(first, metrics.timings)],
            "usage": lambda _: self.usage(),
        }

    @property
    def _ledger(self) -> Ledger:
        return self._machine.ledger

    async def render(self, name: str, argument: str) -> Any:
        """The view ``name`` as plain data.

        Raises:
            UnknownView: no such view.
            LookupError: no such account, slot …; its first argument says which.
        """
        render = self._render.get(name)
        if render is None:
            raise UnknownView(f"no view {name!r}; there are {', '.join(self._render)}")
        return render(argument)

    def status(self) -> dict[str, Any]:
        """Where this node stands."""
        machine = self._machine
        engine = machine.engine.status()
        names = [member.name for member in machine.validators.members]
        quorum, standing = machine.validators.quorum, self._standing()
        return {
            "name": self._name,
            "version": __version__,
            "chain": machine.genesis.name,
            "chain_id": machine.genesis.digest.hex(),
            "key": key_text(machine.key),
            **standing,
            "engine": engine.engine,
            "n": quorum.n,
            "f": quorum.f,
            "quorum": quorum.vote,
            "byzantine_tolerance": engine.byzantine_tolerance,
            "quorum_slack": engine.quorum_slack,
            "view_slack": engine.view_slack,
            "fast_slack": engine.fast_slack,
            "epoch": machine.term.epoch,
            "view": engine.view,
            "mode": engine.mode.name.lower(),
            "leader": names[engine.leader],
            "height": engine.decided,
            "head": engine.head.hex(),
            "executed": self._ledger.height,
            "voting": engine.voting,
            "observer": "" if standing["candidate"] and not engine.lost else engine.observer,
            "path": engine.path,
            "decisions": dict(engine.decisions),
            "fallbacks": dict(engine.fallbacks),
            "success_ppm": engine.success_ppm,
            "costs_ms": dict(zip(COSTS, engine.costs_ms, strict=True)),
            "view_changes": engine.view_changes,
            "view_triggers": dict(engine.view_triggers),
            "stuck_ms": engine.stuck_ms,
            "ahead_ms": engine.ahead_ms,
            "evidence": engine.evidence,
            "mempool_txs": len(machine.mempool),
            "mempool_bytes": machine.mempool.size_bytes,
            "unix_ms": now().unix_ms,
            "disk_free_bytes": shutil.disk_usage(self._store.parent).free,
            **self._network(),
        }

    def usage(self) -> dict[str, Any]:
        """What this process has used since it began."""
        metrics, traffic = self._metrics, total_traffic(self._peers())
        files = self._store.parent.glob(self._store.name + "*")
        most_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "name": self._name,
            "cpu_us": time.process_time_ns() // 1_000,
            "rss_bytes": _resident_bytes(),
            "rss_max_bytes": most_kib * 1_024,
            "persists": metrics.persists,
            "persist_us": metrics.persist_ns // 1_000,
            "store_bytes": sum(file.stat().st_size for file in files if file.is_file()),
            "out": _by_type(traffic.frames_out, traffic.bytes_out),
            "in": _by_type(traffic.frames_in, traffic.bytes_in),
            "dropped": traffic.dropped,
        }

    def ready(self) -> dict[str, Any]:
        """What a node that is to be admitted says, signed; null as long as it has no nonce."""
        said, ledger = self._machine.ready(), self._ledger
        return {
            "ready": None if said is None else encode(said).hex(),
            "height": ledger.height,
            "voting": self._machine.engine.status().voting,
        }

    def trace(self, text: str) -> dict[str, Any]:
        """Recorded messages: an overview for nothing, else ``HEIGHT`` or ``HEIGHT/FIRST``."""
        machine, ledger = self._machine, self._ledger
        heights = self._trace.heights
        if not text:
            return {
                "node": self._name,
                "chain_id": machine.genesis.digest.hex(),
                "heights": list(heights),
                "executed": ledger.height,
                "state_root": ledger.state_root.hex(),
            }
        height, _, first = text.partition("/")
        at = [int(part) if part.isdecimal() else -1 for part in (height, first or "0")]
        if at[0] not in heights or at[1] < 0:
            raise LookupError(f"no messages of height {height!r} are recorded, see the view trace")
        rows, following, left_out = self._trace.page(at[0], at[1], self._whose)
        return {"messages": rows, "next": following, "left_out": left_out}

    def _whose(self, number: PeerNumber) -> Who:
        """As the last era that it was in names it."""
        ledger, key = self._ledger, self._machine.roster.key(number)
        if key == self._machine.key:
            return Who(self._name, key)
        name = ledger.validator_name(key) or ledger.former_name(key)
        return Who(name or member_name(ledger, key), key)

    def _standing(self) -> dict[str, Any]:
        """What this node is in the epoch in force, and what an election may change."""
        machine, ledger = self._machine, self._ledger
        own = machine.own
        candidate = next((c for c in ledger.candidates if c.key == machine.key), None)
        role = Role.OBSERVER
        if own is not None:
            role = machine.validators.members[own].role
        elif candidate is not None:
            role = Role.OPERATOR if candidate.operator else Role.DER
        return {
            "role": str(role),
            "candidate": candidate is not None and own is None,
            "epoch_first": machine.term.first,
            "next_election_height": ledger.next_election,
            "punished_until_epoch": ledger.punished_until(machine.key),
        }

    def market(self) -> dict[str, Any]:
        """The market's clock: which slot still takes orders, and its grid prices."""
        calendar = self._ledger.calendar
        unix_ms = now().unix_ms
        now_in_force = calendar.at(max(0, calendar.slot_at(unix_ms)))
        slot = max(0, calendar.slot_at(unix_ms + now_in_force.gate_lead_ms) + 1)
        market = calendar.at(slot)
        tariff = tariff_for(market, slot)
        return {
            "rules": market.rules,
            "currency": market.currency,
            "open_slot": slot,
            "next_slot": max(0, calendar.slot_at(unix_ms) + 1),
            "opens_ms": market.slot_start(slot) - market.open_lead_ms,
            "gate_closure_ms": market.slot_start(slot) - market.gate_lead_ms,
            "start_ms": market.slot_start(slot),
            "slot_ms": market.slot_ms,
            "retail_price_micro": tariff.retail_price,
            "feed_in_price_micro": tariff.feed_in_price,
            "plans": market.stages.plans,
            "settings": settings_view(now_in_force),
            "changes": [
                {"first_slot": first, "rules": settings_view(rules)}
                for first, rules in calendar.changes
                if rules.slot_start(first) > unix_ms
            ],
        }

    def prices(self, text: str) -> list[dict[str, Any]]:
        """Gates and grid prices of some slots, ``FIRST/COUNT``, at most :data:`MOST_SLOTS`."""
        first, _, count = text.partition("/")
        start = _slot(first)
        slots = range(start, min(start + min(_slot(count), MOST_SLOTS), LAST_SLOT))
        calendar = self._ledger.calendar
        rows = []
        for slot in slots:
            market = calendar.at(slot)
            tariff = tariff_for(market, slot)
            minute = market.market_offset_minutes + slot * market.market_slot_minutes
            rows.append(
                {
                    "slot": slot,
                    "opens_ms": market.slot_start(slot) - market.open_lead_ms,
                    "gate_closure_ms": market.slot_start(slot) - market.gate_lead_ms,
                    "start_ms": market.slot_start(slot),
                    "end_ms": market.slot_start(slot) + market.slot_ms,
                    "market_minute": minute % 1_440,
                    "market_slot_minutes": market.market_slot_minutes,
                    "retail_price_micro": tariff.retail_price,
                    "feed_in_price_micro": tariff.feed_in_price,
                }
            )
        return rows

    def settlement(self, text: str) -> dict[str, Any]:
        """A member's settlement of a slot; ``SLOT/MEMBER``."""
        slot, slash, member = text.partition("/")
        if not slash:
            raise LookupError(f"{text!r} is not SLOT/MEMBER")
        return self._ledger.settlement_view(_slot(slot), self._key(member))

    def credit(self, text: str) -> dict[str, Any]:
        """How a member is rated, by name or key."""
        key = self._key(text)
        return credit_view(self._ledger.state, key, member_name(self._ledger, key))

    def parameters(self, text: str) -> dict[str, Any]:
        """Parameters of an account or a meter, by name or key."""
        key = self._key(text)
        return self._ledger.look(lambda ctx, ledger: parameters_view(ctx, ledger, key))

    def account(self, text: str) -> dict[str, Any]:
        """A member's or meter's account, by name or key."""
        return self._account(self._key(text))

    def _key(self, text: str) -> PublicKey:
        if text.startswith(KEY_PREFIX):  # no name has a colon
            with suppress(ValueError):
                return parse_key(text)
        for entry in self._machine.genesis.accounts:
            if entry.name == text:
                return entry.key
        ledger = self._ledger
        for key in ledger.account_keys():
            if member_name(ledger, key) == text:
                return key
        try:
            return parse_key(text)
        except ValueError as err:
            raise LookupError(f"no account {text!r}: neither a member's name nor a key") from err

    def _account(self, key: PublicKey) -> dict[str, Any]:
        nonce = self._ledger.nonce(key)
        if nonce is None:
            raise LookupError(f"no account or meter {key_text(key)} on this chain")
        view = self._ledger.account_view(key)
        waiting = self._machine.mempool.waiting(key)
        return {
            "key": key_text(key),
            "nonce": nonce + waiting,
            "height": self._ledger.height,
            **view,
        }


def _since(first: str, rows: Iterable[H]) -> list[H]:
    """Those from height ``first`` on; all for nothing."""
    if not first:
        return list(rows)
    if not first.isdecimal():
        raise LookupError(f"{first!r} is not a height")
    return [row for row in rows if row.height >= int(first)]


def _by_type(frames: Counter[int], sizes: Counter[int]) -> dict[str, list[int]]:
    """Frames and bytes, by the type's name."""
    names = {int(type_): type_.name.lower() for type_ in Type}
    return {names.get(t, str(t)): [count, sizes[t]] for t, count in sorted(frames.items())}


def _resident_bytes() -> int | None:
    """Resident memory now, where the system says so."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return None
    return int(pages) * resource.getpagesize()


def _day(text: str) -> int:
    if not text.removeprefix("-").isdecimal() or len(text) > 15:
        raise LookupError(f"{text!r} is not a day's number")
    return int(text)


def _slot(text: str) -> Slot:
    if not text.isdecimal() or int(text) > LAST_SLOT:
        raise LookupError(f"{text!r} is not a slot number")
    return int(text)
