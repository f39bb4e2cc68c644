"""node.toml, and a node's files together."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.plant import public, seed, write_home
from vppd.config.home import Home, load_home
from vppd.config.keys import create_key
from vppd.config.node import default_node, load_node, parse_node, render_node
from vppd.config.peers import add_peer
from vppd.errors import ConfigError, Exit
from vppd.types import Role


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return write_home(tmp_path / "home")


def refused(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_node(("schema = 1\n" + text).encode(), Path("node.toml"))
    assert caught.value.exit_code is Exit.BAD_CONFIG
    return caught.value


def as_observer(home: Path) -> None:
    (home / "node.key").unlink()
    create_key(home / "node.key", seed("obs-1"))


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text("schema = 1\n")
    assert load_node(tmp_path / "node.toml") == default_node(tmp_path)


def test_paths_start_at_the_files_folder(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text(
        'schema = 1\n[node]\nkey = "secrets/k"\n[net]\ncrl = "crl.pem"\n'
        '[store]\npath = "/var/lib/vppd/chain.db"\nmin_free = "1GiB"\n'
    )
    node = load_node(tmp_path / "node.toml")
    assert node.key_file == tmp_path / "secrets" / "k"
    assert node.crl == tmp_path / "crl.pem"
    assert node.ca == tmp_path / "ca.pem"
    assert node.store == Path("/var/lib/vppd/chain.db")
    assert node.min_free_bytes == 2**30


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[net]\nlisten = "7440"', "net.listen"),
        ('[http]\nlisten = "localhost"', "http.listen"),
        ('[store]\nmin_free = "plenty"', "store.min_free"),
        ('[node]\nname = "a b"', "node.name"),
    ],
)
def test_values_that_cannot_be_used(text: str, key: str) -> None:
    error = refused(text)
    assert (error.code, error.facts["key"]) == ("E106", key)


def test_an_unknown_key_is_an_error() -> None:
    error = refused("[store]\nsync = 'full'")
    assert error.code == "E102"
    assert error.facts["table"] == "[store]"


def test_the_http_page_is_for_this_machine() -> None:
    assert refused('[http]\nlisten = "0.0.0.0:7441"').code == "E106"
    for host in ("127.0.0.1", "localhost", "[::1]"):
        parse_node(f'schema = 1\n[http]\nlisten = "{host}:7441"'.encode(), Path("node.toml"))


def test_unsynced_stores_are_for_benches() -> None:
    text = '[store]\nsynchronous = "off"'
    assert refused(text).code == "E115"
    node = parse_node(("schema = 1\n" + text).encode(), Path("node.toml"), bench=True)
    assert node.synchronous == "off"


def test_rendered_settings_read_back(tmp_path: Path) -> None:
    text = render_node(role=Role.DER, name="der-1", listen="127.0.0.1:7450", transport="plain")
    node = parse_node(text.encode(), tmp_path / "node.toml")
    assert (node.role, node.name) == (Role.DER, "der-1")
    assert (node.listen, node.transport) == ("127.0.0.1:7450", "plain")
    plain = parse_node(render_node(role=Role.OPERATOR, name="op-0").encode(), tmp_path / "n.toml")
    assert (plain.listen, plain.transport) == (None, "tls")


def test_a_home_without_node_toml(home: Path) -> None:
    made: Home = load_home(home)
    assert (made.name, made.role, made.index) == ("der-1", Role.DER, 1)
    assert made.listen == "10.0.0.1:7440"
    assert made.http_listen == "127.0.0.1:7441"
    assert made.node.store == home / "chain.db"


def test_node_toml_beats_peers_toml_in_where_to_listen(home: Path) -> None:
    (home / "node.toml").write_text(
        'schema = 1\n[net]\nlisten = "0.0.0.0:9000"\n[http]\nlisten = ""\n'
    )
    made = load_home(home)
    assert made.listen == "0.0.0.0:9000"
    assert made.http_listen is None


def test_files_elsewhere(home: Path, tmp_path: Path) -> None:
    for name in ("peers.toml", "genesis.toml"):
        (home / name).rename(tmp_path / name)
    (tmp_path / "other.toml").write_text('schema = 1\n[node]\nkey = "home/node.key"\n')
    made = load_home(
        home,
        config=tmp_path / "other.toml",
        peers=tmp_path / "peers.toml",
        genesis=tmp_path / "genesis.toml",
    )
    assert made.name == "der-1"


def test_a_config_that_was_named_must_be_there(home: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_home(home, config=home / "other.toml")
    assert caught.value.code == "E100"


def test_a_stranger_is_told_so(home: Path) -> None:
    as_observer(home)
    with pytest.raises(ConfigError) as caught:
        load_home(home)
    assert caught.value.code == "E104"
    assert f"vppd peers add NAME {public('obs-1')} HOST:7440" in str(caught.value)


def test_an_observer_needs_no_entry(home: Path) -> None:
    as_observer(home)
    made = load_home(home, role=Role.OBSERVER)
    assert (made.name, made.role, made.index) == ("observer", Role.OBSERVER, None)
    assert made.listen == "0.0.0.0:7440"


@pytest.mark.parametrize("said", [Role.OPERATOR, Role.OBSERVER])
def test_a_role_that_genesis_contradicts(home: Path, said: Role) -> None:
    with pytest.raises(ConfigError) as caught:
        load_home(home, role=said)
    assert caught.value.code == "E116"
    (home / "node.toml").write_text(f'schema = 1\n[node]\nrole = "{said}"\n')
    with pytest.raises(ConfigError) as caught:
        load_home(home, role=Role.DER)
    assert caught.value.code == "E116"


def test_a_role_that_genesis_confirms(home: Path) -> None:
    assert load_home(home, role=Role.DER).role is Role.DER


def test_a_node_that_came_after_genesis_says_so(home: Path) -> None:
    as_observer(home)
    add_peer(home / "peers.toml", "der-9", public("obs-1"), "127.0.0.1:7999")
    (home / "node.toml").write_text('schema = 1\n[node]\nrole = "der"\njoins = true\n')
    made = load_home(home)
    assert (made.name, made.role, made.index) == ("der-9", Role.DER, None)
    assert made.listen == "127.0.0.1:7999"
    with pytest.raises(ConfigError) as caught:
        load_home(home, role=Role.OPERATOR)
    assert caught.value.code == "E116"
    (home / "node.toml").write_text('schema = 1\n[node]\nrole = "der"\n')
    with pytest.raises(ConfigError) as caught:
        load_home(home)
    assert caught.value.code == "E116"
    assert "joins = true" in str(caught.value)


def test_joining_changes_nothing_for_a_founder(home: Path) -> None:
    (home / "node.toml").write_text("schema = 1\n[node]\njoins = true\n")
    assert load_home(home).role is Role.DER
    with pytest.raises(ConfigError) as caught:
        load_home(home, role=Role.OPERATOR)
    assert caught.value.code == "E116"
