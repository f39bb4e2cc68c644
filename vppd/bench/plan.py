"""What a run does, and the words in which people say it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from vppd.bench.cores import UNSAFE, Core, names
from vppd.config.genesis import ConsensusRules, Engine, PathSetting
from vppd.config.node import Synchronous, Transport
from vppd.errors import Exit, UserError
from vppd.types import Ppm, ReplicaIndex

Arrival = Literal["poisson", "constant"]
Target = Literal["all", "leader"]
Ledger = Literal["market", "null"]
Fail = tuple[tuple[ReplicaIndex, Ppm], ...]
Kill = tuple[tuple[ReplicaIndex, float], ...]

LEAST_WARM_UP_S = 1.0
MOST_ROWS = 20_000_000
"""Transactions of one run, made before it begins."""
MOST_SECONDS = 3_600
MOST_ORDERS = 1_024
"""Of one sender for one slot, in a plant of the bench."""
OPEN_SLOTS = 90
"""Of such a plant, open during a whole run."""
CLOSED_SUPPLY_PER_S = 1_000
"""Of a closed loop, made ahead per outstanding transaction and second …"""
MOST_CLOSED_SUPPLY_PER_S = 20_000
"""… and in all, where ``--rate`` does not say how many."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Every parameter of a run."""

    engine: Engine = ConsensusRules().engine
    path: PathSetting = "auto"
    core: Core = "shipped"
    """What runs on a chain of that engine and path: it, or what a paper has published."""
    nodes: int = 4
    ledger: Ledger = "market"
    unsigned: bool = False
    """Transactions without a signature; null ledger only."""
    ops: int = 1
    """Operations in one transaction."""
    bytes: int | None = None
    """Of one transaction on the wire, in the null ledger; ``None``: what its operations take."""
    rate: float | None = 500.0
    """Transactions per second, of all clients; ``None``: a closed loop's own pace."""
    arrival: Arrival = "poisson"
    closed: int | None = None
    """Outstanding transactions of a closed loop, of all clients; ``None``: open loop."""
    clients: int = 2
    """Load processes; each talks to one node."""
    accounts: int = 128
    """Senders; each keeps to one client."""
    duration_s: float = 10.0
    """Measured."""
    warm_up_s: float = 2.0
    """Before that, under the same load."""
    grace_s: float = 5.0
    """After that, for what is still under way."""
    runs: int = 1
    sync: Synchronous = "full"
    transport: Transport = "tls"
    """Between nodes; plain on loopback only."""
    entry: Literal["socket", "port"] = "socket"
    """Where clients connect: a node's Unix socket, or its port in the plant's transport."""
    to: Target = "all"
    """Nodes that the clients are dealt to."""
    seed: int = 1
    fail: Fail = ()
    """Nodes whose link fails in such a share of the heights."""
    delay_us: int = 0
    """One way, of every frame between nodes."""
    kill: Kill = ()
    """Nodes that die so many seconds after the load has begun; started again after two."""
    peers: str | None = None
    """peers.toml of a plant that runs; ``None``: one is started."""
    keys: str | None = None
    """Folder of keys for it."""
    inventory: str | None = None
    """Machines on which it runs, a node on each; ``None``: on this one."""

    @property
    def total_s(self) -> float:
        """For how long transactions are sent."""
        return self.warm_up_s + self.duration_s

    @property
    def supply_per_s(self) -> float:
        """Transactions made beforehand per second of the run."""
        if self.rate is not None:
            return self.rate
        outstanding = self.closed or 0
        return min(outstanding * CLOSED_SUPPLY_PER_S, MOST_CLOSED_SUPPLY_PER_S)

    @property
    def unsafe(self) -> bool:
        """Whether its nodes may decide different blocks without anybody's fault."""
        return self.core in UNSAFE

    @property
    def loop(self) -> str:
        """Open or closed, in words for every output."""
        return "open loop" if self.closed is None else f"closed loop, {self.closed} outstanding"


def has_orders(plan: Plan) -> bool:
    """Whether the market's slots have room for so many orders, all of them open during the run."""
    per_sender = plan.supply_per_s * plan.total_s * plan.ops / plan.accounts
    return plan.ledger == "market" and per_sender < MOST_ORDERS * OPEN_SLOTS


