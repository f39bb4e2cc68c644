"""``vppd pki``: the plant's certificate authority and its nodes' transport certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vppd.cli.output import Output, OutputOption, print_json

CaDir = Annotated[Path, typer.Option("--dir", help="Folder of the certificate authority.")]


def init(
    folder: CaDir = Path("ca"),
    name: Annotated[str, typer.Option(help="The plant's name, in every certificate.")] = "vpp-demo",
) -> None:
    """Create ca.pem and its secret key."""
    from vppd.net import pki

    pki.init_ca(folder, name)
    print(f"{folder}: certificate authority of {name}. Its key stays offline; copy only ca.pem.")


def issue(
    name: Annotated[str, typer.Argument(help="The node's name.")],
    hosts: Annotated[str, typer.Option(help="Its host names and addresses, with commas.")],
    out: Annotated[Path, typer.Option(help="The node's folder.")] = Path(),
    folder: CaDir = Path("ca"),
    days: Annotated[int, typer.Option(min=1, help="Days until it expires.")] = 90,
) -> None:
    """Write node.pem, node-tls.key and ca.pem into the node's folder."""
    from vppd.net import pki

    pki.issue(folder, name, out, days, tuple(host.strip() for host in hosts.split(",")))
    print(f"{out}: certificate of {name}, {days} days")


def revoke(
    file: Annotated[Path, typer.Argument(help="The certificate, PEM.")],
    folder: CaDir = Path("ca"),
    days: Annotated[int, typer.Option(min=1, help="Days until the list expires.")] = 365,
) -> None:
    """Put a certificate on the list, crl.pem beside the authority."""
    from vppd.net import pki

    _spread(pki.revoke(folder, [file], days), f"{file} is on the list")


def crl(
    folder: CaDir = Path("ca"),
    days: Annotated[int, typer.Option(min=1, help="Days until the list expires.")] = 365,
) -> None:
    """Write the list anew before it expires, with the certificates that are on it."""
    from vppd.net import pki

    _spread(pki.revoke(folder, [], days), f"holds for {days} days")


def _spread(path: Path, done: str) -> None:
    print(
        f'{path}: {done}. Copy it to every node, with crl = "{path.name}" under [net] in '
        "node.toml;\nnodes read it when they start: restart them one after the other."
    )


def show(
    file: Annotated[Path, typer.Argument(help="A certificate, PEM.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Print subject, issuer, validity, names and fingerprint."""
    from vppd.net import pki

    facts = pki.show(file)
    if output is Output.JSON:
        print_json(facts)
    else:
        width = max(map(len, facts))
        print("\n".join(f"{key:<{width}}  {value}" for key, value in facts.items()))
