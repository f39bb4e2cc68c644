"""``vppd init``: a node's key, settings and empty store, made together and made once.

A key may vote only beside the record of what it voted before (protocol.md, §4). So an empty store
is created for a key that is as new as the store, and for no other. Where the key has to exist
before the plant does (genesis.toml lists it), a note beside it says that it has never been used;
the note is gone before the store is there.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from vppd.config.genesis import Genesis
from vppd.config.genesis_file import load_genesis, parse_genesis
from vppd.config.keys import create_key, load_key
from vppd.config.node import default_node, load_node, render_node
from vppd.config.peers import add_peer, check_peers, load_peers, with_peer
from vppd.config.toml import read_bytes
from vppd.config.values import parse_address, parse_name
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
    genesis: Annotated[
        Path | None, typer.Option(help="genesis.toml of a plant that runs; it is copied here.")
    ] = None,
    peers: Annotated[
        Path | None, typer.Option(help="peers.toml of that plant; it is copied here.")
    ] = None,
    addr: Annotated[
        str | None,
        typer.Option(help="HOST:PORT where others reach it; goes into the peers.toml here."),
    ] = None,
) -> None:
    """Create what is not there yet; what is there stays."""
    home = home.absolute()
    copies = _copies(home, genesis, peers)
    if addr is not None:
        _rehearse_entry(home, name or home.name, addr, copies)
    if (home / "node.key").exists():
        _write(copies)
        key = load_key(home / "node.key")
        create_waiting_store(home, key)
    else:
        key = found(home, role, name, copies)
    if addr is not None:
        own = load_node(home / "node.toml").name or home.name
        add_peer(home / "peers.toml", own, key_text(key.public_key), addr)
    print(key_text(key.public_key))
    plant = _genesis(home)
    if plant is not None and load_node(home / "node.toml").joins:
        print(
            f"{home}: key, node.toml and an empty store of a node that joins {plant.name}. Next:\n"
            f"a certificate (vppd pki issue, where the plant's CA is), vppd start --home {home},\n"
            f"and, when it has caught up, vppd validator ready --home {home}"
        )
    elif plant is not None:
        print(f"{home}: key, node.toml and an empty store. Next: vppd start --home {home}")
    else:
        print(
            f"{home}: key and node.toml. Next: put the line above into the plant's genesis.toml,\n"
            f"copy genesis.toml and peers.toml here, and run vppd init --home {home} again."
        )


def found(
    home: Path, role: Role | None, name: str | None, copies: Mapping[Path, bytes]
) -> SigningKey:
    """Write node.key and node.toml, and chain.db if genesis.toml is there already.

    A genesis that is older than the key does not list it: the node joins.

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
    genesis = _genesis(home, copies)
    home.mkdir(parents=True, exist_ok=True)
    _write(copies)
    key = create_key(home / "node.key")
    joins = genesis is not None and role is not Role.OBSERVER
    (home / "node.toml").write_text(render_node(role=role, name=name, joins=joins))
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


def _genesis(home: Path, copies: Mapping[Path, bytes] | None = None) -> Genesis | None:
    path = home / "genesis.toml"
    if copies and path in copies:
        return parse_genesis(copies[path], path)
    return load_genesis(path) if path.exists() else None


def _copies(home: Path, genesis: Path | None, peers: Path | None) -> dict[Path, bytes]:
    """What to write into the folder, read and checked before anything is written.

    Raises:
        ConfigError: E100…E113, a file is missing or wrong, or they do not belong together.
        UserError: E371, the folder has another file of that name.
    """
    copies = {}
    for name, source in (("genesis.toml", genesis), ("peers.toml", peers)):
        if source is None:
            continue
        data, target = read_bytes(source, hint="--genesis and --peers name files"), home / name
        if target.exists() and target.read_bytes() != data:
            raise UserError(
                "E371",
                f"the folder has another {name}, and nothing is ever overwritten",
                facts={"file": str(target), "given": str(source)},
                hint=f"leave out --{name.removesuffix('.toml')}, or use a new folder",
            )
        copies[target] = data
    plant = None if genesis is None else load_genesis(genesis)
    addresses = None if peers is None else load_peers(peers)
    if plant is not None and addresses is not None and peers is not None:
        check_peers(addresses, plant, peers)
    return copies


def _rehearse_entry(home: Path, name: str, addr: str, copies: Mapping[Path, bytes]) -> None:
    """Whether peers.toml takes such an entry, before there is a key.

    Raises:
        UserError: E119, no address, or no peers.toml.
        ConfigError: E101…E108, the name or the address is taken.
    """
    try:
        parse_address(addr)
    except ValueError as err:
        raise _usage(f"--addr {addr}: {err}") from err
    path = home / "peers.toml"
    if path not in copies and not path.exists():
        raise _usage("--addr goes into peers.toml, and there is none", hint="--peers names it, too")
    some_key = key_text(SigningKey(secrets.token_bytes(32)).public_key)
    with_peer(copies.get(path) or path.read_bytes(), path, name, some_key, addr)


def _write(copies: Mapping[Path, bytes]) -> None:
    for target, data in copies.items():
        if not target.exists():
            target.write_bytes(data)


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
