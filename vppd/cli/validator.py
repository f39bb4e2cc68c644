"""``vppd validator``: who votes, and how a plant that runs changes that (docs/membership.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from vppd.cli.governance import (
    Document,
    find,
    find_proposal,
    names_in,
    outcome,
    parse_settings,
    print_outcome,
    propose,
    send_op,
    text_of,
)
from vppd.cli.online import HomeOption, genesis_of, with_client
from vppd.cli.output import Output, OutputOption, Row, print_json, table
from vppd.cli.token import Token, read_token, write_token
from vppd.client.client import Client, RequestFailed
from vppd.codec import Decoder
from vppd.config.home import load_home
from vppd.errors import UserError
from vppd.ledger.changes import Add, Move, Readmit, Rekey, Remove
from vppd.ledger.proofs import Ready
from vppd.ledger.transaction import Vote
from vppd.types import Role

BEHIND_BLOCKS = 3
"""A node that is so many blocks behind what its peers say has not caught up."""

KeyOption: TypeAlias = Annotated[
    Path | None, typer.Option(help="The key of a member or authority; default: the node's.")
]
WhoArgument: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="Name or key.")]
TokenArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="TOKEN", help="As the new node's `vppd validator ready` printed.")
]
_decode_ready = Decoder(Ready)


def list_validators(home: HomeOption = Path(), output: OutputOption = Output.TABLE) -> None:
    """Print who votes, who may be elected, and what waits for approvals."""

    async def work(client: Client) -> tuple[Document, list[Document]]:
        view: Document = await client.view("validators")
        named = output is Output.TABLE and view["proposals"]
        return view, await client.view("members") if named else []

    view, people = with_client(home, work)
    if output is Output.JSON:
        print_json(view)
    else:
        print("\n".join(_lines(view, names_in(view, people))))


def ready(
    addr: Annotated[
        str | None, typer.Option(help="HOST:PORT where others reach it; default: as peers.toml.")
    ] = None,
    home: HomeOption = Path(),
) -> None:
    """Print the line with which a member can add this node, or let it vote again.

    Raises:
        UserError: E377, it votes already, or has not caught up.
    """
    own = load_home(home)
    entry = own.peers.by_key(own.signer.public_key)

    async def work(client: Client) -> tuple[Document, Document]:
        return await client.view("ready"), await client.view("status")

    try:
        said, status = with_client(home, work)
    except RequestFailed as err:  # a node that still joins answers nothing else
        raise _not_ready(err.what, "when it has caught up: vppd status") from err
    highest = max((p["height"] or 0 for p in status["peers"]), default=0)
    if said["voting"]:
        raise _not_ready("it votes already", "nothing is to be done: vppd validator list")
    if said["ready"] is None:
        raise _not_ready("its memory has no name yet", "again in a moment")
    if said["height"] + BEHIND_BLOCKS <= highest:
        raise _not_ready(
            f"it has executed height {said['height']}, others say {highest}",
            "when it has caught up: vppd status",
        )
    message = _decode_ready(bytes.fromhex(said["ready"]))
    where = addr or (entry.addr if entry is not None else "")
    print(write_token(Token(message, own.name, where, own.role is Role.OPERATOR)))


def add(
    token: TokenArgument,
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Propose a new validator, or approve it."""
    new = read_token(token, genesis_of(home))
    change = Add(new.ready.key, new.name, new.operator, new.addr, new.ready)
    print_outcome(outcome(propose(home, key, lambda _: (change,))), output)


