"""``INVENTORY.toml``: the machines a plant is to be measured on.

::

    schema = 1
    [[host]]
    name = "pi-1"                    # what reports call it
    address = "192.168.10.2"         # for SSH, and for the plant unless it says otherwise
    plant_address = "10.0.0.2"       # where the other hosts reach its node
    port = 22
    user = "pi"
    key = "~/.ssh/id_ed25519"        # default: the agent's and the usual files
    known_hosts = "~/.ssh/known_hosts"
    python = "python3"               # 3.11 or newer; may be a path
    folder = "/var/tmp"              # on the disk that is measured; default: as for temporary files
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec

from vppd.config.toml import convert, parse, read_bytes
from vppd.errors import ConfigError


class Host(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One machine."""

    name: str
    address: str
    plant_address: str = ""
    port: int = 22
    user: str = ""
    """Empty: whoever runs this."""
    key: str = ""
    known_hosts: str = "~/.ssh/known_hosts"
    """A host that is not in it is not connected to."""
    python: str = "python3"
    folder: str = ""
    """Everything lies in a fresh folder in it meanwhile."""

    @property
    def node_address(self) -> str:
        """Where the plant's other nodes reach it."""
        return self.plant_address or self.address


class Inventory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    schema: int
    host: tuple[Host, ...]


def read_inventory(path: Path) -> Inventory:
    """The machines of a file, paths made absolute.

    Raises:
        ConfigError: E100…E105, not such a file; E454, hosts that make no plant.
    """
    data = read_bytes(path, hint="docs/pi.md shows one")
    inventory = convert(parse(data, path), Inventory, path)
    counted = Counter(host.name for host in inventory.host)
    twice = [name for name, count in counted.items() if count > 1]
    keys = [Path(host.key).expanduser() for host in inventory.host if host.key]
    missing = [str(key) for key in keys if not key.is_file()]
    for wrong, why in (
        (not inventory.host, "it lists no host"),
        (bool(twice), f"two hosts are called {', '.join(twice)}"),
        (bool(missing), f"there is no key file {', '.join(missing)}"),
        (
            any(not h.name or not set(h.name) <= _NAME for h in inventory.host),
            "a host's name is made of letters, digits, dots, dashes and underscores",
        ),
    ):
        if wrong:
            raise ConfigError(
                "E454",
                "the inventory cannot be used",
                facts={"file": str(path), "why": why},
                hint="docs/pi.md shows one",
            )
    return inventory


_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
