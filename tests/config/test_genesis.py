"""genesis.toml: what a good file gives, and what is said about a bad one."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.config.plant import GENESIS, NAMES, TARIFFS, genesis, public, seed
from vppd.config.founding import SETTABLE, founding_era, rules_in
from vppd.config.genesis import (
    AccountEntry,
    ConsensusRules,
    ConsentMode,
    DposRules,
    Engine,
    Governance,
    MarketRules,
    MarketRulesSection,
    MeterEntry,
    Tariff,
    ValidatorEntry,
)
from vppd.config.genesis_file import load_genesis, parse_genesis, render_genesis
from vppd.config.market_file import market_lines
from vppd.config.sharing import SharingRules
from vppd.config.values import DAY_MINUTES
from vppd.crypto import SigningKey
from vppd.errors import ConfigError, Exit
from vppd.ledger.opening import opening_state
from vppd.types import PPM, Role


def refused(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        genesis(text)
    assert caught.value.exit_code is Exit.BAD_CONFIG
    assert caught.value.facts["file"] == "genesis.toml"
    assert caught.value.hint
    return caught.value


def changed(old: str, new: str) -> str:
    assert GENESIS.count(old) >= 1, old
    return GENESIS.replace(old, new, 1)


def test_a_good_file() -> None:
    made = genesis()
    assert made.name == "test-plant"
    assert [v.name for v in made.validators] == list(NAMES)
    assert [v.role for v in made.validators] == [Role.OPERATOR, Role.DER, Role.DER, Role.DER]
    assert made.validators[1].key == SigningKey(seed("der-1")).public_key
    assert made.market.slot_ms == 900_000
    assert made.market.tariffs[0] == Tariff(
        start_minute=1380, end_minute=420, retail_price=380_000, feed_in_price=240_000
    )
    assert made.consensus == ConsensusRules()
    assert made.accounts[0] == AccountEntry(
        name="der-1", key=made.validators[1].key, balance=200_000_000
    )
    assert made.accounts[1].credit == 900_000
    assert made.accounts[1].bus == 3
    assert made.accounts[1].balance == 0
    assert made.meters[0].import_wh == 12
    assert made.meters[0].first_slot == 5


def test_the_digest_is_that_of_the_files_bytes(tmp_path: Path) -> None:
    path = tmp_path / "genesis.toml"
    path.write_bytes(GENESIS.encode())
    assert load_genesis(path).digest == hashlib.sha256(path.read_bytes()).digest()
    assert genesis(GENESIS + "\n# a remark\n").digest != genesis().digest


def test_a_missing_file_names_it_and_what_writes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_genesis(tmp_path / "genesis.toml")
    assert caught.value.code == "E100"
    assert str(tmp_path) in str(caught.value)
    assert "vppd testnet" in str(caught.value)


def test_an_unreadable_file_is_told_apart_from_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "genesis.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        load_genesis(tmp_path / "genesis.toml")


def test_syntax_errors_name_the_line() -> None:
    error = refused(changed('chain_id = "test-plant"', "chain_id = test-plant"))
    assert error.code == "E101"
    assert error.facts["where"].startswith("line 3,")


def test_bytes_that_are_not_utf8() -> None:
    with pytest.raises(ConfigError, match="not UTF-8") as caught:
        parse_genesis(b'schema = 1\nchain_id = "\xff"')
    assert caught.value.code == "E101"


@pytest.mark.parametrize(
    ("old", "new", "table", "hint"),
    [
        ('engine = "bncm"', 'engine = "bncm"\nview_timeout = 5', "[consensus]", "view_timeout_ms"),
        ("slot_seconds = 900", "slot_second = 900", "[market]", "slot_seconds"),
        ("schema = 1", "schema = 1\nchainid = 1", "the top of the file", "chain_id"),
        ('balance = "200.00"', 'ballance = "1"', "[account[0]]", "balance"),
        ('retail_price = "0.38"', 'retail = "1"', "[market.tariff[0]]", "retail_price"),
    ],
)
def test_unknown_keys_name_table_and_closest_key(old: str, new: str, table: str, hint: str) -> None:
    error = refused(changed(old, new))
    assert error.code == "E102"
    assert error.facts["table"] == table
    assert error.hint == f"did you mean {hint!r}?"


def test_an_unknown_key_like_no_other_lists_the_known_ones() -> None:
    error = refused(changed('engine = "bncm"', 'engine = "bncm"\nxyzzy = 5'))
    assert error.code == "E102"
    assert error.hint is not None
    assert "max_block_bytes" in error.hint


def test_wrong_types_name_path_expected_and_got() -> None:
    error = refused(changed("slot_seconds = 900", 'slot_seconds = "900"'))
    assert error.code == "E103"
    assert error.facts["key"] == "market.slot_seconds"
    assert "int" in error.facts["expected"]
    assert error.facts["got"] == "str"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('engine = "bncm"', "f = -1", "consensus.f"),
        ('engine = "bncm"', "max_tx_bytes = 0", "consensus.max_tx_bytes"),
        ('engine = "bncm"', "view_timeout_ms = 1.5", "consensus.view_timeout_ms"),
        ('engine = "bncm"', "engine = 3", "consensus.engine"),
        ('engine = "bncm"', 'path = "paper"', "consensus.path"),
        ("credit = 900000", "credit = 1000001", "account[1].credit"),
        ("bus = 3", "bus = true", "account[1].bus"),
        ("import_wh = 12", "import_wh = -1", "meter[0].import_wh"),
        ('role = "operator"', 'role = "boss"', "validator[0].role"),
        ("slot_seconds = 900", "slot_seconds = 0", "market.slot_seconds"),
        ("slot_seconds = 900", 'currency = "€"', "market.currency"),
    ],
)
def test_values_out_of_range_name_the_key(old: str, new: str, key: str) -> None:
    error = refused(changed(old, new))
    assert error.code == "E103"
    assert error.facts["key"] == key


def test_a_missing_key_is_named() -> None:
    error = refused(changed('chain_id = "test-plant"', ""))
    assert error.code == "E103"
    assert "chain_id" in error.facts["why"]


@pytest.mark.parametrize("value", ["0", "2", "'one'"])
def test_only_schema_1(value: str) -> None:
    assert refused(changed("schema = 1", f"schema = {value}")).code == "E105"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('chain_id = "test-plant"', 'chain_id = "two words"', "chain_id"),
        ('name = "der-2"', 'name = "../der-2"', "validator[2].name"),
        (public("der-2"), "ed25519:AAAA", "validator[2].id"),
        (public("shop"), "shop", "account[1].id"),
        ('balance = "200.00"', 'balance = "200.0000001"', "account[0].balance"),
        ('balance = "200.00"', 'balance = "-1"', "account[0].balance"),
        ('balance = "200.00"', 'balance = "1e3"', "account[0].balance"),
        ('balance = "200.00"', 'balance = "1000000000001"', "account[0].balance"),
        ('hours = "23:00-07:00"', 'hours = "23-7"', "market.tariff[0].hours"),
        ('hours = "23:00-07:00"', 'hours = "23:00-25:00"', "market.tariff[0].hours"),
        ('retail_price = "0.38"', 'retail_price = "free"', "market.tariff[0].retail_price"),
        ("slot_seconds = 900", "market_slot_seconds = 90", "market.market_slot_seconds"),
        ('role = "operator"', 'role = "observer"', "validator[0].role"),
        (public("meter of der-1"), public("der-1"), "meter[0].id"),
    ],
)
def test_values_that_cannot_be_used_name_key_and_reason(old: str, new: str, key: str) -> None:
    error = refused(changed(old, new))
    assert error.code == "E106"
    assert error.facts["key"] == key
    assert error.facts["why"]


def test_a_plant_without_validators() -> None:
    text = 'schema = 1\nchain_id = "x"\nvalidator = []\n[market]\n' + TARIFFS
    assert refused(text).facts["key"] == "validator"


@pytest.mark.parametrize("engine", ["bncm", "pbft"])
@pytest.mark.parametrize("path", ["auto", "collect", "broadcast"])
def test_the_engines_of_this_build(engine: str, path: str) -> None:
    made = genesis(changed('engine = "bncm"', f'engine = "{engine}"\npath = "{path}"'))
    assert (made.consensus.engine, made.consensus.path) == (engine, path)
    text = render_genesis(
        name=made.name, consensus=made.consensus, market=made.market, validators=made.validators
    )
    assert genesis(text).consensus == made.consensus


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('name = "der-2"', 'name = "der-1"', "validator.name"),
        (public("der-2"), public("der-3"), "validator.id"),
        ('name = "shop"', 'name = "der-1"', "account.name"),
        (public("shop"), public("der-1"), "account.id"),
    ],
)
def test_duplicates(old: str, new: str, key: str) -> None:
    error = refused(changed(old, new))
    assert error.code == "E108"
    assert error.facts["key"] == key


def test_duplicate_meters() -> None:
    meter = GENESIS[GENESIS.index("[[meter]]") :]
    error = refused(GENESIS + meter)
    assert (error.code, error.facts["key"]) == ("E108", "meter.id")


@pytest.mark.parametrize(
    ("hours", "minute"),
    [
        ("07:00-22:59", "22:59"),
        ("07:01-23:00", "07:00"),
        ("07:00-23:01", "23:00"),
        ("06:59-23:00", "06:59"),
    ],
)
def test_the_tariffs_cover_each_minute_exactly_once(hours: str, minute: str) -> None:
    error = refused(changed("07:00-23:00", hours))
    assert error.code == "E109"
    assert error.facts["minute"] == minute


def test_one_tariff_may_cover_the_whole_day() -> None:
    text = GENESIS.replace(TARIFFS, TARIFFS.split("[[market.tariff]]")[0])
    text = text.replace(
        "slot_seconds = 900",
        'slot_seconds = 900\n[[market.tariff]]\nhours = "00:00-24:00"\n'
        'retail_price = "1"\nfeed_in_price = "1"\n',
    )
    assert genesis(text).market.tariffs[0].end_minute == DAY_MINUTES


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('engine = "bncm"', "max_tx_bytes = 2000\nmax_block_bytes = 1999"),
        ('engine = "bncm"', "max_block_bytes = 983040"),
        ('engine = "bncm"', "view_timeout_ms = 10001"),
        ("slot_seconds = 900", "open_lead_ms = 300000"),
        ("slot_seconds = 900", "slot_seconds = 900\nslot_ms = 900000"),
        ("slot_seconds = 900", 'max_price = "0.56"'),
        ('feed_in_price = "0.24"', 'feed_in_price = "0.39"'),
        ("slot_seconds = 900", 'max_quantity_wh = 5\nmax_price = "1000000000000"'),
    ],
)
def test_limits_that_contradict_each_other(old: str, new: str) -> None:
    error = refused(changed(old, new))
    assert error.code == "E110"
    assert len(error.facts) == 3, "the file and both values"


def test_all_the_money_can_be_counted() -> None:
    rich = "".join(
        f'[[account]]\nname = "rich-{i}"\nid = "{public(f"rich-{i}")}"\nbalance = "1000000000000"\n'
        for i in range(5)
    )
    error = refused(GENESIS + rich)
    assert error.code == "E110"
    assert "sum of account.balance" in error.what
    genesis(GENESIS + rich[: rich.index('[[account]]\nname = "rich-4')])


@pytest.mark.parametrize("rules", get_args(MarketRules))
@pytest.mark.parametrize(
    ("quantity", "price"), [(2**50, "0.004"), (4, "1000000000000"), (1, "1000000000000")]
)
def test_what_is_let_through_the_ledger_can_run(rules: str, quantity: int, price: str) -> None:
    text = changed(
        "slot_seconds = 900",
        f'rules = "{rules}"\nmax_quantity_wh = {quantity}\nmax_price = "{price}"',
    )
    if price == "0.004":
        text = re.sub(r'(retail|feed_in)_price = ".*"', r'\1_price = "0.001"', text)
    opening_state(genesis(text))


def test_limits_may_touch() -> None:
    genesis(changed('engine = "bncm"', "max_tx_bytes = 2000\nmax_block_bytes = 2000"))
    genesis(changed('engine = "bncm"', "max_block_bytes = 983039"))
    genesis(changed("slot_seconds = 900", "open_lead_ms = 300001"))


def with_sharing(lines: str) -> str:
    return changed("[[market.tariff]]", f"[market.sharing]\n{lines}\n\n[[market.tariff]]")


def test_how_a_plant_shares_that_bids_as_a_whole() -> None:
    assert genesis().market.sharing == SharingRules()
    text = with_sharing(
        'penalty_price = "0.25"\ntolerance_ppm = 5\nsamples = 7\nseed = "2026-05.a_b"'
    )
    assert genesis(text).market.sharing == SharingRules(
        penalty_price=250_000, tolerance_ppm=5, samples=7, seed="2026-05.a_b"
    )


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('penalty_price = "-1"', "E106"),
        ("penalty_price = 1", "E103"),
        ('penalty_price = "1000.01"', "E110"),
        ("tolerance_ppm = 1000001", "E103"),
        ("tolerance_ppm = -1", "E103"),
        ("samples = 0", "E103"),
        ("samples = 1000001", "E103"),
        ('seed = "with blank"', "E103"),
        (f'seed = "{"a" * 65}"', "E103"),
        ('sead = "x"', "E102"),
    ],
)
def test_rules_of_sharing_that_cannot_be_are_refused(line: str, code: str) -> None:
    error = refused(with_sharing(line))
    assert error.code == code
    assert "market.sharing" in str(error.facts)


def test_consent_is_given_by_signature_or_explicitly() -> None:
    assert genesis().market.consent == "signature"
    text = changed("[market]\n", '[market]\nconsent = "explicit"\n')
    made = genesis(text).market
    assert made.consent == "explicit"
    assert 'consent = "explicit"' in "\n".join(market_lines(made))
    assert not any("consent" in line for line in market_lines(genesis().market))
    error = refused(changed("[market]\n", '[market]\nconsent = "perhaps"\n'))
    assert "market.consent" in str(error.facts)


def test_f_within_bounds() -> None:
    assert genesis(changed('engine = "bncm"', "f = 1")).consensus.f == 1
    assert genesis(changed('engine = "bncm"', "f = 0")).consensus.f == 0
    error = refused(changed('engine = "bncm"', "f = 2"))
    assert error.code == "E111"
    assert "7 validators" in (error.hint or "")


def test_an_account_without_id_needs_a_validator_of_its_name() -> None:
    error = refused(changed(f'id = "{public("shop")}"\n', ""))
    assert error.code == "E112"
    assert "op-0" in error.facts["validators"]


def test_a_meter_needs_an_account() -> None:
    error = refused(changed('account = "der-1"', 'account = "der-9"'))
    assert error.code == "E112"
    assert error.facts["key"] == "meter[0].account"


def test_slots_in_milliseconds() -> None:
    assert genesis(changed("slot_seconds = 900", "slot_ms = 250")).market.slot_ms == 250
    assert genesis(changed("slot_seconds = 900", "")).market.slot_ms == 900_000


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True)
micros = st.integers(0, 10**18)
millis = st.integers(1, 10**12)


@st.composite
def tariffs(draw: st.DrawFn) -> tuple[Tariff, ...]:
    cuts = sorted(draw(st.sets(st.integers(0, DAY_MINUTES - 1), min_size=2, max_size=6)))
    pairs = zip(cuts, [*cuts[1:], cuts[0]], strict=True)
    made = []
    for start, end in pairs:
        feed_in, retail = sorted(draw(st.tuples(micros, micros)))
        made.append(
            Tariff(start_minute=start, end_minute=end, retail_price=retail, feed_in_price=feed_in)
        )
    return tuple(made)


sharings = st.builds(
    SharingRules,
    penalty_price=micros,
    tolerance_ppm=st.integers(0, PPM),
    samples=st.integers(1, 1_000_000),
    seed=st.text("aZ09._-", max_size=8),
)


@st.composite
def markets(draw: st.DrawFn) -> MarketRulesSection:
    gate, opens = sorted(draw(st.sets(millis, min_size=2, max_size=2)))
    return MarketRulesSection(
        rules=draw(st.sampled_from(get_args(MarketRules))),
        currency=draw(st.sampled_from(["CNY", "EUR"])),
        origin_ms=draw(millis),
        slot_ms=draw(st.integers(1, 10**9)),
        market_slot_minutes=draw(st.integers(1, DAY_MINUTES)),
        market_offset_minutes=draw(st.integers(0, DAY_MINUTES - 1)),
        open_lead_ms=opens,
        gate_lead_ms=gate,
        metering_ms=draw(millis),
        dispute_slots=draw(st.integers(0, 1_000)),
        max_quantity_wh=draw(st.integers(1, 4)),
        max_price=10**18,
        tariffs=draw(tariffs()),
        consent=draw(st.sampled_from(get_args(ConsentMode))),
        sharing=draw(sharings),
    )


@given(
    name=names,
    market=markets(),
    members=st.dictionaries(names, micros, min_size=1, max_size=4),
    credit=st.integers(0, PPM),
    register=st.integers(0, 10**12),
    lowest_f=st.booleans(),
    timeout=st.integers(1, 10_000),
)
def test_what_is_rendered_reads_back_the_same(
    name: str,
    market: MarketRulesSection,
    members: dict[str, int],
    credit: int,
    register: int,
    lowest_f: bool,
    timeout: int,
) -> None:
    consensus = ConsensusRules(f=0 if lowest_f else None, view_timeout_ms=timeout)
    validators = tuple(
        ValidatorEntry(name=n, role=Role.DER, key=SigningKey(seed(n)).public_key) for n in members
    )
    accounts = tuple(
        AccountEntry(name=v.name, key=v.key, balance=members[v.name], credit=credit, bus=register)
        for v in validators
        if register < 2**31
    )
    meters = tuple(
        MeterEntry(
            key=SigningKey(seed("meter of " + a.name)).public_key,
            account=a.name,
            import_wh=register,
            export_wh=register + 1,
            first_slot=register,
        )
        for a in accounts
    )
    text = render_genesis(
        name=name,
        consensus=consensus,
        market=market,
        validators=validators,
        accounts=accounts,
        meters=meters,
    )
    made = genesis(text)
    assert made.name == name
    assert made.consensus == consensus
    assert made.market == market
    assert made.validators == validators
    assert made.accounts == accounts
    assert made.meters == meters


def test_every_consensus_rule_is_written_out() -> None:
    made = genesis()
    text = render_genesis(
        name=made.name,
        consensus=made.consensus,
        market=made.market,
        validators=made.validators,
    )
    written = {line.partition(" = ")[0] for line in text.splitlines()}
    left = set(ConsensusRules.__struct_fields__) - written
    assert left == {"f", "dpos"}, "f has no number by default, dpos no say in other engines"
    assert "dpos" not in text
    assert "governance" not in text


def test_every_rule_of_dpos_is_written_out() -> None:
    made = genesis()
    text = render_genesis(
        name=made.name,
        consensus=ConsensusRules(engine=Engine("dpos")),
        market=made.market,
        validators=made.validators,
    )
    section = text.partition("[consensus.dpos]")[2].partition("[market]")[0]
    written = {line.partition(" = ")[0] for line in section.split("\n") if line}
    assert written == set(DposRules.__struct_fields__)


# -- engine dpos, governance


def dpos(rules: str = "", engine: str = "dpos") -> str:
    old = 'engine = "bncm"\n'
    return GENESIS.replace(old, f'engine = "{engine}"\n[consensus.dpos]\n{rules}\n', 1)


def governance(rules: str) -> str:
    return GENESIS.replace("[market]\n", f"[governance]\n{rules}\n[market]\n", 1)


def test_dpos_as_written() -> None:
    made = genesis(
        dpos('alpha_ppm = 1\ndelegates = 2\npunish_epochs = 9\nranking = "largest-producer"')
    )
    assert made.consensus.engine == "dpos"
    assert made.consensus.dpos == DposRules(
        alpha_ppm=1, delegates=2, punish_epochs=9, ranking="largest-producer"
    )
    assert genesis(dpos()).consensus.dpos == DposRules() == genesis().consensus.dpos


@pytest.mark.parametrize(
    "rule",
    [
        "alpha_ppm = 1000001", "alpha_ppm = -1", "alpha_ppm = 0.7", "delegates = 0",
        "delegates = 257", "punish_epochs = 0", 'ranking = "richest"',
    ],
)  # fmt: skip
def test_bad_rules_of_dpos_name_the_key(rule: str) -> None:
    error = refused(dpos(rule))
    assert error.code == "E103"
    assert rule.partition(" ")[0] in str(error)


def test_f_is_that_of_the_producers_not_of_the_candidates() -> None:
    three = dpos("delegates = 3").replace('engine = "dpos"', 'engine = "dpos"\nf = 1')
    assert refused(three).code == "E111"
    assert genesis(three.replace("delegates = 3", "delegates = 4")).consensus.f == 1


def test_the_founding_era_has_the_first_delegates_or_everybody() -> None:
    names = [member.name for member in founding_era(genesis(dpos("delegates = 3"))).members]
    assert names == list(NAMES[:3])
    era = founding_era(genesis(dpos("delegates = 3", engine="pbft")))
    assert [member.name for member in era.members] == list(NAMES)
    assert [member.operator for member in era.members] == [True, False, False, False]
    assert (era.epoch, era.first, era.engine, era.rules) == (0, 1, "pbft", ())


def test_rules_of_an_era_are_those_of_genesis_with_its_own_numbers() -> None:
    made = genesis(dpos())
    era = msgspec.structs.replace(
        founding_era(made), engine="bncm", f=1, rules=(("delegates", 7), ("max_tx_ops", 9))
    )
    rules = rules_in(made, era)
    assert (rules.engine, rules.f, rules.max_tx_ops, rules.dpos.delegates) == ("bncm", 1, 9, 7)
    assert rules_in(made, founding_era(made)) == made.consensus


def test_every_settable_number_is_one_of_consensus() -> None:
    names = {*ConsensusRules.__struct_fields__, *DposRules.__struct_fields__}
    assert set(SETTABLE) <= names
    assert list(SETTABLE) == sorted(SETTABLE)


def test_governance_as_written() -> None:
    assert genesis().governance == Governance()
    made = genesis(governance(f'threshold = 3\nauthority = ["{public("ra")}"]')).governance
    assert made == Governance(threshold=3, authority=(SigningKey(seed("ra")).public_key,))


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("threshold = 5", "E110"),
        ("threshold = 0", "E103"),
        ('authority = ["ed25519:x"]', "E106"),
        (f'authority = ["{public("ra")}", "{public("ra")}"]', "E108"),
        ('authority = "me"', "E103"),
        ("treshold = 1", "E102"),
    ],
)
def test_bad_governance_is_named(rule: str, code: str) -> None:
    assert refused(governance(rule)).code == code


@pytest.mark.parametrize("engine", ["bncm", "dpos"])
@pytest.mark.parametrize("rules", [DposRules(), DposRules(delegates=2, ranking="largest-producer")])
@pytest.mark.parametrize(
    "says",
    [Governance(), Governance(threshold=2), Governance(authority=(bytes(31) + b"\1", bytes(32)))],
)
def test_dpos_and_governance_read_back_the_same(
    engine: str, rules: DposRules, says: Governance
) -> None:
    made = genesis()
    text = render_genesis(
        name=made.name,
        consensus=ConsensusRules(engine=Engine(engine), dpos=rules),
        market=made.market,
        validators=made.validators,
        governance=says,
    )
    back = genesis(text)
    assert (back.consensus.engine, back.consensus.dpos, back.governance) == (engine, rules, says)
