"""``vppd config show``: every value, and the line or default it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_testnet import write
from vppd.config.origin import Flags, Setting, lines_of, settings
from vppd.errors import ConfigError
from vppd.types import Role


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return write(tmp_path / "plant").nodes[1].home


def found(home: Path) -> dict[str, Setting]:
    return {f"{s.file}:{s.key}": s for s in settings(home)}


def test_a_value_that_is_written_names_its_line(home: Path) -> None:
    text = (home / "node.toml").read_text()
    said = found(home)["node.toml:store.min_free"]
    line = int(said.origin.removeprefix("node.toml:"))
    assert "min_free" in text.splitlines()[line - 1]
    assert said.value == "512MiB"


def test_a_value_that_is_not_written_is_a_default(home: Path) -> None:
    assert found(home)["node.toml:log.level"].origin == "default"


def test_without_node_toml_everything_is_a_default(home: Path) -> None:
    (home / "node.toml").unlink()
    said = found(home)
    assert said["node.toml:store.synchronous"].origin == "default"
    assert said["node.toml:net.listen"].value == "127.0.0.1:7450"
    assert "peers.toml" in said["node.toml:net.listen"].origin


def test_what_is_derived_says_from_what(home: Path) -> None:
    said = found(home)["node.toml:http.listen"]
    assert (said.value, said.origin) == ("127.0.0.1:7451", "default: the port after net.listen")


def test_a_rule_left_out_of_genesis_is_shown_with_its_default(home: Path) -> None:
    file = home / "genesis.toml"
    lines = file.read_text().splitlines()
    shortened = "\n".join(x for x in lines if not x.startswith("epoch_blocks")) + "\n"
    before = found(home)["genesis.toml:consensus.epoch_blocks"]
    assert before.origin.startswith("genesis.toml:")
    digest = found(home)["genesis.toml:sha256"].value
    file.write_text(shortened)
    import hashlib

    peers = home / "peers.toml"
    fresh = hashlib.sha256(shortened.encode()).hexdigest()
    peers.write_text(peers.read_text().replace(digest, fresh))
    after = found(home)["genesis.toml:consensus.epoch_blocks"]
    assert (after.value, after.origin) == (before.value, "default")


def test_both_spellings_of_the_slot_are_found(home: Path) -> None:
    assert found(home)["genesis.toml:market.slot_seconds"].origin.startswith("genesis.toml:")


def test_entries_of_a_list_are_numbered(home: Path) -> None:
    said = found(home)
    assert said["peers.toml:peer[2].name"].value == "der-2"
    assert said["peers.toml:peer[3].name"].origin != said["peers.toml:peer[2].name"].origin


def test_no_secret_is_shown(home: Path) -> None:
    secret = (home / "node.key").read_text().strip()
    assert not any(secret in s.value for s in settings(home))


def test_files_that_do_not_fit_are_said_as_ever(home: Path) -> None:
    (home / "genesis.toml").write_text("schema = 1\nchain = 2\n")
    with pytest.raises(ConfigError):
        settings(home)


def test_lines_of_dotted_keys_and_comments() -> None:
    text = '# [net]\nschema = 1\nnode.role = "der"\n[net]  # here\n"listen" = "x:1"\n[[a.b]]\nc=1\n'
    assert lines_of(text) == {
        "schema": 2,
        "node.role": 3,
        "net": 4,
        "net.listen": 5,
        "a.b[0]": 6,
        "a.b[0].c": 7,
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('store = { path = "chain.db", min_free = "1GiB" }\n', 2),
        ('store.min_free = "1GiB"\n', 2),
        ('store . "min_free" = "1GiB"\n', 2),
        ('# min_free = "2GiB"\n[ store ]\nmin_free = "1GiB"\n', 4),
    ],
)
def test_however_toml_lets_a_value_be_written_it_is_no_default(
    home: Path, text: str, line: int
) -> None:
    (home / "node.toml").write_text("schema = 1\n" + text + '[net]\ntransport = "plain"\n')
    said = found(home)["node.toml:store.min_free"]
    assert (said.value, said.origin) == ("1GiB", f"node.toml:{line}")
    assert found(home)["node.toml:log.level"].origin == "default"


def test_what_nobody_has_written_is_shown_as_it_works_out(home: Path) -> None:
    said = found(home)
    assert said["genesis.toml:consensus.f"][2:] == ("1", "default")
    (home / "node.toml").write_text('schema = 1\n[http]\nlisten = ""\n[net]\ntransport = "plain"\n')
    said = found(home)
    assert said["node.toml:http.listen"][2:] == ('""', "node.toml:3")
    assert said["node.toml:node.role"][2:] == ("der", "genesis.toml")
    assert said["node.toml:node.name"][2:] == ("der-1", "genesis.toml")
    assert said["node:name"][2:] == ("der-1", "genesis.toml")


def test_files_that_flags_name_are_read_instead(home: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "etc" / "plant.toml"
    elsewhere.parent.mkdir()
    (home / "peers.toml").rename(elsewhere)
    flags = Flags(role=Role.DER, peers=elsewhere, said_by="process 7")
    said = {f"{s.file}:{s.key}": s for s in settings(home, flags)}
    assert said["start:--peers"][2:] == (str(elsewhere), "process 7")
    assert said["start:--role"][2:] == ("der", "process 7")
    assert said["peers.toml:chain_id"].origin.startswith(f"{elsewhere}:")
    with pytest.raises(ConfigError):
        settings(home)
