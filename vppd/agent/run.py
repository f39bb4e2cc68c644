"""``vppd agent run``: the loop beside a daemon. Everything it knows of the market its node says.

For every slot in turn: plan as soon as the one before has closed its gate, send the orders before
this gate closes, and, where the agent also plays the site's meter, sign the reading as the slot
ends. An agent that starts again finds its own orders at its node and sends none twice.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from vppd.agent.line import Line, Wallet, unix_ms
from vppd.agent.member import Decision, Member
from vppd.agent.site import Clock
from vppd.client.client import Client
from vppd.config.genesis import Genesis
from vppd.config.toml import replace_file
from vppd.crypto import SigningKey, key_text
from vppd.errors import Exit, UserError
from vppd.ledger.codes import ErrorCode, Status
from vppd.ledger.plan_ops import MOST_AT_ONCE, Plan, RegisterResource
from vppd.ledger.receipts import Receipt
from vppd.ledger.resources import ResourceKind
from vppd.ledger.transaction import Op, PlaceOrder, Reading
from vppd.market.quotes import STRATEGIES, Prices, Strategy
from vppd.types import PublicKey, Slot, TimeMs, Wh

HORIZON_SLOTS = 96
"""Planned ahead, at most."""
STATE_FILE = "agent.json"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent runs."""

    home: Path
    """Its node's folder; where it remembers its stores."""
    socket: Path
    """Its node's."""
    genesis: Genesis
    key: SigningKey
    """The member's."""
    meter: SigningKey | None = None
    """Its meter's, if the agent plays the meter too."""
    slots: int | None = None
    """How many slots to play; ``None``: until told to stop."""
    horizon: int = HORIZON_SLOTS
    plan: bool = False
    """Put plans on chain also where the market does not require them."""


class _Gate(msgspec.Struct, frozen=True):
    """A row of the view ``prices``."""

    slot: Slot
    opens_ms: TimeMs
    gate_closure_ms: TimeMs
    start_ms: TimeMs
    end_ms: TimeMs
    market_minute: int
    market_slot_minutes: int
    retail_price_micro: int
    feed_in_price_micro: int

    @property
    def clock(self) -> Clock:
        """By which this slot starts when it does."""
        minutes = self.market_slot_minutes
        return Clock(self.market_minute - self.slot * minutes, minutes)


