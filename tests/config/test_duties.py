"""``[[duty]]`` and ``aggregator`` of genesis.toml: read, checked, written."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from vppd.config.duties import DutyEntry
from vppd.config.genesis import Genesis
from vppd.config.genesis_file import parse_genesis, render_genesis
from vppd.errors import ConfigError

EXAMPLE = (Path(__file__).parents[2] / "config" / "genesis.toml").read_text(encoding="utf-8")


def rendered(genesis: Genesis) -> str:
    fields = ("name", "consensus", "market", "validators", "accounts", "meters", "duties")
    return render_genesis(**{field: getattr(genesis, field) for field in fields})


def test_duties_and_aggregators_come_back_as_written() -> None:
    plain = parse_genesis(EXAMPLE.encode())
    first, second, *others = plain.accounts
    made = replace(
        plain,
        accounts=(first, replace(second, aggregator=first.name), *others),
        duties=(
            DutyEntry(duty="technical", account=first.name),
            DutyEntry(duty="aggregator", account=first.name),
        ),
    )
    found = parse_genesis(rendered(made).encode())
    assert found.accounts == made.accounts
    assert found.duties == made.duties
    assert "duty" not in rendered(plain)
    assert "aggregator" not in rendered(plain)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ('[[duty]]\nduty = "technical"\naccount = "nobody"', "E112", "'nobody'"),
        ('[[duty]]\nduty = "king"\naccount = "op-0"', "E103", "king"),
        ('[[duty]]\nduty = "technical"', "E103", "account"),
    ],
)
def test_duties_that_cannot_be(text: str, code: str, words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse_genesis(f"{EXAMPLE}\n{text}\n".encode())
    assert refusal.value.code == code
    assert words in str(refusal.value) + str(refusal.value.facts)


def test_one_duty_is_given_to_one_account_once() -> None:
    name = parse_genesis(EXAMPLE.encode()).accounts[0].name
    entry = f'\n[[duty]]\nduty = "technical"\naccount = "{name}"\n'
    with pytest.raises(ConfigError) as refusal:
        parse_genesis((EXAMPLE + entry * 2).encode())
    assert refusal.value.code == "E108"


@pytest.mark.parametrize("above", ["nobody", "self"])
def test_an_aggregator_is_another_account(above: str) -> None:
    plain = parse_genesis(EXAMPLE.encode())
    first = plain.accounts[0]
    name = first.name if above == "self" else above
    made = replace(plain, accounts=(replace(first, aggregator=name), *plain.accounts[1:]))
    with pytest.raises(ConfigError) as refusal:
        parse_genesis(rendered(made).encode())
    assert refusal.value.code == "E112"
