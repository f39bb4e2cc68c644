"""The contract engine: opened, called and fired, each trigger once; bounded by what is held."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.config.plugin import distributions, install
from tests.ledger.chain import ANN, ANN_METER, BOB, CAT, OPENING, Chain, events, genesis, start_of
from vppd.codec import encode
from vppd.config.genesis import ContractRules
from vppd.crypto import sha256
from vppd.errors import ConfigError
from vppd.ledger.codes import ErrorCode
from vppd.ledger.contracts.ops import CallContract, OpenContract
from vppd.ledger.events import Cause, ContractMoved, ContractSaid, Posted, Purse, Reason
from vppd.ledger.execution import Ledger
from vppd.types import TimeMs

PAGE = (Path(__file__).parents[2] / "docs" / "contracts.md").read_text(encoding="utf-8")
PLEDGE = PAGE.partition("```python contract\n")[2].partition("```\n")[0]
"""As the manual gives it."""
RASCAL = '''
from vppd.ledger.contracts.kind import Kind, Standing, KindName


class Rascal(Kind):
    """Does in each phase what no kind may."""

    name = KindName("rascal")
    phases = tuple("abc")
    methods = ("boom", "overpay", "strange", "hoard", "endless", "late", "vanish")

    def open(self, desk, terms):
        desk.deposit(100)
        due = int.from_bytes(terms, "big")
        desk.say(7, b"here")
        return Standing(0, terms, due or None)

    def call(self, desk, now, method, args):
        match self.methods[method]:
            case "boom":
                desk.pay(desk.owner, 50)
                raise ZeroDivisionError
            case "overpay":
                desk.pay(desk.owner, 101)
            case "strange":
                return "somewhere"
            case "hoard":
                return now._replace(data=bytes(20_000))
            case "endless":
                desk.pay(desk.owner, -5)
            case "late":
                desk.pay(args, 1)
            case "vanish":
                return Standing(0, b"", ended=True)
        return now

    def fire(self, desk, now):
        match desk.held:
            case 100:
                desk.pay(desk.owner, 40)
                return Standing(1, now.data, now.due_ms + 1)
            case 60:
                desk.pay(desk.owner, 1)
                return Standing(2, now.data, now.due_ms)
        raise ZeroDivisionError


RASCAL = Rascal()
'''


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    """A plant on which the two toy kinds are installed."""
    install(tmp_path, "pledge", "PLEDGE", PLEDGE, "pledge", "vppd.contracts")
    install(tmp_path, "rascal", "RASCAL", RASCAL, "rascal", "vppd.contracts")
    with distributions(tmp_path):
        yield Chain(genesis(contracts=ContractRules(kinds=("pledge", "rascal"))))


def pledge(due_ms: TimeMs, amount: int = 1_000) -> OpenContract:
    return OpenContract("pledge", encode((CAT.public_key, due_ms, amount)))


def rascal(due_ms: TimeMs = 0) -> OpenContract:
    return OpenContract("rascal", due_ms.to_bytes(8, "big"))


def test_a_contract_collects_and_pays_when_its_time_has_come_once(chain: Chain) -> None:
    due = start_of(3)
    opened = chain.ok(start_of(0), ANN, pledge(due))
    assert events(opened, ContractMoved) == [
        ContractMoved(0, "pledge", 0, Cause.OPENED, 0, ended=False)
    ]
    chain.ok(start_of(1), BOB, CallContract(0, 0, encode((500,))))
    assert chain.ledger.next_due_ms == due
    assert [c.held for _, c in chain.ledger.contracts()] == [1_500]
    assert events(chain.block(due - 1)[0], ContractMoved) == []
    fired = chain.block(due)[0]
    assert events(fired, ContractMoved) == [
        ContractMoved(0, "pledge", 0, Cause.FIRED, 0, ended=True)
    ]
    assert events(fired, Posted) == [
        Posted(bytes(32), Purse.CONTRACT, -1_500, Reason.PAYOUT),
        Posted(CAT.public_key, Purse.BALANCE, 1_500, Reason.PAYOUT),
    ]
    assert chain.balance(CAT) == OPENING + 1_500
    assert list(chain.ledger.contracts()) == []
    assert events(chain.block(due + 1)[0], ContractMoved) == []
    assert chain.ledger.next_due_ms is None


def test_what_follows_an_ended_contract_has_the_next_number(chain: Chain) -> None:
    chain.ok(start_of(0), ANN, pledge(start_of(1)))
    chain.block(start_of(1))
    chain.ok(start_of(1) + 1, BOB, pledge(start_of(2)), pledge(start_of(3)))
    assert [number for number, _ in chain.ledger.contracts()] == [1, 2]
    failed = chain.fails(start_of(1) + 2, CAT, CallContract(0, 0, encode((1,))))
    assert failed == (ErrorCode.UNKNOWN_CONTRACT, ())


@pytest.mark.parametrize(
    ("op", "code", "detail"),
    [
        (OpenContract("nothing", b""), ErrorCode.UNKNOWN_KIND, ()),
        (OpenContract("pledge", b"junk"), ErrorCode.BAD_TERMS, ()),
        (pledge(start_of(0)), ErrorCode.CONTRACT_REFUSED, (1,)),
        (pledge(start_of(9), OPENING + 5), ErrorCode.INSUFFICIENT_FUNDS, (5,)),
        (CallContract(9, 0, b""), ErrorCode.UNKNOWN_CONTRACT, ()),
        (CallContract(0, 7, b""), ErrorCode.BAD_TERMS, ()),
        (CallContract(0, 0, b""), ErrorCode.CONTRACT_BROKEN, ()),
        (CallContract(0, 1, b""), ErrorCode.CONTRACT_OVERDRAWN, (1,)),
        (CallContract(0, 2, b""), ErrorCode.CONTRACT_BROKEN, ()),
        (CallContract(0, 3, b""), ErrorCode.CONTRACT_BROKEN, ()),
        (CallContract(0, 4, b""), ErrorCode.AMOUNT_OUT_OF_RANGE, ()),
        (CallContract(0, 5, bytes(32)), ErrorCode.UNKNOWN_RECIPIENT, ()),
        (CallContract(0, 6, b""), ErrorCode.CONTRACT_BROKEN, ()),
    ],
)
def test_what_is_refused_changes_nothing(
    chain: Chain, op: OpenContract | CallContract, code: ErrorCode, detail: tuple[int, ...]
) -> None:
    chain.ok(start_of(0), ANN, rascal())
    assert chain.fails(start_of(0) + 1, BOB, op) == (code, detail)


def test_a_meter_opens_nothing(chain: Chain) -> None:
    failed = chain.fails(start_of(0), ANN_METER, pledge(start_of(1)))
    assert failed == (ErrorCode.NOT_AN_ACCOUNT, ())


def test_a_failed_transaction_leaves_no_contract_and_no_trigger(chain: Chain) -> None:
    chain.fails(start_of(0), ANN, pledge(start_of(1)), OpenContract("nothing", b""))
    assert list(chain.ledger.contracts()) == []
    assert chain.ledger.next_due_ms is None
    chain.ok(start_of(0) + 1, ANN, pledge(start_of(1)))
    assert [number for number, _ in chain.ledger.contracts()] == [0]


def test_a_contract_fires_once_per_block_and_halts_when_it_would_fire_for_ever(
    chain: Chain,
) -> None:
    due = start_of(1)
    said = chain.ok(start_of(0), ANN, rascal(due))
    assert events(said, ContractSaid) == [ContractSaid(0, 7, b"here")]
    first = chain.block(start_of(2))[0]  # due again at once: not in the same block
    assert [e.cause for e in events(first, ContractMoved)] == [Cause.FIRED]
    assert chain.ledger.next_due_ms == due + 1
    second = chain.block(start_of(2) + 1)[0]
    assert [e.cause for e in events(second, ContractMoved)] == [Cause.HALTED]
    assert events(second, Posted) == [], "what the failed trigger did is undone"
    assert [(c.held, c.due_ms) for _, c in chain.ledger.contracts()] == [(60, None)]
    assert chain.ledger.next_due_ms is None


def test_a_ledger_loaded_from_its_entries_fires_the_same(chain: Chain) -> None:
    chain.ok(start_of(0), ANN, pledge(start_of(3)), rascal(start_of(2)))
    chain.ok(start_of(1), BOB, pledge(start_of(3)))
    header, _ = chain.blocks[-1]
    loaded = Ledger.load(
        chain.genesis,
        chain.ledger.height,
        chain.ledger.entries(),
        header,
        chain.ledger.receipts_root,
    )
    assert loaded.next_due_ms == chain.ledger.next_due_ms
    chain.block(start_of(3))
    header, txs = chain.blocks[-1]
    assert loaded.execute(header, txs).receipts_root == chain.ledger.receipts_root
    assert loaded.state_root == chain.ledger.state_root


def test_slots_fire_before_contracts_that_are_due_at_the_same_time(chain: Chain) -> None:
    from tests.ledger.chain import offer
    from vppd.ledger.events import SlotAdvanced

    chain.ok(start_of(2), ANN, pledge(start_of(3)), offer(3, 10, 1))
    chain.block(start_of(3) - 2_000)
    receipt = chain.block(start_of(3))[0]
    kinds = [type(e) for e in receipt.events if isinstance(e, SlotAdvanced | ContractMoved)]
    assert kinds == [SlotAdvanced, ContractMoved]


def test_people_see_every_contract_and_when_it_moves(chain: Chain) -> None:
    chain.ok(start_of(2), ANN, pledge(start_of(3)))
    (row,) = chain.ledger.contracts_view()
    assert row == {
        "contract": "0",
        "kind": "pledge",
        "phase": "collecting",
        "next_ms": start_of(3),
        "next": None,
        "held_micro": 1_000,
        "owner": "ann",
        "terms": {"to": CAT.public_key.hex(), "due_ms": start_of(3)},
    }


def test_a_kind_nobody_brings_or_that_is_none_stops_the_node() -> None:
    with pytest.raises(ConfigError, match="no kind of contract 'pledge' is installed"):
        Chain(genesis(contracts=ContractRules(kinds=("pledge",))))


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("PLEDGE = 3", "is no Kind"),
        ("raise OSError('no')", "OSError: no"),
        (PLEDGE.replace('KindName("pledge")', 'KindName("other")'), "calls itself 'other'"),
    ],
)
def test_a_kind_that_cannot_be_used_says_why(tmp_path: Path, source: str, why: str) -> None:
    install(tmp_path, "pledge", "PLEDGE", source, "pledge", "vppd.contracts")
    with distributions(tmp_path), pytest.raises(ConfigError) as refusal:
        Chain(genesis(contracts=ContractRules(kinds=("pledge",))))
    assert refusal.value.code == "E127"
    assert why in refusal.value.facts["why"]


def test_a_genesis_without_contracts_knows_no_foreign_kind() -> None:
    chain = Chain(replace(genesis(), digest=sha256(b"other")))
    assert chain.fails(start_of(0), ANN, pledge(start_of(1))) == (ErrorCode.UNKNOWN_KIND, ())


def test_a_kind_that_this_build_has_is_not_brought_by_others() -> None:
    with pytest.raises(ConfigError, match="'event' cannot be used") as refusal:
        Chain(genesis(contracts=ContractRules(kinds=("event",))))
    assert refusal.value.code == "E127"