class Agent:
    """One member's agent on its node.

    Args:
        options: where and how long.
        member: decides.
        say: told a row for each slot, once its orders are in.
    """

    def __init__(
        self, options: Options, member: Member, say: Callable[[dict[str, Any]], None]
    ) -> None:
        self._options = options
        self._member = member
        self._say = say
        self._line = Line(options.socket)
        digest = options.genesis.digest
        self._wallet = Wallet(self._line, options.key, digest)
        self._meter: Wallet | None = None
        if options.meter is not None:
            self._meter = Wallet(self._line, options.meter, digest)

    async def run(self) -> None:
        """Until the last slot is done.

        Raises:
            UserError: E554 or E555, nothing plans; E557, the chain does not know the key.
        """
        try:
            account = await self._account(self._options.key.public_key, "account")
            if self._options.meter is not None:
                await self._account(self._options.meter.public_key, "meter")
            async with asyncio.TaskGroup() as group:
                await self._trade(account, group)
        except* UserError as errors:
            raise _first(errors) from errors
        finally:
            await self._line.close()

    async def _trade(self, account: dict[str, Any], group: asyncio.TaskGroup) -> None:
        market = await self._line.call(partial(_view, "market"))
        late_ms = market["gate_closure_ms"] - market["slot_ms"] // 3
        slot: Slot = market["open_slot"] + (unix_ms() > late_ms)
        registered = False
        reporter: asyncio.Task[None] | None = None
        done = 0
        while self._options.slots is None or done < self._options.slots:
            gates = await self._gates(slot)
            gate = gates[0]
            await _sleep_until(gate.opens_ms)
            prices = [Prices(g.retail_price_micro, g.feed_in_price_micro) for g in gates]
            planning = self._options.plan or await self._line.call(_plans_required)
            if planning and not registered:
                await self._register(gate)
                registered = True
            decision = self._member.decide(gate.clock, slot, prices)
            self._remember()
            refusal = await self._publish(gates, decision) if planning else None
            said = await self._order(account, gate, decision)
            self._say(_row(gate, decision, f"plan {refusal}, {said}" if refusal else said))
            if self._meter is not None:
                reporter = group.create_task(self._report(gate, reporter))
            await _sleep_until(gate.gate_closure_ms)
            slot, done = slot + 1, done + 1

    async def _gates(self, slot: Slot) -> list[_Gate]:
        rows = await self._line.call(partial(_view, "prices", f"{slot}/{self._options.horizon}"))
        return msgspec.convert(rows, list[_Gate])

    async def _register(self, gate: _Gate) -> None:
        """Say what batteries there are; as an earlier run said it, while plans of that stand."""
        for number, spec in enumerate(self._member.site.batteries, start=1):
            op = RegisterResource(
                number,
                ResourceKind.BATTERY,
                spec.max_import_w,
                spec.max_export_w,
                spec.capacity_wh,
                self._member.levels.get(spec.name, spec.level_wh),
                spec.import_efficiency_ppm,
                spec.export_efficiency_ppm,
            )
            await self._wallet.send(op, deadline_ms=gate.gate_closure_ms)

    async def _publish(self, gates: Sequence[_Gate], decision: Decision) -> str | None:
        """The member's plan of every slot that is open, and its batteries' of the next one.

        Returns:
            Why a plan was refused, for people.
        """
        now_ms = unix_ms()
        flows = [
            flow
            for gate, flow in zip(gates, decision.ahead, strict=True)
            if gate.opens_ms <= now_ms
        ][:MOST_AT_ONCE] or [decision.flow]
        ops: list[Op] = [
            Plan(
                0,
                decision.slot,
                tuple(flow.import_wh for flow in flows),
                tuple(flow.export_wh for flow in flows),
            )
        ]
        moved = dict(decision.flows)
        for number, spec in enumerate(self._member.site.batteries, start=1):
            flow = moved[spec.name]
            ops.append(Plan(number, decision.slot, (flow.import_wh,), (flow.export_wh,)))
        receipt = await self._wallet.send(*ops, deadline_ms=gates[0].gate_closure_ms)
        return None if receipt is not None and receipt.status == Status.OK else _fate(receipt)

    async def _order(self, account: dict[str, Any], gate: _Gate, decision: Decision) -> str:
        """Send what the decision says, before the gate closes.

        Returns:
            What became of it, for people.
        """
        side = decision.side
        if side is None or not decision.quotes:
            return "no orders"
        if await self._line.call(partial(_has_orders, account["name"], gate.slot)):
            return "orders were there already"
        ops: list[Op] = [
            PlaceOrder(gate.slot, side, q.quantity_wh, q.price, q.reserve_price, account["bus"])
            for q in decision.quotes
        ]
        return _fate(await self._wallet.send(*ops, deadline_ms=gate.gate_closure_ms))

    async def _report(self, gate: _Gate, earlier: asyncio.Task[None] | None) -> None:
        """The meter's reading as the slot ends; after those of earlier slots."""
        meter, key = self._meter, self._options.meter
        if meter is None or key is None:
            return
        await _sleep_until(gate.end_ms)
        if earlier is not None:
            await asyncio.wait({earlier})
        flow = self._member.deliver(gate.clock, gate.slot)
        known, imported, exported = await self._registers(key.public_key)
        if known < gate.slot:  # nothing went through while nobody looked
            await meter.send(Reading(gate.slot - 1, imported, exported))
        await meter.send(Reading(gate.slot, imported + flow.import_wh, exported + flow.export_wh))

    async def _registers(self, key: PublicKey) -> tuple[Slot, Wh, Wh]:
        """What the chain knows: first slot not read, and the registers at its start."""
        account = await self._line.call(partial(_view, "account", key_text(key)))
        last = max(account["readings"], key=lambda row: row["slot"], default=None)
        if last is None:
            return account["known_before_slot"], account["import_wh"], account["export_wh"]
        return last["slot"] + 1, last["import_wh"], last["export_wh"]

    async def _account(self, key: PublicKey, kind: str) -> dict[str, Any]:
        """What the chain knows of the account; of a meter, of its owner's.

        Raises:
            UserError: E557.
        """
        accounts: list[dict[str, Any]] = await self._line.call(partial(_view, "accounts"))
        for account in accounts:
            if kind == "account" and account["key"] == key_text(key):
                return account
            if kind == "meter" and key_text(key) in account["meters"]:
                return account
        raise UserError(
            "E557",
            f"the chain knows no {kind} of this key",
            facts={"key": key_text(key), "accounts": str(len(accounts))},
            hint="an agent needs its member's key (and with --deliver its meter's), as in genesis",
        )

    def _remember(self) -> None:
        """Levels of the stores, for an agent that starts again."""
        text = json.dumps({"levels": self._member.levels}, indent=1)
        replace_file(self._options.home / STATE_FILE, text.encode())


