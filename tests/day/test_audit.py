"""The second opinion: silent about a clean chain, and how it reads one; its own arithmetic."""

from __future__ import annotations

import ast
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vppd
from tests.day.audited import (
    ALL_RULES,
    TARIFFS,
    Day,
    every_event,
    plant,
    play,
    play_on,
)
from tests.ledger.chain import (
    ANN,
    ANN_METER,
    BOB,
    BOB_METER,
    CAT,
    OPENING,
    bid,
    market,
    offer,
    reading,
    start_of,
)
from tests.ledger.council import NODES
from tests.ledger.council import plant as council_plant
from tests.ledger.test_producers import Republic
from tests.ledger.upheaval import Upheaval, founding
from vppd.config.genesis import Genesis, MarketRules, MarketRulesSection
from vppd.config.genesis_file import parse_genesis, render_genesis
from vppd.consensus.boundary import BodyRecord, DecisionRecord
from vppd.consensus.messages import Certificate, CertificateKind
from vppd.crypto import SigningKey
from vppd.day.audit import ExportedBlock, audit_blocks, audit_store
from vppd.day.audit import rules as second
from vppd.errors import UserError
from vppd.ledger.codes import Status
from vppd.ledger.events import (
    OrderAccepted,
    Posted,
    ReadingAccepted,
    Reason,
    Settled,
    SettlementFlag,
    SlotAdvanced,
    Traded,
)
from vppd.ledger.execution import Ledger
from vppd.ledger.receipts import Receipt, decode_receipt
from vppd.ledger.slots import Phase, due_ms, phase_at
from vppd.ledger.trading import bid_escrow
from vppd.ledger.transaction import Op, Transfer
from vppd.market import auction
from vppd.market.money import amount_micro
from vppd.market.settlement import settle_imbalance
from vppd.market.tariff import tariff_for
from vppd.merkle import merkle_root
from vppd.store.chain import ChainStore, ExecutionRow
from vppd.types import TimeMs


@pytest.fixture(scope="module")
def day() -> Day:
    """Not to be changed."""
    return play()


# -- a clean chain


ELSEWHERE = {
    Reason.DEPOSIT, Reason.PAYOUT, Reason.SHARING, Reason.PENALTY,
    Reason.GRID_FEE, Reason.LEVY, Reason.REWARD,
}  # fmt: skip
"""Contracts move these, cooperative slots, and fees."""


@pytest.mark.parametrize("rules", ALL_RULES)
def test_a_clean_day_has_no_findings(rules: MarketRules) -> None:
    report = play(rules).audit()
    assert report.findings == []
    assert report.trades >= 3 or rules == "cooperative"


def test_the_day_has_everything_that_can_be_got_wrong(day: Day) -> None:
    events = [event for _, _, event in every_event(day.exported)]
    assert {type(event) for event in events} == {
        Posted, SlotAdvanced, OrderAccepted, Traded, ReadingAccepted, Settled,
    }  # fmt: skip
    assert {e.reason for e in events if isinstance(e, Posted)} == set(Reason) - ELSEWHERE
    assert {e.phase for e in events if isinstance(e, SlotAdvanced)} == set(Phase)
    assert {e.round for e in events if isinstance(e, Traded)} == {1, 2}
    settled = [e for e in events if isinstance(e, Settled)]
    assert {e.flags for e in settled} == {0, SettlementFlag.ESTIMATED, SettlementFlag.CORRECTED}
    assert any(e.imbalance_wh > 0 for e in settled)
    assert any(e.imbalance_wh < 0 for e in settled)
    statuses = {decode_receipt(raw).status for block in day.exported for raw in block.receipts}
    assert statuses == set(Status)


def test_the_report_counts_blocks_transactions_and_trades(day: Day) -> None:
    report = day.audit()
    traded = [e for _, _, e in every_event(day.exported) if isinstance(e, Traded)]
    assert report.height == len(day.exported)
    assert report.head == day.blocks[-1][0].digest().hex()
    assert report.transactions == sum(len(txs) for _, txs in day.blocks)
    assert (report.trades, report.traded_wh) == (
        len(traded),
        sum(trade.quantity_wh for trade in traded),
    )


