"""peers.toml: addresses, and whose they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.plant import NAMES, genesis, peers_text, public, seed
from vppd.config.peers import (
    Peers,
    add_peer,
    check_peers,
    load_peers,
    own_entry,
    parse_peers,
    render_peers,
)
from vppd.crypto import SigningKey
from vppd.errors import ConfigError

FILE = Path("peers.toml")


def peers(text: str | None = None) -> Peers:
    return parse_peers((peers_text() if text is None else text).encode())


def refused(old: str, new: str) -> ConfigError:
    text = peers_text()
    assert old in text
    with pytest.raises(ConfigError) as caught:
        peers(text.replace(old, new, 1))
    assert caught.value.facts["file"] == "peers.toml"
    return caught.value


def test_a_good_file() -> None:
    made = peers()
    assert made.chain_name == "test-plant"
    assert made.genesis_digest == genesis().digest
    assert [p.name for p in made.peers] == list(NAMES)
    entry = made.by_key(SigningKey(seed("der-2")).public_key)
    assert entry is not None
    assert (entry.host, entry.port) == ("10.0.0.2", 7440)


def test_rendered_peers_read_back_the_same() -> None:
    made = peers()
    text = render_peers(
        chain_name=made.chain_name, genesis_digest=made.genesis_digest, peers=made.peers
    )
    assert peers(text) == made


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_peers(tmp_path / "peers.toml")
    assert caught.value.code == "E100"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("10.0.0.1:7440", "10.0.0.1", "peer[1].addr"),
        (public("der-1"), "der-1", "peer[1].id"),
        ('"der-1"', '"der 1"', "peer[1].name"),
    ],
)
def test_values_that_cannot_be_used(old: str, new: str, key: str) -> None:
    error = refused(old, new)
    assert (error.code, error.facts["key"]) == ("E106", key)


@pytest.mark.parametrize("digest", ["", "xyz", "ab" * 31])
def test_a_digest_has_64_hex_digits(digest: str) -> None:
    error = refused(genesis().digest.hex(), digest)
    assert (error.code, error.facts["key"]) == ("E106", "genesis_sha256")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('"der-1"', '"op-0"', "peer.name"),
        (public("der-1"), public("op-0"), "peer.id"),
        ("10.0.0.1:7440", "10.0.0.0:7440", "peer.addr"),
    ],
)
def test_duplicates(old: str, new: str, key: str) -> None:
    error = refused(old, new)
    assert (error.code, error.facts["key"]) == ("E108", key)


def test_an_unknown_key_is_an_error() -> None:
    error = refused("addr =", "address =")
    assert (error.code, error.hint) == ("E102", "did you mean 'addr'?")


def test_peers_of_this_plant() -> None:
    check_peers(peers(), genesis(), FILE)


def test_peers_of_another_plant_name_both() -> None:
    other = genesis().digest[::-1].hex()
    with pytest.raises(ConfigError) as caught:
        check_peers(peers(peers_text().replace(genesis().digest.hex(), other)), genesis(), FILE)
    assert caught.value.code == "E113"
    assert other[:16] in caught.value.facts["peers"]
    assert genesis().digest.hex()[:16] in caught.value.facts["genesis"]


def test_a_validator_without_address_is_named() -> None:
    text = peers_text()
    with pytest.raises(ConfigError, match="der-3") as caught:
        check_peers(peers(text[: text.rindex("[[peer]]")]), genesis(), FILE)
    assert caught.value.code == "E121"


def test_the_own_entry_is_found_by_key() -> None:
    key = SigningKey(seed("der-3")).public_key
    entry = own_entry(peers(), key, name=None, key_file=Path("node.key"), peers_file=FILE)
    assert entry.name == "der-3"


def test_a_key_in_no_entry_reads_like_this() -> None:
    key = SigningKey(seed("der-4")).public_key
    with pytest.raises(ConfigError) as caught:
        own_entry(peers(), key, name="der-4", key_file=Path("/etc/vppd/node.key"), peers_file=FILE)
    text = public("der-4")
    assert str(caught.value).splitlines() == [
        "error[E104]: this node's key is not in peers.toml",
        f"  key  {text}  (/etc/vppd/node.key)     peers.toml: 4 peers, none match",
        f"  try  vppd peers add der-4 {text} HOST:7440     then copy to every node",
    ]


def test_an_added_peer_leaves_the_rest_of_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "peers.toml"
    path.write_text(peers_text() + "# a remark")
    made = add_peer(path, "obs-1", public("obs-1"), "10.0.0.9:7440")
    assert path.read_text().startswith(peers_text() + "# a remark\n")
    assert load_peers(path) == made
    assert made.peers[-1].name == "obs-1"
    assert [p.name for p in tmp_path.iterdir()] == ["peers.toml"]


@pytest.mark.parametrize(
    ("name", "key", "addr", "code"),
    [
        ("obs-1", public("obs-1"), "nowhere", "E106"),
        ("der-1", public("obs-1"), "10.0.0.9:7440", "E108"),
        ('x"\n[[peer]]', public("obs-1"), "10.0.0.9:7440", "E106"),
    ],
)
def test_a_peer_that_does_not_fit_changes_nothing(
    tmp_path: Path, name: str, key: str, addr: str, code: str
) -> None:
    path = tmp_path / "peers.toml"
    path.write_text(peers_text())
    with pytest.raises(ConfigError) as caught:
        add_peer(path, name, key, addr)
    assert caught.value.code == code
    assert path.read_text() == peers_text()


def test_a_peers_file_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "peers.toml"
    path.write_text(peers_text())
    (tmp_path / "peers.toml.new").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        add_peer(path, "obs-1", public("obs-1"), "10.0.0.9:7440")