def load_of(plan: Plan) -> str:
    """What the transactions are, in words."""
    if plan.ledger == "null":
        return "opaque"
    if plan.peers is not None:
        return "orders, or transfers where its slots have no room"
    return "orders and readings" if has_orders(plan) else "transfers"


def check(plan: Plan) -> None:
    """Refuse numbers that make no run.

    Raises:
        UserError: E431, for what contradicts itself.
    """
    numbers = (
        ("--rate", plan.rate), ("--duration", plan.duration_s), ("--warm-up", plan.warm_up_s),
        ("--grace", plan.grace_s),
    )  # fmt: skip
    for name, number in numbers:
        if number is not None and not isfinite(number):
            raise _no_run(plan, f"{name} {number} is no number of anything")
    total = plan.supply_per_s * plan.total_s
    rules = ConsensusRules()
    late = [at_s for _, at_s in plan.kill if at_s >= plan.total_s]
    positive = (
        ("--rate", plan.rate), ("--duration", plan.duration_s), ("--nodes", plan.nodes),
        ("--clients", plan.clients), ("--runs", plan.runs), ("--ops", plan.ops),
        ("--closed", plan.closed), ("--accounts", plan.accounts), ("--bytes", plan.bytes),
    )  # fmt: skip
    for wrong, why in (
        *((value is not None and value <= 0, f"{name} is above zero") for name, value in positive),
        (plan.total_s > MOST_SECONDS, f"--warm-up and --duration are at most {MOST_SECONDS} s"),
        (plan.warm_up_s < 0 or plan.grace_s < 0, "--warm-up and --grace are not below zero"),
        (plan.grace_s > MOST_SECONDS, f"--grace is at most {MOST_SECONDS} s"),
        (bool(late), f"--kill at {max(late, default=0):g} s: the load ends after "
         f"{plan.total_s:g} s"),
        (plan.peers is None and plan.ops > rules.max_tx_ops,
         f"a transaction has at most {rules.max_tx_ops} operations"),
        (plan.bytes is not None and plan.bytes > rules.max_tx_bytes,
         f"a transaction has at most {rules.max_tx_bytes} bytes"),
        (plan.accounts < plan.clients, f"{plan.clients} clients need as many accounts"),
        (plan.unsigned and plan.ledger != "null", "--unsigned is of --ledger null"),
        (plan.bytes is not None and plan.ledger != "null", "--bytes is of --ledger null"),
        (plan.closed is not None and plan.closed < plan.clients,
         f"{plan.clients} clients with {plan.closed} transactions outstanding in all"),
        (total > MOST_ROWS, f"{total:.0f} transactions are more than are made beforehand"),
        ((plan.peers is None) != (plan.keys is None), "--peers and --keys go together"),
        (plan.peers is not None and bool(plan.fail or plan.kill or plan.delay_us),
         "faults are for a plant that the bench has started, not for --peers"),
        (plan.inventory is not None and plan.sync == "off",
         "--sync off is for plants of this machine alone"),
        (plan.peers is not None and plan.core != "shipped",
         "what a paper has published runs in plants of the bench alone, not with --peers"),
    ):  # fmt: skip
        if wrong:
            raise _no_run(plan, why)


def _no_run(plan: Plan, why: str) -> UserError:
    return UserError(
        "E431",
        f"no run: {why}",
        hint=f"vppd bench {'run' if plan.inventory is None else 'remote'} --help",
        exit_code=Exit.USAGE,
    )


def check_limit(plan: Plan, p99_ms: float) -> None:
    """Refuse a latency that nothing can keep within.

    Raises:
        UserError: E431.
    """
    if not (isfinite(p99_ms) and p99_ms > 0):
        raise _no_run(plan, f"--limit {p99_ms:g} is no latency above zero")


def check_disk(folder: Path) -> Path:
    """Where the plant's files are to lie meanwhile.

    Raises:
        UserError: E431, nothing can be written there.
    """
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(
            "E431",
            f"no run: --disk {folder} is no folder that can be written to",
            hint="vppd bench run --help",
            exit_code=Exit.USAGE,
        )
    return folder


