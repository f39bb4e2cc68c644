"""``vppd init``: a node's key, settings and empty store, made together and made once.

A key may vote only beside the record of what it voted before (protocol.md, §4). So an empty store
is created for a key that is as new as the store, and for no other. Where the key has to exist
before the plant does (genesis.toml lists it), a note beside it says that it has never been used;
the note is gone before the store is there.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from vppd.config.genesis import Genesis
from vppd.config.genesis_file import load_genesis
from vppd.config.keys import create_key, load_key
from vppd.config.node import default_node, render_node
from vppd.config.values import parse_name
from vppd.crypto import SigningKey, key_text
from vppd.errors import Exit, UserError
from vppd.types import Role

UNUSED = "node.unused"
"""The note: this key has never signed; deleted for good when its store is created."""


def init(
    role: Annotated[
        Role | None, typer.Option(help="What the node will be; needed the first time.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call it; the folder's name.")] = None,
    home: Annotated[Path, typer.Option(help="The node's folder.")] = Path(),
) -> None:
    """Create what is not there yet; what is there stays."""
    home = home.absolute()
    if (home / "node.key").exists():
        key = load_key(home / "node.key")
        create_waiting_store(home, key)
    else:
        key = found(home, role, name)
    print(key_text(key.public_key))
    if (home / "chain.db").exists():
        print(f"{home}: key, node.toml and an empty store. Next: vppd start --home {home}")
    else:
        print(
            f"{home}: key and node.toml. Next: put the line above into the plant's genesis.toml,\n"
            f"copy genesis.toml and peers.toml here, and run vppd init --home {home} again."
        )


def found(home: Path, role: Role | None, name: str | None) -> SigningKey:
    """Write node.key and node.toml, and chain.db if genesis.toml is there already.

    Raises:
        UserError: E122, a file of a node is there; E119, role or name missing or odd; E141, the
            folder's path is too long.
    """
    if role is None:
        raise _usage("the role is missing")
    try:
        name = parse_name(home.name if name is None else name)
    except ValueError as err:
        raise _usage(str(err)) from err
    default_node(home)  # a path too long for its socket is said now, not at the first start
    for file in (home / "node.toml", home / "chain.db", home / UNUSED):
        if file.exists():
            raise UserError(
                "E122",
                f"{file.name} is there but node.key is not, and nothing is ever overwritten",
                facts={"file": str(file)},
                hint="restore node.key, or start over in another folder",
            )
    genesis = _genesis(home)
    home.mkdir(parents=True, exist_ok=True)
    key = create_key(home / "node.key")
    (home / "node.toml").write_text(render_node(role=role, name=name))
    if genesis is None:
        (home / UNUSED).write_text(key_text(key.public_key) + "\n")
    else:
        _create_store(home, genesis)
    return key


def create_waiting_store(home: Path, key: SigningKey) -> None:
    """Create chain.db for a key that has never been used.

    Raises:
        UserError: E123, the key may have signed; E119, genesis.toml is still missing.
    """
    note = home / UNUSED
    if not note.exists() or note.read_text().strip() != key_text(key.public_key):
        raise UserError(
            "E123",
            "there is a node here already, and nothing of it is ever overwritten",
            facts={"key": f"{key_text(key.public_key)}  ({home / 'node.key'})"},
            hint="vppd start runs it; a lost chain.db is not replaced by an empty one, since the"
            "\nkey could then sign against its own earlier votes: use a new folder and a new key",
        )
    genesis = _genesis(home)
    if genesis is None:
        raise _usage(
            "the key is there and waits for the plant's genesis.toml",
            hint=f"copy genesis.toml and peers.toml to {home}, then vppd init again",
        )
    # In this order: a crash in between costs a key that nobody has used, the other way round it
    # would leave a note that could bless an empty store later.
    note.unlink()
    folder = os.open(home, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    _create_store(home, genesis)


def _genesis(home: Path) -> Genesis | None:
    path = home / "genesis.toml"
    return load_genesis(path) if path.exists() else None


def _create_store(home: Path, genesis: Genesis) -> None:
    from vppd.store.chain import ChainStore

    async def create() -> None:
        await ChainStore.create(home / "chain.db", genesis.digest)

    asyncio.run(create())


def _usage(why: str, *, hint: str = "vppd init --role der --name der-4") -> UserError:
    return UserError(
        "E119",
        "a node cannot be created like this",
        facts={"why": why},
        hint=hint,
        exit_code=Exit.USAGE,
    )
