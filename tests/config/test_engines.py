"""Engines of other distributions: found by name, imported when asked for, refused by name."""

from __future__ import annotations

import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.config.plant import GENESIS, genesis
from tests.config.plugin import LAST_FIRST, PAGE, distributions, install
from vppd.config.engines import GROUP, OWN, engine_named, installed, load_engine
from vppd.config.genesis import Engine, Genesis
from vppd.config.genesis_file import render_genesis
from vppd.consensus import profile
from vppd.consensus.messages import CertificateKind
from vppd.consensus.profile import EngineProfile, founding_validators, profile_of
from vppd.consensus.terms import founding_term
from vppd.errors import ConfigError, Exit, UserError
from vppd.simulate.cluster import Cluster
from vppd.simulate.faults import parse_sets
from vppd.simulate.outcome import Setup

TOY = Engine("last-first")


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A folder of distributions on ``sys.path``."""
    with distributions(tmp_path) as folder:
        yield folder


def with_engine(name: str) -> str:
    return re.sub(r'engine = "\w+"', f'engine = "{name}"', GENESIS)


def toy_genesis() -> Genesis:
    return genesis(with_engine(TOY))


def test_the_own_engines_are_those_with_a_profile() -> None:
    assert tuple(profile.PROFILES) == OWN
    assert all(made.name == name for name, made in profile.PROFILES.items())
    assert installed() == OWN


@pytest.mark.parametrize("target", ["PROFILE", "make"])
def test_an_installed_engine_is_imported_when_asked_for(path: Path, target: str) -> None:
    install(path, TOY, target)
    assert installed() == (*OWN, TOY)
    assert toy_genesis().consensus.engine == TOY
    assert "toy_engine" not in sys.modules, "to read a file runs nobody's code"
    made = profile_of(TOY)
    assert "toy_engine" in sys.modules
    assert made.name == TOY
    assert profile_of(TOY) is made


def test_genesis_with_such_an_engine_is_written_and_read_again(path: Path) -> None:
    install(path, TOY)
    made = toy_genesis()
    text = render_genesis(
        name=made.name, consensus=made.consensus, market=made.market, validators=made.validators
    )
    assert f'engine = "{TOY}"' in text
    assert genesis(text).consensus == made.consensus


def test_its_choices_are_followed(path: Path) -> None:
    install(path, TOY)
    made = toy_genesis()
    validators = founding_validators(made)
    assert [profile_of(TOY).schedule(validators, v, 1) for v in range(5)] == [3, 2, 1, 0, 3]
    assert founding_term(made).decisive == {CertificateKind.COMMIT, CertificateKind.FAST}


def test_a_plant_agrees_on_it_under_every_fault(path: Path) -> None:
    install(path, TOY)
    setup = Setup(engine=TOY, n=4, heights=8, faults=parse_sets("all"))
    ways: Counter[str] = Counter()
    for seed in (1, 2, 3):
        outcome = Cluster(setup, seed).run()
        assert outcome.violation is None, f"seed {seed}: {outcome.violation}"
        assert outcome.heights >= 8
        ways += outcome.decisions
    assert ways["fast"] > 0
    assert ways["fast_exit"] > 0
    assert ways["slow"] > 0


def test_its_policy_picks_every_path(path: Path) -> None:
    install(path, TOY)
    setup = Setup(engine=TOY, n=4, heights=8, faults=parse_sets("none"))
    outcome = Cluster(setup, 1).run()
    assert outcome.violation is None
    assert outcome.decisions["fast"] > 0, "collected"
    assert outcome.decisions["fast_exit"] > 0, "broadcast"


def test_who_leads_first_is_the_toys_choice(path: Path) -> None:
    install(path, TOY)
    setup = Setup(engine=TOY, n=4, heights=2, faults=parse_sets("none"))
    cluster = Cluster(setup, 1)
    assert cluster.run().violation is None
    leaders = {node.machine.engine.status().leader for node in cluster.nodes if node.machine}
    assert leaders == {3}


@pytest.mark.parametrize("name", [TOY, "raft", 'p"bft'])
def test_genesis_with_an_engine_that_is_not_installed_names_those_that_are(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        genesis(re.sub(r'engine = "\w+"', f"engine = '{name}'\nunheard_of = 1", GENESIS))
    assert caught.value.code == "E107"
    assert caught.value.exit_code is Exit.BAD_CONFIG
    assert repr(name) in caught.value.what
    assert caught.value.facts["installed"] == "bncm, pbft, dpos"
    assert caught.value.facts["key"] == "consensus.engine"


def test_names_of_this_build_cannot_be_taken(path: Path) -> None:
    install(path, "pbft")
    assert installed() == OWN
    assert engine_named("pbft") == "pbft"
    assert profile_of(Engine("pbft")) is profile.PBFT


@pytest.mark.parametrize("name", ["Last First", "a" * 33, "-x", "x_y"])
def test_odd_names_are_not_engines(path: Path, name: str) -> None:
    install(path, name)
    assert installed() == OWN
    assert engine_named(name) is None


def refused(engine: Engine = TOY) -> str:
    with pytest.raises(ConfigError) as caught:
        load_engine(engine, EngineProfile)
    assert caught.value.code == "E125"
    assert caught.value.exit_code is Exit.BAD_CONFIG
    return caught.value.facts["why"]


def test_two_distributions_with_one_name(path: Path) -> None:
    install(path, TOY)
    install(path, TOY, owner="rival")
    assert refused() == "rival and toy both bring it"


@pytest.mark.parametrize(
    ("target", "source", "why"),
    [
        ("PROFIL", LAST_FIRST, "AttributeError"),
        ("PROFILE", "1 / 0", "ZeroDivisionError"),
        ("PROFILE", "import no_such_module", "ModuleNotFoundError"),
        ("make", "def make(a, b): pass", "TypeError"),
        ("PROFILE", "PROFILE = 5", "toy_engine:PROFILE is no EngineProfile"),
        ("make", "def make(): return None", "toy_engine:make is no EngineProfile"),
        ("PROFILE", LAST_FIRST.replace("last-first", "first-last"), "calls itself 'first-last'"),
    ],
)
def test_an_engine_that_cannot_be_used_says_why(
    path: Path, target: str, source: str, why: str
) -> None:
    install(path, TOY, target, source)
    assert why in refused()


def test_an_engine_that_nobody_brings_is_refused_where_it_would_run_too() -> None:
    with pytest.raises(UserError) as caught:
        profile_of(TOY)
    assert caught.value.code == "E107"


@pytest.mark.parametrize(
    ("leader", "rotation", "why"),
    [
        ("view % 5", "4", ""),
        ("view % 5", "5", "replica 4 is to lead, of 4"),
        ("-(view % 4)", "4", "replica -1 is to lead, of 4"),
        ("view % 3", "4", "replica 3 leads in none of the 4 views"),
        ("view % 4", "3", "replica 3 leads in none of the 3 views"),
        ("(view + height) % 4 if height == 1 else 0", "4", "replica 1 leads in none"),
        ("view % 4", "0", "a rotation of 0 views"),
        ("view % 4", "17", "a rotation of 17 views, where 1 to 16 are possible"),
        ("view % 4", "4.0", "a rotation of 4.0 views"),
        ("view % 4 * 1.0", "4", "replica 0.0 is to lead, of 4"),
        ("view % 4 // (2 - height)", "4", "ZeroDivisionError"),
    ],
)
def test_a_schedule_that_does_not_fit_the_plant_is_refused(
    path: Path, leader: str, rotation: str, why: str
) -> None:
    source = LAST_FIRST.replace("n - 1 - view % n", leader)
    install(path, TOY, source=source.replace("=all_in_turn", f"=lambda validators: {rotation}"))
    made = toy_genesis()
    if not why:
        assert founding_validators(made).quorum.n == 4
        return
    with pytest.raises(ConfigError) as caught:
        founding_validators(made)
    assert caught.value.code == "E125"
    assert why in caught.value.facts["why"]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("return Path.COLLECT", "return 'collect'", "answers 'collect', which is no path"),
        ("(self, setting)", "(self)", "TypeError"),
        ("def next", "def following", "AttributeError"),
    ],
)
def test_a_policy_that_names_no_path_is_refused(path: Path, old: str, new: str, why: str) -> None:
    install(path, TOY, source=LAST_FIRST.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        founding_validators(toy_genesis())
    assert caught.value.code == "E125"
    assert why in caught.value.facts["why"]


def test_without_the_fast_exit_nobody_asks_its_policy(path: Path) -> None:
    source = LAST_FIRST.replace("fast_exit=True", "fast_exit=False").replace("def next", "def no")
    install(path, TOY, source=source)
    assert founding_term(toy_genesis()).decisive == {CertificateKind.COMMIT}
    outcome = Cluster(Setup(engine=TOY, n=4, heights=4, faults=parse_sets("none")), 1).run()
    assert outcome.violation is None
    assert set(outcome.decisions) <= {"slow", "learnt"}


def test_the_pages_metadata_are_those_the_tests_install(path: Path) -> None:
    metadata = tomllib.loads(PAGE.partition("```toml pyproject\n")[2].partition("```\n")[0])
    ((group, points),) = metadata["project"]["entry-points"].items()
    install(path, TOY)
    (point,) = entry_points(group=GROUP)
    assert (group, points) == (GROUP, {point.name: point.value})