def parse_kill_at(texts: Sequence[str], names: Sequence[str]) -> Kill:
    """``der-2@10s`` or ``2@10s``; each item may hold several, comma-separated.

    Raises:
        UserError: E433.
    """
    times: dict[ReplicaIndex, float] = {}
    for word in (word.strip() for text in texts for word in text.split(",")):
        name, _, text = word.partition("@")
        index = int(name) if name.isascii() and name.isdecimal() else None
        node = names.index(name) if name in names else index
        at_s = re.fullmatch(r"(\d+(?:\.\d+)?)s", text, re.ASCII)
        if node is None or node >= len(names) or at_s is None or node in times:
            why = (
                f"{name!r} is none of the {len(names)} nodes"
                if node is None or node >= len(names)
                else f"{text!r} is no time"
                if at_s is None
                else f"{name!r} is killed already"
            )
            raise UserError(
                "E433",
                f"--kill {word!r}: {why}",
                hint=f"--kill {names[-1]}@10s: ten seconds after the load has begun",
                exit_code=Exit.USAGE,
            )
        times[node] = float(at_s[1])
    return tuple(times.items())


# ---------------------------------------------------------------- how it is written down

_FLAGS = {
    "engine": "--engine", "path": "--path", "nodes": "-n", "ledger": "--ledger", "ops": "--ops",
    "bytes": "--bytes", "rate": "--rate", "arrival": "--arrival", "closed": "--closed",
    "clients": "--clients", "accounts": "--accounts", "duration_s": "--duration",
    "warm_up_s": "--warm-up", "grace_s": "--grace", "runs": "--runs", "sync": "--sync",
    "transport": "--transport", "entry": "--entry", "to": "--to", "seed": "--seed",
    "peers": "--peers", "keys": "--keys",
}  # fmt: skip


def command(plan: Plan, verb: Sequence[str] = ("run",), usual: Plan | None = None) -> str:
    """The command that does this again; what is as by default is left out.

    Args:
        plan: of the run.
        verb: after ``vppd bench``, with options that no plan has.
        usual: what that command does by default; ``None``: a plan that nobody changed.
    """
    usual = usual or Plan()
    usual = replace(usual, rate=None) if plan.closed is not None else usual
    words = ["vppd", "bench", *verb]
    said = names(plan.core, plan.engine, plan.path)
    words += [plan.inventory] if plan.inventory is not None else []
    implied = {"path"} if plan.core == "published" else set()
    implied |= {"nodes"} if plan.inventory is not None else set()
    for field, flag in _FLAGS.items():
        value = getattr(said if field in ("engine", "path") else plan, field)
        if field in implied:
            continue
        if value != getattr(usual, field):
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    words += ["--finality", said.finality] if plan.core == "majority" else []
    words += ["--unsafe"] if plan.unsafe else []
    words += ["--unsigned"] if plan.unsigned else []
    words += [w for node, share in plan.fail for w in ("--fail", f"{node}={share / 10_000:g}%")]
    words += [w for node, at_s in plan.kill for w in ("--kill", f"{node}@{at_s:g}s")]
    words += ["--delay", f"{plan.delay_us}us"] if plan.delay_us else []
    return shlex.join(words)


def line(plan: Plan) -> str:
    """Every effective parameter, on one line."""
    shown = msgspec.to_builtins(plan)
    shown |= {"rate": plan.rate if plan.rate is not None else "own pace", "loop": plan.loop}
    shown |= {"sync": plan.sync if plan.peers is None else "unknown"}
    shown |= {"load": load_of(plan), "bytes": plan.bytes or "as they come"}
    return " ".join(f"{name}={_word(value)}" for name, value in shown.items())


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join("@".join(map(str, pair)) for pair in value) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    text = "none" if value is None else str(value)
    return repr(text) if " " in text else text


def write_plan(path: Path, plan: Plan, load: str, words: str) -> None:
    """run.toml: every parameter, and the command that reproduces it."""
    lines = [f"command = {_toml(words)}", f"load = {_toml(load)}", "", "[plan]"]
    lines += _plan_lines(plan)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _plan_lines(plan: Plan) -> Iterator[str]:
    for name, value in msgspec.to_builtins(plan).items():
        if value is not None:
            yield f"{name} = {_toml(value)}"


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return msgspec.json.encode(value).decode()  # a basic string escapes as JSON does
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value)
