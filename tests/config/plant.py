"""Files of a small plant, to be changed one line at a time."""

from __future__ import annotations

import hashlib
from pathlib import Path

from vppd.config.genesis import Genesis
from vppd.config.genesis_file import parse_genesis
from vppd.config.keys import create_key
from vppd.crypto import SigningKey, key_text

NAMES = ("op-0", "der-1", "der-2", "der-3")


def seed(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def public(name: str) -> str:
    return key_text(SigningKey(seed(name)).public_key)


TARIFFS = """
[[market.tariff]]
hours = "23:00-07:00"
retail_price = "0.38"
feed_in_price = "0.24"
[[market.tariff]]
hours = "07:00-23:00"
retail_price = "0.57"
feed_in_price = "0.38"
"""

GENESIS = f"""
schema = 1
chain_id = "test-plant"
[consensus]
engine = "bncm"
[market]
slot_seconds = 900
{TARIFFS}
{
    "".join(
        f'''
[[validator]]
name = "{name}"
role = "{"operator" if name.startswith("op") else "der"}"
id = "{public(name)}"
'''
        for name in NAMES
    )
}
[[account]]
name = "der-1"
balance = "200.00"
[[account]]
name = "shop"
id = "{public("shop")}"
credit = 900000
bus = 3
[[meter]]
id = "{public("meter of der-1")}"
account = "der-1"
import_wh = 12
first_slot = 5
"""


def genesis(text: str = GENESIS) -> Genesis:
    return parse_genesis(text.encode())


def peers_text(text: str = GENESIS) -> str:
    return (
        f'schema = 1\nchain_id = "test-plant"\n'
        f'genesis_sha256 = "{hashlib.sha256(text.encode()).hexdigest()}"\n'
        + "".join(
            f'[[peer]]\nname = "{name}"\nid = "{public(name)}"\naddr = "10.0.0.{i}:7440"\n'
            for i, name in enumerate(NAMES)
        )
    )


def write_home(home: Path, name: str = "der-1") -> Path:
    """A node's folder with the three files that have to be there."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "genesis.toml").write_text(GENESIS)
    (home / "peers.toml").write_text(peers_text())
    create_key(home / "node.key", seed(name))
    return home