def remove(
    who: WhoArgument,
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Propose to take a validator out, or approve it."""
    print_outcome(outcome(propose(home, key, lambda view: (Remove(find(view, who)[0]),))), output)


def rekey(
    who: WhoArgument,
    token: TokenArgument,
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Propose another key for a validator, or approve it; the old one never votes again."""
    new = read_token(token, genesis_of(home))

    def changes(view: Document) -> tuple[Rekey]:
        return (Rekey(find(view, who)[0], new.ready.key, new.ready, new.addr),)

    print_outcome(outcome(propose(home, key, changes)), output)


def readmit(
    who: WhoArgument,
    token: TokenArgument,
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Propose that a validator which has lost its memory votes again, or approve it."""
    new = read_token(token, genesis_of(home))

    def changes(view: Document) -> tuple[Readmit]:
        found, row = find(view, who)
        if found != new.ready.key:
            raise _wrong_token(row["name"])
        return (Readmit(found, new.ready),)

    print_outcome(outcome(propose(home, key, changes)), output)


def role(
    who: WhoArgument,
    role: Annotated[Role, typer.Argument(metavar="ROLE", help="operator or der.")],
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Propose another role for a validator, or approve it."""
    if role is Role.OBSERVER:
        raise typer.BadParameter("a validator is an operator or a der; vppd validator remove …")

    def changes(view: Document) -> tuple[Move]:
        return (Move(find(view, who)[0], role is Role.OPERATOR),)

    print_outcome(outcome(propose(home, key, changes)), output)


def set_rules(
    settings: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE…", help="f, p, engine, or a number.")
    ],
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Propose other rules, or approve them; all of them take effect together."""
    changes = parse_settings(settings)
    print_outcome(outcome(propose(home, key, lambda _: changes)), output)


def approve(
    proposal: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="How its id begins; default: the only one.")
    ] = None,
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Approve a proposal, word for word."""
    sent = send_op(home, key, lambda view: find_proposal(view, proposal))
    print_outcome(outcome(sent), output)


def vote(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME…]", help="Candidates; none: take it back.")
    ] = None,
    key: KeyOption = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Give this member's composite score to candidates, in engine dpos."""

    def choose(view: Document) -> Vote:
        return Vote(tuple(find(view, name)[0] for name in names or ()))

    print_outcome(outcome(send_op(home, key, choose)), output)


def _not_ready(why: str, hint: str) -> UserError:
    return UserError("E377", "this node does not ask to be admitted", facts={"why": why}, hint=hint)


def _wrong_token(name: str) -> UserError:
    return UserError(
        "E378",
        f"the token is of another key than {name}'s",
        hint=f"a node under a new key: vppd validator rekey {name} TOKEN",
    )


def _lines(view: Document, names: dict[str, str]) -> list[str]:
    """The view as text, what is to be done last."""
    era, coming = view["era"], view["scheduled"]
    lines = [f"epoch {era['epoch']} since height {era['first']}, engine {era['engine']}", ""]
    lines += table(_members(era))
    if coming:
        lines += ["", f"epoch {coming['epoch']} from height {coming['first']} on", ""]
        lines += table(_members(coming))
    if view["candidates"]:
        lines += ["", f"candidates; next election after height {view['next_election_height']}", ""]
        lines += table([_candidate(row, era["epoch"]) for row in view["candidates"]])
    for proposal in view["proposals"]:
        changes = "; ".join(text_of(change, names) for change in proposal["changes"])
        short, more = proposal["proposal"][:8], proposal["needed"] - proposal["approvals"]
        whose = "an operator's" if proposal["operator_missing"] else "an authority's"
        wants = f"needs {more} more" if more > 0 else f"needs {whose} approval"
        lines += [
            "",
            f"proposal {short}: {changes}",
            f"  {proposal['approvals']} of {proposal['needed']} approvals, {wants}: "
            f"vppd validator approve {short}",
        ]
    return lines


def _members(era: Document) -> list[Row]:
    return [
        {
            "index": index,
            "name": member["name"],
            "role": "operator" if member["operator"] else "der",
            "addr": member["addr"] or None,
            "key": member["key"],
        }
        for index, member in enumerate(era["members"])
    ]


def _candidate(row: dict[str, Any], epoch: int) -> Row:
    until = row["punished_until_epoch"]
    return {
        "name": row["name"],
        "produces": "yes" if row["produces"] else "no",
        "ready": "yes" if row["ready"] else "no",
        "score": row["score_ppm"],
        "votes": row["votes_ppm"],
        "punished": None if until is None or until < epoch else f"up to epoch {until}",
        "key": row["key"],
    }