def parse_strategy(text: str) -> Strategy:
    """The strategy of that name.

    Raises:
        UserError: E550, there is none.
    """
    for strategy in STRATEGIES:
        if strategy == text:
            return strategy
    raise UserError(
        "E550",
        f"there is no strategy {text!r}",
        facts={"strategies": ", ".join(STRATEGIES)},
        hint="vppd agent run --strategy p3",
        exit_code=Exit.USAGE,
    )


def remembered(home: Path) -> dict[str, Wh]:
    """Levels of the stores as an agent left them; none if it was never here."""
    try:
        found = msgspec.json.decode(
            (home / STATE_FILE).read_bytes(), type=dict[str, dict[str, int]]
        )
    except (OSError, msgspec.DecodeError):
        return {}
    return found.get("levels", {})


async def _view(name: str, *rest: Any) -> Any:
    *argument, client = rest
    return await client.view(name, *argument)


async def _plans_required(client: Client) -> bool:
    return bool((await client.view("market"))["plans"] == "required")


async def _has_orders(name: str, slot: Slot, client: Client) -> bool:
    """Whether orders of that member rest in the slot's book or have been filled."""
    if any(row["agent"] == name for row in await client.view("book", str(slot))):
        return True
    trades = await client.view("trades", str(slot))
    return any(name in (row["seller"], row["buyer"]) for row in trades)


def _fate(receipt: Receipt | None) -> str:
    if receipt is None:
        return "too late"
    if receipt.status == Status.OK:
        return "ordered"
    return f"refused: {ErrorCode(receipt.code).name.lower().replace('_', ' ')}"


def _row(gate: _Gate, decision: Decision, said: str) -> dict[str, Any]:
    side = decision.side
    return {
        "slot": gate.slot,
        "time": f"{gate.market_minute // 60:02d}:{gate.market_minute % 60:02d}",
        "generation_wh": decision.position.generation_wh,
        "load_wh": decision.position.load_wh,
        "stores": {name: flow.net_wh for name, flow in decision.flows},
        "side": None if side is None else side.name.lower(),
        "orders": [
            {"quantity_wh": q.quantity_wh, "price_micro": q.price, "reserve_micro": q.reserve_price}
            for q in decision.quotes
        ],
        "outcome": said,
    }


def _first(group: BaseExceptionGroup[UserError]) -> UserError:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, UserError)  # noqa: S101 - it was caught as one
    return found


async def _sleep_until(when_ms: TimeMs) -> None:
    left_ms = when_ms - unix_ms()
    if left_ms > 0:
        await asyncio.sleep(left_ms / 1_000)
