"""Secret keys on disk."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from vppd.config.keys import create_key, key_path, load_key
from vppd.crypto import SigningKey, verify
from vppd.errors import ConfigError, Exit, UserError

SEED = bytes(range(32))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refused(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_key(path)
    assert caught.value.exit_code is Exit.BAD_CONFIG
    return caught.value


def test_there_and_back(tmp_path: Path) -> None:
    made = create_key(tmp_path / "node.key")
    read = load_key(tmp_path / "node.key")
    assert read.public_key == made.public_key
    assert verify(made.public_key, b"x", read.sign(b"x"))


def test_fresh_keys_differ(tmp_path: Path) -> None:
    assert create_key(tmp_path / "a").public_key != create_key(tmp_path / "b").public_key


def test_a_given_seed_is_the_key(tmp_path: Path) -> None:
    made = create_key(tmp_path / "node.key", SEED)
    assert (
        made.public_key == SigningKey(SEED).public_key == load_key(tmp_path / "node.key").public_key
    )


def test_a_new_key_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    create_key(tmp_path / "node.key")
    assert mode(tmp_path / "node.key") == 0o600


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    create_key(tmp_path / "node.key", SEED)
    before = (tmp_path / "node.key").read_bytes()
    with pytest.raises(UserError) as caught:
        create_key(tmp_path / "node.key")
    assert caught.value.code == "E163"
    assert (tmp_path / "node.key").read_bytes() == before


def test_a_link_is_not_followed_into_another_key(tmp_path: Path) -> None:
    create_key(tmp_path / "real.key", SEED)
    (tmp_path / "node.key").symlink_to(tmp_path / "real.key")
    with pytest.raises(UserError) as caught:
        create_key(tmp_path / "node.key")
    assert caught.value.code == "E163"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        create_key(tmp_path / "nowhere" / "node.key")
    assert caught.value.code == "E165"


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o601, 0o644])
def test_others_may_not_read_it(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "node.key"
    create_key(path)
    path.chmod(bits)
    error = refused(path)
    assert error.code == "E160"
    assert error.hint == f"chmod 600 {path}"
    assert f"{bits:04o}" in error.facts["mode"]


@pytest.mark.parametrize("bits", [0o600, 0o400])
def test_the_owner_may(tmp_path: Path, bits: int) -> None:
    create_key(tmp_path / "node.key")
    (tmp_path / "node.key").chmod(bits)
    load_key(tmp_path / "node.key")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"# only a remark\n",
        b"AAAA",
        b"ed25519-seed:AAAA\n",
        b"ed25519-seed:" + b"A" * 43 + b"\ned25519-seed:" + b"A" * 43,
        b"ed25519-seed:" + b"!" * 43,
        b"\xff" * 60,
    ],
)
def test_a_damaged_key_is_refused_without_being_shown(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "node.key"
    path.write_bytes(content)
    path.chmod(0o600)
    error = refused(path)
    assert error.code == "E161"
    secret = content.partition(b":")[2].decode(errors="replace").strip()
    assert not secret or secret not in str(error)


def test_a_missing_key_says_what_makes_one(tmp_path: Path) -> None:
    error = refused(tmp_path / "node.key")
    assert error.code == "E162"
    assert "vppd init" in str(error)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    assert key_path("node.key", tmp_path) == tmp_path / "node.key"
    assert key_path("/etc/vppd/node.key", tmp_path) == Path("/etc/vppd/node.key")


def test_a_credential_lies_in_systemds_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    assert key_path("credential:node.key", tmp_path) == tmp_path / "credentials" / "node.key"


def test_a_credential_without_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError) as caught:
        key_path("credential:node.key", tmp_path)
    assert caught.value.code == "E164"


def test_systemds_acl_mask_is_no_leak_but_other_bits_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    path = tmp_path / "node.key"
    create_key(path)
    path.chmod(0o440)
    load_key(path)
    path.chmod(0o444)
    assert refused(path).code == "E160"
