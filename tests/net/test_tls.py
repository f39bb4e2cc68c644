from __future__ import annotations

import hashlib
import shutil
import socket
import ssl
from pathlib import Path

import pytest

from tests.net.plant import Certificates, tls_of
from vppd.errors import ConfigError
from vppd.net.tls import Tls, explain, load_tls


@pytest.fixture
def folder(certificates: Certificates, tmp_path: Path) -> Path:
    """A copy of our node 0's files, to damage."""
    return shutil.copytree(certificates.ours[0], tmp_path / "home")


def test_only_tls_1_3_with_certificates_of_our_authority(certificates: Certificates) -> None:
    tls = certificates.tls(0)
    for context in (tls.server, tls.client):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.verify_flags & ssl.VERIFY_X509_STRICT
        assert not context.check_hostname
        assert len(context.get_ca_certs()) == 1
        assert context.keylog_filename is None
    assert tls.server.protocol is ssl.PROTOCOL_TLS_SERVER
    assert tls.client.protocol is ssl.PROTOCOL_TLS_CLIENT


def test_no_session_is_resumed_past_a_revocation(certificates: Certificates) -> None:
    assert certificates.tls(0).server.num_tickets == 0


def test_revoked_certificates_are_looked_up_if_there_is_a_list(certificates: Certificates) -> None:
    home = certificates.ours[0]
    files = home / "ca.pem", home / "node.pem", home / "node-tls.key"
    with_list, without = load_tls(*files, certificates.crl), load_tls(*files)
    assert with_list.server.verify_flags & ssl.VERIFY_CRL_CHECK_LEAF
    assert not without.server.verify_flags & ssl.VERIFY_CRL_CHECK_LEAF


def test_the_fingerprint_is_the_hash_of_the_certificates_der(certificates: Certificates) -> None:
    pem = (certificates.ours[0] / "node.pem").read_text()
    der = ssl.PEM_cert_to_DER_cert(pem)
    assert certificates.tls(0).fingerprint == hashlib.sha256(der).digest()


def test_of_a_chain_the_fingerprint_is_the_first_certificates(
    certificates: Certificates, folder: Path
) -> None:
    both = (folder / "node.pem").read_bytes() + (folder / "ca.pem").read_bytes()
    (folder / "node.pem").write_bytes(both)
    assert tls_of(folder).fingerprint == certificates.tls(0).fingerprint


@pytest.mark.parametrize("file", ["ca.pem", "node.pem", "node-tls.key"])
@pytest.mark.parametrize("damage", ["missing", "empty", "nonsense"])
def test_a_file_that_cannot_be_used_is_named(folder: Path, file: str, damage: str) -> None:
    if damage == "missing":
        (folder / file).unlink()
    else:
        (folder / file).write_text("" if damage == "empty" else "nonsense")
    with pytest.raises(ConfigError) as refused:
        tls_of(folder)
    assert refused.value.code == "E302"
    named = "node.pem" if file == "node-tls.key" and damage != "missing" else file
    assert refused.value.facts["file"] == str(folder / named)


def test_certificate_and_key_must_belong_together(certificates: Certificates, folder: Path) -> None:
    shutil.copy(certificates.ours[1] / "node-tls.key", folder / "node-tls.key")
    with pytest.raises(ConfigError, match="do not belong together") as refused:
        tls_of(folder)
    assert refused.value.code == "E302"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(folder: Path, mode: int) -> None:
    (folder / "node-tls.key").chmod(mode)
    with pytest.raises(ConfigError) as refused:
        tls_of(folder)
    assert refused.value.code == "E305"
    assert f"{mode:04o}" in refused.value.facts["mode"]


def test_an_expired_certificate_is_found_before_anybody_is_dialled(
    certificates: Certificates,
) -> None:
    with pytest.raises(ConfigError) as refused:
        tls_of(certificates.expired)
    assert refused.value.code == "E306"
    assert refused.value.facts["why"] == "certificate has expired"


def test_a_certificate_of_another_authority_is_found_too(certificates: Certificates) -> None:
    with pytest.raises(ConfigError) as refused:
        tls_of(certificates.foreign)
    assert refused.value.facts["why"] == "certificate signed by another plant's CA"


def test_a_revoked_certificate_is_found_too(certificates: Certificates) -> None:
    home = certificates.revoked
    with pytest.raises(ConfigError) as refused:
        load_tls(home / "ca.pem", home / "node.pem", home / "node-tls.key", certificates.crl)
    assert refused.value.facts["why"] == "certificate is revoked"


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> ssl.SSLError | None:
    """In memory; the first failure of either side."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)]
    while sides:
        side = sides.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            sides.append(side)
        except ssl.SSLError as err:
            return err
    return None


def test_nodes_of_one_plant_agree(certificates: Certificates) -> None:
    assert handshake(certificates.tls(0).client, certificates.tls(1).server) is None


def test_tls_1_2_is_not_spoken(certificates: Certificates) -> None:
    client = certificates.tls(0).client
    client.minimum_version = ssl.TLSVersion.TLSv1_2
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    failure = handshake(client, certificates.tls(1).server)
    assert failure is not None
    assert "version" in explain(failure) or "protocol" in explain(failure)


def test_a_client_without_a_certificate_is_refused(certificates: Certificates) -> None:
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname = False
    bare.load_verify_locations(certificates.ours[0] / "ca.pem")
    failure = handshake(bare, certificates.tls(1).server)
    assert failure is not None
    assert "did not return a certificate" in explain(failure)


def other(certificates: Certificates) -> Tls:
    return tls_of(certificates.other)


def test_another_plants_node_is_refused_in_both_roles(certificates: Certificates) -> None:
    ours, theirs = certificates.tls(0), other(certificates)
    for client, server in ((ours, theirs), (theirs, ours)):
        failure = handshake(client.client, server.server)
        assert failure is not None
        assert explain(failure) == "certificate signed by another plant's CA"


@pytest.mark.parametrize(
    ("err", "words"),
    [
        (ConnectionRefusedError(111, "x"), "connection refused"),
        (TimeoutError(), "no answer"),
        (ConnectionResetError(), "connection reset"),
        (BrokenPipeError(), "connection reset"),
        (socket.gaierror(-2, "Name or service not known"), "host name not found"),
        (OSError(113, "No route to host"), "no route to host"),
        (ssl.SSLEOFError(8, "EOF occurred"), "it may have refused our certificate"),
    ],
)
def test_failures_are_told_in_plain_words(err: OSError, words: str) -> None:
    assert words in explain(err)


def test_plain_text_on_a_tls_port_is_recognised(certificates: Certificates) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    side = certificates.tls(0).server.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(b"\x00\x00\x00\x60\x20 this is a hello without TLS")
    with pytest.raises(ssl.SSLError) as refused:
        side.do_handshake()
    assert "speaks no TLS" in explain(refused.value)