def test_paid_is_what_balances_have_lost_but_for_transfers(day: Day) -> None:
    paid = {member.name: member.paid_micro for member in day.audit().members}
    assert paid == {
        "ann": OPENING + 77_777 - day.balance(ANN),
        "bob": OPENING - day.balance(BOB),
        "cat": OPENING - 77_777 - day.balance(CAT),
    }
    assert paid["ann"] < 0 < paid["bob"]


def test_grid_only_prices_registers_slot_by_slot_at_the_grid(day: Day) -> None:
    ann, bob, cat = day.audit().members
    # Registers at the ends of slots 0, 1, 2 as corrected, each slot in a tariff of its own.
    assert ann.net_wh == (399 - 100) - (6_100 - 50)
    assert ann.paid_grid_only_micro == (
        (1_140 - 1_134_485)  # 3 Wh · 0.38; 4,727 Wh · 0.240001 = 1,134,484.727
        + (3_990 - 464_364)  # 7 Wh · 0.570001 = 3,990.007; 1,222 Wh · 0.380003 = 464,363.666
        + (248_542 - 65_650)  # 289 Wh · 0.860007 = 248,542.023; 101 Wh · 0.65
    )
    assert bob.net_wh == 3_600 - 21
    assert (cat.net_wh, cat.paid_grid_only_micro) == (0, 0)


def test_roles_come_from_genesis(day: Day) -> None:
    assert [(member.name, member.role) for member in day.audit().members] == [
        ("ann", "operator"),
        ("bob", "der"),
        ("cat", "member"),
    ]


def test_without_blocks_nothing_has_happened() -> None:
    report = audit_blocks(plant(), [])
    assert (report.height, report.head, report.findings) == (0, plant().digest.hex(), [])
    assert [member.paid_micro for member in report.members] == [0, 0, 0]


def test_energy_that_is_not_settled_yet_is_not_billed() -> None:
    day = Day(plant())
    day.ok(start_of(1), ANN_METER, reading(0, 600, 50))
    assert day.audit().members[0].net_wh == 0
    day.block(start_of(1) + 5_000)
    assert day.audit().members[0].net_wh == 500


prices = st.integers(200_000, 700_000)
energies = st.integers(1, 3_000)
slots = st.integers(0, 3)
orders = st.builds(
    lambda make, slot, wh, low, high: make(slot, wh, low, high),
    st.sampled_from([lambda s, q, a, b: offer(s, q, max(a, b), min(a, b)),
                     lambda s, q, a, b: bid(s, q, min(a, b), max(a, b))]),
    slots, energies, prices, prices,
)  # fmt: skip
transfers = st.builds(
    Transfer, st.sampled_from([ANN, BOB, CAT]).map(lambda k: k.public_key), st.integers(0, 10**6)
)
readings = st.builds(
    lambda slot, imported, exported: reading(slot, 700 * slot + imported, 700 * slot + exported),
    slots, st.integers(100, 799), st.integers(50, 749),
)  # fmt: skip
"""Mostly registers that do not run backwards."""
actions = st.one_of(
    st.tuples(
        st.sampled_from([ANN, BOB, CAT]), st.lists(orders | transfers, min_size=1, max_size=3)
    ),
    st.tuples(st.sampled_from([ANN_METER, BOB_METER]), st.lists(readings, min_size=1, max_size=2)),
)


@settings(deadline=None)
@given(
    st.sampled_from(ALL_RULES),
    st.lists(st.tuples(st.integers(1, 15_000), st.lists(actions, max_size=3)), max_size=12),
)
def test_whatever_the_ledger_does_has_no_findings(
    rules: MarketRules, script: list[tuple[int, list[tuple[SigningKey, list[Op]]]]]
) -> None:
    day = Day(plant(rules))
    now = start_of(0) - 25_000
    for wait, todo in script:
        now += wait
        day.block(now, *(day.tx(key, *ops) for key, ops in todo))
    day.block(now + 100_000)
    assert day.audit().findings == []


# -- the rules, a second time


whs = st.integers(0, 10**9)
micros = st.integers(0, 10**9)
ppms = st.integers(0, 10**6)


@given(whs, micros)
def test_amounts_agree(wh: int, price: int) -> None:
    assert second.amount(wh, price) == amount_micro(wh, price)


