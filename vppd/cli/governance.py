"""Proposals of changes: sent by a member, followed to their outcome, put into words."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import typer

from vppd.cli.online import account_of, genesis_of, node_config, submit, with_client
from vppd.cli.output import Output, print_json
from vppd.client.client import Client
from vppd.client.render import render_receipt
from vppd.codec import Decoder
from vppd.config.founding import SETTABLE
from vppd.config.keys import load_key
from vppd.crypto import parse_key
from vppd.errors import Exit, UserError
from vppd.ledger.changes import Change, Configure, SetEngine, SetNumber
from vppd.ledger.codes import Status
from vppd.ledger.events import Approved, RulesScheduled
from vppd.ledger.governance import AUTHORITY_MISSING, OPERATOR_MISSING
from vppd.ledger.member_events import DutyChanged, Intervened
from vppd.ledger.receipts import decode_receipt
from vppd.ledger.registration.records import Duty
from vppd.ledger.transaction import Op, make_transaction
from vppd.net.frames import NEWEST_WIRE
from vppd.net.requests import TxStage, TxState
from vppd.types import Digest, PublicKey

LIFETIME_BLOCKS = 1_000
DELAY = 2
"""What block n decides holds from height n + 2 on."""
UNSET = "unset"
QUORUM_NUMBERS = ("f", "p")
"""May be unset again: as if genesis had left them out."""
_SHORT = 8
_DUTIES = {duty.value: duty.name.lower() for duty in Duty}
_TOWARDS = {"Grant": "to", "Revoke": "from"}

decode_configure = Decoder(Configure)
Document = dict[str, Any]
"""The view ``validators`` (docs/clients.md)."""


class Sent(NamedTuple):
    """A decided transaction and the plant after it."""

    tx_id: Digest
    state: TxState
    validators: Document


def latest_era(view: Document) -> Document:
    """The last era that is decided: in force, or scheduled."""
    era: Document = view["scheduled"] or view["era"]
    return era


def send_op(home: Path, key: Path | None, choose: Callable[[Document], Op]) -> Sent:
    """Sign an operation with a member's key, send it, and wait until it is decided.

    Args:
        home: a running node's.
        key: the member's; ``None``: the node's own.
        choose: makes the operation from the view ``validators``.

    Raises:
        UserError: E350 … E358, the node does not take it; E376, a peer could not read it; E395, the
            key is nobody's; what ``choose`` raises.
    """
    genesis = genesis_of(home)
    signer = load_key(key or node_config(home).key_file)

    async def work(client: Client) -> Sent:
        op = choose(await client.view("validators"))
        require_wire(await client.view("status"))
        account = await account_of(client, signer.public_key)
        expiry = account["height"] + LIFETIME_BLOCKS
        raw = make_transaction(signer, genesis.digest, account["nonce"], expiry, (op,))
        tx_id = await submit(client, raw)
        state = await client.wait(tx_id, raw)
        return Sent(tx_id, state, await client.view("validators"))

    return with_client(home, work)


def propose(home: Path, key: Path | None, changes: Callable[[Document], Iterable[Change]]) -> Sent:
    """Send a proposal made for the latest era; the same again is an approval."""
    return send_op(
        home,
        key,
        lambda view: Configure(latest_era(view)["epoch"], tuple(changes(view))),
    )


def require_wire(status: Document) -> None:
    """The release before cannot read a block with such an operation, and would stop at it.

    Raises:
        UserError: E376.
    """
    old = [p["name"] for p in status["peers"] if (p["wire"] or NEWEST_WIRE) < NEWEST_WIRE]
    if old:
        raise UserError(
            "E376",
            "not every node speaks this release's wire version yet",
            facts={"version": f"{NEWEST_WIRE}", "older": ", ".join(old)},
            hint="upgrade these first, and take wire = 2 out of their node.toml:\n"
            "the release before cannot read a block that changes members or rules",
        )


# ---------------------------------------------------------------- what came of it


def outcome(sent: Sent) -> Document:
    """What has become of a proposal, and what happens next."""
    fact: Document = {"hash": sent.tx_id.hex(), "height": sent.state.height}
    if sent.state.stage != TxStage.COMMITTED:
        return fact | {"status": "dropped", "next": "it was not decided: send it again"}
    receipt = decode_receipt(sent.state.receipt)
    if receipt.status != Status.OK:
        shown = render_receipt(sent.state.receipt)
        del shown["events"]
        return fact | shown | {"next": shown["try"]}
    fact["status"] = "ok"
    said = next((event for event in receipt.events if isinstance(event, Approved)), None)
    if said is None:
        return fact | {"next": "it counts from the next election on"}
    fact |= {
        "proposal": said.proposal.hex(),
        "approvals": said.approvals,
        "needed": said.needed,
        "authority_missing": bool(said.authority & AUTHORITY_MISSING),
        "operator_missing": bool(said.authority & OPERATOR_MISSING),
    }
    slots = [event.first_slot for event in receipt.events if isinstance(event, RulesScheduled)]
    acts = [event for event in receipt.events if isinstance(event, DutyChanged | Intervened)]
    if acts:
        return fact | {"next": "done: it holds from this block on"}
    if slots:
        return fact | {"first_slot": slots[0], "next": f"in force from slot {slots[0]} on"}
    return fact | _next(said, sent)


def _next(said: Approved, sent: Sent) -> Document:
    first = sent.state.height + DELAY
    short = said.proposal.hex()[:_SHORT]
    counted = f"{said.approvals} of {said.needed} approvals"
    missing = max(0, said.needed - said.approvals)
    if missing or said.authority:
        wanted = [f"{missing} more"] if missing else []
        wanted += ["a registration authority's"] if said.authority & AUTHORITY_MISSING else []
        wanted += ["an operator's"] if said.authority & OPERATOR_MISSING else []
        who = " and ".join(wanted)
        return {"next": f"{counted}: needs {who}: vppd validator approve {short}"}
    view = sent.validators
    if any(era and era["first"] == first for era in (view["era"], view["scheduled"])):
        return {"first_height": first, "next": f"{counted}: takes effect at height {first}"}
    return {"next": f"{counted}: done; who votes is for the next election to say"}


def print_outcome(fact: Document, output: Output) -> None:
    """Print it; exit code 1 if the chain did not do it."""
    if output is Output.JSON:
        print_json(fact)
    elif fact["status"] == "ok":
        print(fact["next"])
    else:
        print("\n".join(f"{name:<8}  {value}" for name, value in fact.items() if name != "next"))
    if fact["status"] != "ok":
        raise typer.Exit(Exit.FAILED)


# ---------------------------------------------------------------- names, proposals, settings


def find(view: Document, who: str) -> tuple[PublicKey, Document]:
    """A validator or candidate, by name or key.

    Raises:
        UserError: E373, there is none.
    """
    rows = [*latest_era(view)["members"], *view["candidates"]]
    for row in rows:
        if who in (row["name"], row["key"]):
            return parse_key(row["key"]), row
    names = sorted({row["name"] for row in rows})
    close = difflib.get_close_matches(who, names, n=1)
    raise UserError(
        "E373",
        f"no validator or candidate is called {who}",
        facts={"there are": ", ".join(names)},
        hint=f"did you mean {close[0]}?" if close else "vppd validator list shows names and keys",
        exit_code=Exit.USAGE,
    )


def find_proposal(view: Document, prefix: str | None) -> Configure:
    """A proposal that waits for approvals; without a prefix the only one.

    Raises:
        UserError: E375, none fits, or several do.
    """
    waiting: list[Document] = view["proposals"]
    fitting = [p for p in waiting if p["proposal"].startswith((prefix or "").lower())]
    if len(fitting) != 1:
        ids = ", ".join(p["proposal"][:_SHORT] for p in waiting)
        what = "several proposals" if fitting else "no proposal"
        fits = f" begin with {prefix}" if prefix else " wait for approvals"
        raise UserError(
            "E375",
            what + (fits if fitting else fits.replace("begin", "begins").replace("wait", "waits")),
            facts={"waiting": ids or "none"},
            hint="vppd validator list shows what each would change",
            exit_code=Exit.USAGE,
        )
    return decode_configure(bytes.fromhex(fitting[0]["op"]))


def parse_settings(words: Sequence[str]) -> tuple[Change, ...]:
    """``name=value`` pairs as changes.

    Raises:
        UserError: E374, a name or a value that cannot be set.
    """
    known = ("engine", *QUORUM_NUMBERS, *SETTABLE)
    changes: list[Change] = []
    for word in words:
        name, given, value = word.partition("=")
        if not given or name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else "NAME=VALUE, with " + ", ".join(known)
            raise _unsettable(word, "no such setting" if given else "it has no value", hint)
        if name == "engine":
            changes.append(SetEngine(value))
        elif value == UNSET and name in QUORUM_NUMBERS:
            changes.append(SetNumber(name, None))
        elif value.isascii() and value.isdecimal() and int(value) < 2**63:
            changes.append(SetNumber(name, int(value)))
        else:
            also = f", or {UNSET}" if name in QUORUM_NUMBERS else ""
            raise _unsettable(word, f"{value!r} is no number of 0 or more{also}", f"{name}=3")
    return tuple(changes)


def _unsettable(word: str, why: str, hint: str) -> UserError:
    return UserError(
        "E374",
        "this cannot be set",
        facts={"given": word, "why": why},
        hint=hint,
        exit_code=Exit.USAGE,
    )


def names_in(view: Document, people: Iterable[Document]) -> dict[str, str]:
    """Names of validators, candidates and members by their keys."""
    eras = [era for era in (view["era"], view["scheduled"]) if era is not None]
    rows = [*people, *view["candidates"], *(row for era in eras for row in era["members"])]
    return {row["key"]: row["name"] for row in rows if row["name"]}


def text_of(change: Document, names: Mapping[str, str]) -> str:
    """A change of a proposal in words.

    Args:
        change: as the view says it.
        names: by key (:func:`names_in`); who has none is shown by its key.
    """
    key = str(change.get("account", change.get("key", change.get("old"))))
    who = names.get(key, key)
    text, reason = _plain_text(change, who), change.get("reason")
    return f"{text}: {reason}" if reason else text


def _plain_text(change: Document, who: str) -> str:
    match change:
        case {"kind": "Add", "key": key, "name": name, "operator": operator, "addr": addr}:
            role = "operator" if operator else "der"
            return " ".join(filter(None, ("add", name, f"as {role}", addr, key)))
        case {"kind": "Remove"}:
            return f"remove {who}"
        case {"kind": "Rekey", "new": new, "addr": addr}:
            return f"rekey {who} to {new}" + (f" at {addr}" if addr else "")
        case {"kind": "Readmit"}:
            return f"readmit {who}"
        case {"kind": "Move", "operator": operator}:
            return f"make {who} {'an operator' if operator else 'a der'}"
        case {"kind": "SetNumber", "name": name, "value": value}:
            return f"set {name}={UNSET if value is None else value}"
        case {"kind": "SetEngine", "name": name}:
            return f"set engine={name}"
        case {"kind": "SetMarket", "settings": settings, "first_slot": slot}:
            pairs = " ".join(f"{name}={value}" for name, value in settings)
            return f"set {pairs} from slot {slot}"
        case {"kind": "Grant" | "Revoke" as kind, "duty": duty}:
            return f"{kind.lower()} {_DUTIES.get(duty, duty)} {_TOWARDS[kind]} {who}"
        case {"kind": "Bar", "barred": barred}:
            return f"{'bar' if barred else 'unbar'} {who}"
        case {"kind": "VoidOrders", "slot": slot}:
            return f"void orders of slot {slot}"
        case {"kind": "ReleaseContract", "number": number}:
            return f"release contract {number}"
        case _:  # of a later release
            return " ".join(f"{value}" for value in change.values())
