from __future__ import annotations

import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vppd.errors import UserError
from vppd.net import pki
from vppd.net.tls import load_tls
from vppd.net.x509 import make_ca, make_leaf


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    pki.init_ca(tmp_path / "ca", "vpp-demo")
    return tmp_path / "ca"


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_the_authority_lasts_ten_years_and_signs_only_certificates_and_lists(ca: Path) -> None:
    certificate = load(ca / "ca.pem")
    assert certificate.version is x509.Version.v3
    assert isinstance(certificate.public_key(), Ed25519PublicKey)
    assert (certificate.not_valid_after_utc - datetime.now(UTC)).days in {3649, 3650}
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert (basic.value.ca, basic.value.path_length) == (True, 0)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature


def test_secret_keys_are_for_their_owner_only(ca: Path, tmp_path: Path) -> None:
    pki.issue(ca, "der-1", tmp_path / "der-1")
    for key in (ca / "ca.key", tmp_path / "der-1" / "node-tls.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_leaf_is_for_both_ends_of_a_connection_and_signs_nothing(
    ca: Path, tmp_path: Path
) -> None:
    pki.issue(ca, "der-1", tmp_path / "der-1", 90, ["10.0.0.7", "der-1.example"])
    certificate = load(tmp_path / "der-1" / "node.pem")
    extensions = certificate.extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    assert not basic.value.ca
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign
    assert set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["10.0.0.7", "der-1.example"]
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert [name.value for name in common] == ["der-1"]
    assert (certificate.not_valid_after_utc - datetime.now(UTC)).days in {89, 90}


def test_what_is_issued_is_what_a_node_runs_on(ca: Path, tmp_path: Path) -> None:
    home = tmp_path / "der-1"
    pki.issue(ca, "der-1", home)
    assert (home / "ca.pem").read_bytes() == (ca / "ca.pem").read_bytes()
    tls = load_tls(home / "ca.pem", home / "node.pem", home / "node-tls.key")
    assert tls.fingerprint.hex() == pki.show(home / "node.pem")["fingerprint"]


def test_a_node_may_be_called_like_the_plant(ca: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    pki.issue(ca, "vpp-demo", home)
    load_tls(home / "ca.pem", home / "node.pem", home / "node-tls.key")


def test_no_leaf_outlives_its_authority() -> None:
    ca = make_ca("short", 30)
    leaf = x509.load_pem_x509_certificate(make_leaf(ca, "der-1", 90).certificate)
    authority = x509.load_pem_x509_certificate(ca.certificate)
    assert leaf.not_valid_after_utc <= authority.not_valid_after_utc


def test_certificates_begin_an_hour_ago(ca: Path) -> None:
    begin = load(ca / "ca.pem").not_valid_before_utc
    assert timedelta(minutes=59) < datetime.now(UTC) - begin < timedelta(minutes=70)


@pytest.mark.parametrize("file", ["ca.pem", "ca.key"])
def test_an_authority_is_never_overwritten(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text("precious")
    with pytest.raises(UserError) as refused:
        pki.init_ca(tmp_path, "vpp-demo")
    assert refused.value.code == "E151"
    assert [p.name for p in tmp_path.iterdir()] == [file]
    assert (tmp_path / file).read_text() == "precious"


@pytest.mark.parametrize("file", ["node.pem", "node-tls.key", "ca.pem"])
def test_a_node_is_never_overwritten(ca: Path, tmp_path: Path, file: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / file).write_text("precious")
    with pytest.raises(UserError) as refused:
        pki.issue(ca, "der-1", home)
    assert refused.value.code == "E151"
    assert refused.value.facts["file"] == str(home / file)
    assert [p.name for p in home.iterdir()] == [file]


def test_an_equal_authority_may_lie_beside_the_node(ca: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "ca.pem").write_bytes((ca / "ca.pem").read_bytes())
    pki.issue(ca, "der-1", home)
    assert (home / "node.pem").exists()


def test_show_names_what_people_ask_for(ca: Path) -> None:
    facts = pki.show(ca / "ca.pem")
    assert list(facts) == ["subject", "issuer", "from", "until", "hosts", "serial", "fingerprint"]
    assert "vpp-demo" in facts["subject"]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\n"])
def test_show_of_something_else_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pem").write_bytes(content)
    with pytest.raises(UserError) as refused:
        pki.show(tmp_path / "x.pem")
    assert refused.value.code == "E153"


def test_a_missing_authority_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        pki.issue(tmp_path / "nowhere", "der-1", tmp_path / "home")
    assert refused.value.code == "E152"
    assert refused.value.facts["file"].endswith("ca.pem")


@pytest.mark.parametrize(
    ("name", "hosts"), [("", ()), ("x" * 65, ()), ("der-1", ["größe.example"])]
)
def test_what_cannot_stand_in_a_certificate_is_an_error(
    ca: Path, tmp_path: Path, name: str, hosts: tuple[str, ...]
) -> None:
    with pytest.raises(UserError) as refused:
        pki.issue(ca, name, tmp_path / "home", 90, hosts)
    assert refused.value.code == "E153"
    assert not (tmp_path / "home").exists()


def test_another_authoritys_key_signs_nothing(ca: Path, tmp_path: Path) -> None:
    pki.init_ca(tmp_path / "second", "vpp-demo")
    (ca / "ca.key").write_bytes((tmp_path / "second" / "ca.key").read_bytes())
    with pytest.raises(UserError) as refused:
        pki.issue(ca, "der-1", tmp_path / "home")
    assert refused.value.code == "E153"


def test_without_the_library_the_hint_says_how_to_get_it(tmp_path: Path) -> None:
    """In a fresh interpreter that refuses to import it."""
    program = f"""
import sys
sys.modules["cryptography"] = None
from pathlib import Path
from vppd.errors import UserError
from vppd.net import pki
try:
    pki.init_ca(Path({str(tmp_path)!r}), "vpp-demo")
except UserError as err:
    print(err)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "error[E150]" in done.stdout
    assert "pip install 'vppd[pki]'" in done.stdout


def test_a_node_never_imports_the_library() -> None:
    program = "import sys, vppd.net.peers, vppd.net.pki; print('cryptography' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