@pytest.mark.parametrize(("wh", "price", "right"), [(1, 500, 0), (3, 500, 2), (5, 500, 2)])
def test_amounts_are_rounded_half_to_even(wh: int, price: int, right: int) -> None:
    assert second.amount(wh, price) == right


@given(st.sampled_from(ALL_RULES), micros, ppms, micros, ppms)
def test_trade_prices_agree(
    name: MarketRules, offer_price: int, seller: int, bid_price: int, buyer: int
) -> None:
    terms = (offer_price, seller, bid_price, buyer)
    ours = second.trade_price(second.RULE_SETS[name], *terms)
    assert ours == auction.trade_price(auction.RULES[name], *terms)


@given(st.sampled_from(ALL_RULES), whs, micros, micros)
def test_what_bids_set_aside_agrees(name: MarketRules, wh: int, price: int, reserve: int) -> None:
    ours = second.set_aside(second.RULE_SETS[name], wh, price, reserve)
    assert ours == bid_escrow(auction.RULES[name], wh, price, reserve)


@given(whs, whs, whs, whs)
def test_imbalances_agree(sold: int, bought: int, imported: int, exported: int) -> None:
    tariff = TARIFFS[0]
    theirs = settle_imbalance(
        sold_wh=sold,
        bought_wh=bought,
        import_wh=imported,
        export_wh=exported,
        retail_price=tariff.retail_price,
        feed_in_price=tariff.feed_in_price,
    )
    assert second.owed_to_grid((exported - imported) - (sold - bought), tariff) == theirs.amount


@given(st.integers(0, 10**6), st.integers(1, 1_440), st.integers(0, 1_439), st.integers(0, 10**12))
def test_calendars_agree(slot: int, minutes: int, offset: int, time_ms: int) -> None:
    section: MarketRulesSection = market(
        tariffs=TARIFFS, market_slot_minutes=minutes, market_offset_minutes=offset
    )
    calendar = second.Calendar(section)
    assert calendar.tariff(slot) == tariff_for(section, slot)
    ours, theirs = calendar.phase(slot, time_ms), phase_at(section, slot, time_ms)
    assert (ours and int(ours)) == (theirs and int(theirs))
    for phase in Phase:
        assert calendar.due_ms(slot, second.Phase(phase)) == due_ms(section, slot, phase)


@given(st.lists(st.binary(max_size=3), max_size=40))
def test_tree_roots_agree(leaves: list[bytes]) -> None:
    assert second.tree_root(leaves) == merkle_root(leaves)


FORBIDDEN = (
    "vppd.market",
    "vppd.merkle",
    *(f"vppd.ledger.{name}" for name in (
        "buckets", "consent", "context", "execution", "metering", "opening", "orders", "settling",
        "sharing", "slots", "state", "trading", "views",
    )),
)  # fmt: skip


