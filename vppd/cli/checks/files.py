"""The node's own files: who may read them, whether they fit together, how long they hold."""

from __future__ import annotations

import os
import ssl
import stat
from datetime import UTC, datetime
from pathlib import Path

from vppd.cli.checks.finding import Finding, fail, ok, unknown, warn
from vppd.cli.online import node_config
from vppd.config.home import Home, load_home
from vppd.config.keys import load_key
from vppd.config.node import SOCKET_PATH_BYTES, NodeConfig, default_node
from vppd.crypto import key_text
from vppd.errors import ConfigError, UserError
from vppd.net.tls import load_tls

WARN_DAYS = 30
"""Before a certificate or a list of revoked ones ends."""


def home_folder(home: Path) -> Finding:
    """Whether others could change what lies in the node's folder."""
    try:
        found = home.stat()
    except OSError as err:
        return fail("home", f"{home}: {err.strerror}", "--home names the node's folder")
    mode = stat.S_IMODE(found.st_mode)
    says = f"{home.absolute()}, mode {mode:04o}"
    if mode & stat.S_IWOTH:
        return fail("home", f"{says}: anybody can replace the files in it", f"chmod 700 {home}")
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        return fail("home", f"{says}: this user cannot write there", "run as the node's user")
    if mode & stat.S_IWGRP:
        return warn("home", f"{says}: its group can replace the files in it", f"chmod 750 {home}")
    return ok("home", says)


def settings(home: Path) -> tuple[NodeConfig | None, list[Finding]]:
    """node.toml, or the defaults if it cannot be used, so that the rest can be looked at.

    Whether the path of the clients' socket is short enough is found out on the way.
    """
    found: list[Finding] = []
    for read in (node_config, _defaults):
        try:
            node = read(home)
        except UserError as err:
            if err.code == "E141" and not found:
                found.append(failed("socket path", err))
            continue
        length = len(os.fsencode(node.socket))
        says = f"{node.socket}: {length} of at most {SOCKET_PATH_BYTES} bytes"
        return node, found or [ok("socket path", says)]
    return None, found or [unknown("socket path", "node.toml and the defaults cannot be used")]


def _defaults(home: Path) -> NodeConfig:
    return default_node(home.absolute())


def node_key(file: Path) -> Finding:
    """The node's secret key: there, whole, and nobody else's to read."""
    try:
        signer = load_key(file)
    except ConfigError as err:
        return failed("node key", err)
    return ok("node key", f"{file.name}, mode {_mode(file)}: {key_text(signer.public_key)}")


def tls_key(file: Path) -> Finding:
    """The certificate's secret key: there, and nobody else's to read."""
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError as err:
        return fail("tls key", f"{file}: {err.strerror}", "vppd pki issue writes it")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return fail(
            "tls key", f"{file.name}, mode {mode:04o}: others may read it", f"chmod 600 {file}"
        )
    return ok("tls key", f"{file.name}, mode {mode:04o}")


def config(home: Path) -> tuple[Finding, Home | None]:
    """node.toml, genesis.toml, peers.toml and the key, each and together."""
    try:
        ready = load_home(home)
    except ConfigError as err:
        return failed("config", err), None
    genesis = ready.genesis
    says = (
        f"{ready.name}, {ready.role} of {genesis.name}, listens on {ready.listen}; "
        f"genesis {genesis.digest.hex()[:16]}…, {len(ready.peers.peers)} addresses"
    )
    return ok("config", says), ready


# ---------------------------------------------------------------- certificates


def certificates(node: NodeConfig) -> list[Finding]:
    """This node's certificate, its authority's, and the list of revoked ones."""
    if node.transport != "tls":
        return [
            warn(
                "certificate",
                'transport = "plain": nobody is who he says he is',
                'transport = "tls" in node.toml; plain is for one machine',
            )
        ]
    try:
        found = _validity(node)
    except UserError as err:
        found = [failed("certificate", err)]
        if err.code == "E305":  # a line of its own says so
            found = [unknown("certificate", "not looked at while others may read its key")]
    return [*found, _crl(node)]


def _validity(node: NodeConfig) -> list[Finding]:
    tls = load_tls(node.ca, node.cert, node.cert_key, node.crl)
    own = _end_of_own(tls.server, tls.client)
    return [
        _days("certificate", f"{node.cert.name}, of our authority, fits its key", own),
        *(
            _days("authority", f"{node.ca.name}", str(authority["notAfter"]))
            for authority in tls.client.get_ca_certs()
        ),
    ]


def _end_of_own(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """When this node's own certificate ends, as the other side of a connection sees it."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(down, up, server_side=False)
    sides = [here, server.wrap_bio(up, down, server_side=True)]
    while sides:
        side = sides.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            sides.append(side)
    seen = here.getpeercert() or {}
    return str(seen["notAfter"])


def _days(check: str, what: str, ends: str) -> Finding:
    left = (ssl.cert_time_to_seconds(ends) - datetime.now(UTC).timestamp()) / 86_400
    says = f"{what}, ends in {left:.0f} days ({ends})"
    if left < WARN_DAYS:
        return warn(check, says, "vppd pki issue writes a new one; copy it here and restart")
    return ok(check, says)


def _crl(node: NodeConfig) -> Finding:
    """The list of revoked certificates: there, of when, until when."""
    if node.crl is None:
        return warn(
            "crl",
            "none: a certificate that was stolen stays good until it ends",
            'vppd pki crl, copy crl.pem to every node, crl = "crl.pem" in [net] of node.toml',
        )
    try:
        pem = node.crl.read_bytes()
    except OSError as err:
        return fail("crl", f"{node.crl}: {err.strerror}", "vppd pki crl writes it; copy it here")
    try:
        from vppd.net.x509 import crl_dates
    except ModuleNotFoundError:
        return unknown(
            "crl",
            f"{node.crl.name} is there; its age takes the cryptography package",
            "pip install 'vppd[pki]'; or openssl crl -noout -lastupdate -nextupdate -in FILE",
        )
    try:
        made, ends = crl_dates(pem)
    except ValueError as err:
        return fail("crl", f"{node.crl}: {err}", "vppd pki crl writes it; copy it here")
    now = datetime.now(UTC)
    says = f"{node.crl.name}, {(now - made).days} days old, "
    if ends is None:
        return ok("crl", f"{says}without an end")
    left = (ends - now).total_seconds() / 86_400
    hint = "vppd pki crl renews it; copy it to every node and restart"
    if left <= 0:
        return fail("crl", f"{says}expired {-left:.0f} days ago: every peer is refused", hint)
    says += f"ends in {left:.0f} days"
    return warn("crl", says, hint) if left < WARN_DAYS else ok("crl", says)


def failed(check: str, err: UserError) -> Finding:
    """An error on one line."""
    facts = "; ".join(f"{label} {' '.join(value.split())}" for label, value in err.facts.items())
    says = f"{err.code}, {err.what}" + (f" ({facts})" if facts else "")
    return fail(check, says, " ".join((err.hint or "").split()))


def _mode(file: Path) -> str:
    return f"{stat.S_IMODE(file.stat().st_mode):04o}"
