"""``vppd pki``: the commands reach the authority and say what they did."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from tests.cli.conftest import Vppd
from vppd.errors import ConfigError
from vppd.net.tls import load_tls


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


def test_a_revoked_certificate_is_on_a_list_that_only_grows(vppd: Vppd, tmp_path: Path) -> None:
    assert vppd("pki", "init").code == 0
    for name in ("der-1", "der-2"):
        assert vppd("pki", "issue", name, "--hosts", "x", "--out", name).code == 0
    ran = vppd("pki", "revoke", "der-1/node.pem")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("ca/crl.pem: der-1/node.pem is on the list. Copy it to every node")
    assert vppd("pki", "revoke", "der-1/node.pem").code == 0, "once more changes nothing"
    assert vppd("pki", "revoke", "der-2/node.pem", "--days", 7).code == 0
    assert vppd("pki", "crl").out.startswith("ca/crl.pem: holds for 365 days")
    crl = x509.load_pem_x509_crl((tmp_path / "ca" / "crl.pem").read_bytes())
    assert [f"{entry.serial_number:x}" for entry in crl] == [
        vppd("pki", "show", f"{name}/node.pem", "-o", "json").data["serial"]
        for name in ("der-1", "der-2")
    ]
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 4
    for name in ("der-1", "der-2"):
        with pytest.raises(ConfigError, match="E306") as refused:
            load_tls(
                Path("ca/ca.pem"),
                Path(name, "node.pem"),
                Path(name, "node-tls.key"),
                Path("ca/crl.pem"),
            )
        assert refused.value.facts["why"] == "certificate is revoked"


@pytest.mark.parametrize("file", ["other/der-1/node.pem", "ca/ca.key"])
def test_what_is_not_ours_is_not_revoked(vppd: Vppd, tmp_path: Path, file: str) -> None:
    vppd("pki", "init")
    vppd("pki", "init", "--dir", "other")
    vppd("pki", "issue", "der-1", "--dir", "other", "--hosts", "x", "--out", "other/der-1")
    ran = vppd("pki", "revoke", file)
    assert ran.code == 1
    assert ran.err.startswith("error[E154]: this cannot be revoked")
    assert file in ran.err
    assert not (tmp_path / "ca" / "crl.pem").exists()
