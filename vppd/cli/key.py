"""``vppd key``: secret keys of nodes and meters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vppd.cli.output import Output, OutputOption, print_json
from vppd.config.keys import create_key, load_key
from vppd.crypto import SigningKey, key_text


def gen(
    out: Annotated[Path, typer.Option(help="File to write; must not exist.")] = Path("node.key"),
    output: OutputOption = Output.TABLE,
) -> None:
    """Write a new secret key and print its public key."""
    _print(create_key(out), out, output)


def show(
    file: Annotated[Path, typer.Argument(help="Secret key file.")] = Path("node.key"),
    output: OutputOption = Output.TABLE,
) -> None:
    """Print the public key of a secret key file."""
    _print(load_key(file), file, output)


def _print(key: SigningKey, path: Path, output: Output) -> None:
    """A bare line, so that it can stand in a shell's ``$(…)``; or JSON."""
    text = key_text(key.public_key)
    if output is Output.JSON:
        print_json({"file": str(path), "id": text})
    else:
        print(text)