def imported_by(path: Path) -> set[str]:
    """Names of the modules a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_the_audit_shares_no_code_with_what_it_audits() -> None:
    package = Path(vppd.__file__).parent
    wrong = {
        f"{path.name} imports {name}"
        for path in (package / "day" / "audit").glob("*.py")
        for name in imported_by(path)
        if any(name == banned or name.startswith(f"{banned}.") for banned in FORBIDDEN)
    }
    assert not wrong


def test_the_records_it_reads_with_lead_nowhere_else() -> None:
    """No record reaches the rules by another way."""
    package = Path(vppd.__file__).parent
    records = (
        "receipts", "transaction", "changes", "proofs", "events", "member_events", "codes",
        "contracts/ops", "order_ops", "kinds/terms", "plan_ops", "registration/ops",
    )  # fmt: skip
    names = {name for file in records for name in imported_by(package / f"ledger/{file}.py")}
    allowed = tuple("vppd.ledger." + file.replace("/", ".") for file in records)
    own = {name for name in names if name.startswith(("vppd.ledger", "vppd.market"))}
    assert not {name for name in own if not name.startswith(allowed)}
    core = {name for name in names if name.startswith("vppd.consensus.")}
    assert all(name.startswith("vppd.consensus.messages") for name in core)


class Overseen(Republic):
    """Its blocks are kept as a client would get them."""

    def __init__(self, made: Genesis) -> None:
        super().__init__(made)
        self.exported: list[ExportedBlock] = []

    def block(self, time_ms: TimeMs, *txs: bytes) -> list[Receipt]:
        receipts = super().block(time_ms, *txs)
        assert self.last is not None
        self.exported.append(ExportedBlock(self.blocks[-1][0].encode(), txs, self.last.receipts))
        return receipts


@pytest.mark.parametrize("seed", range(4))
def test_members_that_come_and_go_have_no_findings(seed: int) -> None:
    republic = Overseen(founding(seed))
    upheaval = Upheaval(Random(seed))
    for _ in range(80):
        upheaval.block(republic)
    report = audit_blocks(republic.genesis, republic.exported)
    assert report.findings == [], seed
    assert republic.latest.epoch > 3, "else nothing has happened"


def test_a_new_member_pays_with_an_account_that_was_opened() -> None:
    council = Overseen(council_plant(4))
    new = NODES[9]
    council.decide(council.add(new))
    council.pack(council.tx(NODES[0], Transfer(new.public_key, 70)))
    council.pack(council.tx(new, Transfer(NODES[1].public_key, 30)))
    assert council.balance(new) == 40
    assert audit_blocks(council.genesis, council.exported).findings == []


# -- a store on disk


async def stored(day: Day, path: Path, executed: int) -> None:
    """A node's store with the whole chain, of which the first blocks have been executed."""
    ledger = Ledger.from_genesis(day.genesis)
    await ChainStore.create(path, day.genesis.digest)
    async with await ChainStore.open(path, day.genesis.digest, "off") as store:
        await store.seed_state(ledger.entries())
        for header, txs in day.blocks:
            height, digest = header.height, header.digest()
            certificate = Certificate(CertificateKind.COMMIT, 0, 0, height, digest, b"", ())
            body = BodyRecord(digest, height, 0, header.encode(), txs, bytes(64))
            await store.persist([body, DecisionRecord(height, digest, certificate)])
            if height <= executed:
                done = ledger.execute(header, txs)
                store.put_execution(ExecutionRow.of(done))


@pytest.fixture
def founded(tmp_path: Path) -> tuple[Day, Path]:
    """The same day on a chain whose genesis is a file."""
    base = plant()
    file = tmp_path / "genesis.toml"
    file.write_text(
        render_genesis(
            name=base.name,
            consensus=base.consensus,
            market=base.market,
            validators=base.validators,
            accounts=base.accounts,
            meters=base.meters,
        )
    )
    return play_on(parse_genesis(file.read_bytes())), file


async def test_a_store_is_audited_as_its_blocks_are(founded: tuple[Day, Path]) -> None:
    day, file = founded
    store = file.with_name("chain.db")
    await stored(day, store, executed=len(day.blocks))
    report = audit_store(store, file)
    assert report == day.audit()
    assert report.findings == []


async def test_auditing_a_store_does_not_change_it(founded: tuple[Day, Path]) -> None:
    day, file = founded
    store = file.with_name("chain.db")
    await stored(day, store, executed=len(day.blocks))
    before = store.read_bytes()
    audit_store(store, file)
    assert store.read_bytes() == before


async def test_a_decided_block_that_was_not_executed_cannot_be_vouched_for(
    founded: tuple[Day, Path],
) -> None:
    day, file = founded
    store = file.with_name("chain.db")
    await stored(day, store, executed=len(day.blocks) - 1)
    report = audit_store(store, file)
    assert report.height == len(day.blocks)
    assert report.findings == [
        f"height {len(day.blocks)}: there are 0 receipts, 1 are needed",
    ]


async def test_a_store_of_another_chain_is_refused(founded: tuple[Day, Path]) -> None:
    _, file = founded
    store = file.with_name("chain.db")
    await ChainStore.create(store, bytes(32))
    with pytest.raises(UserError, match="E251"):
        audit_store(store, file)


def test_no_store_is_said_so(founded: tuple[Day, Path]) -> None:
    _, file = founded
    with pytest.raises(UserError, match="E250"):
        audit_store(file.with_name("chain.db"), file)
