"""``vppd pki``: the commands reach the authority and say what they did."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

from tests.cli.conftest import Vppd


def test_an_authority_and_a_node(vppd: Vppd, tmp_path: Path) -> None:
    assert vppd("pki", "init", "--dir", "ca", "--name", "test-plant").code == 0
    ran = vppd(
        "pki", "issue", "der-4", "--dir", "ca", "--hosts", "der-4.local, 10.0.0.4",
        "--days", 30, "--out", "home",
    )  # fmt: skip
    assert ran.code == 0
    assert {p.name for p in (tmp_path / "home").iterdir()} == {"ca.pem", "node.pem", "node-tls.key"}
    shown = vppd("pki", "show", "home/node.pem", "-o", "json").data
    assert shown["subject"].startswith("CN=der-4,")
    assert "test-plant" in shown["issuer"]
    assert "der-4.local" in shown["hosts"]
    assert "10.0.0.4" in shown["hosts"]
    der = ssl.PEM_cert_to_DER_cert((tmp_path / "home" / "node.pem").read_text())
    assert shown["fingerprint"] == hashlib.sha256(der).hexdigest()
    lines = vppd("pki", "show", "home/node.pem").out.splitlines()
    assert [line.split()[0] for line in lines] == list(shown)


def test_nothing_is_overwritten(vppd: Vppd) -> None:
    assert vppd("pki", "init").code == 0
    ran = vppd("pki", "init")
    assert ran.code == 1
    assert ran.err.startswith("error[E151]")


def test_what_is_not_there_is_an_error(vppd: Vppd) -> None:
    assert vppd("pki", "show", "node.pem").err.startswith("error[E152]")
    assert vppd("pki", "issue", "der-4", "--hosts", "x").err.startswith("error[E152]")
    assert vppd("pki", "issue", "der-4", "--hosts", "x", "--days", 0).code == 2
