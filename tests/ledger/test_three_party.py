"""P0's trading contract (§4.1, Table 2), and trades of the auction that wait for three parties."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.ledger.chain import (
    ANN,
    BOB,
    CAT,
    OPENING,
    STRANGER,
    Chain,
    bid,
    events,
    genesis,
    market,
    offer,
    start_of,
)
from vppd.codec import encode
from vppd.config.genesis import (
    AccountEntry,
    ConsentMode,
    Genesis,
    MarketRulesSection,
    ValidatorEntry,
)
from vppd.crypto import SigningKey, key_text, sha256
from vppd.errors import ConfigError
from vppd.ledger.codes import ErrorCode
from vppd.ledger.contracts.ops import CallContract, OpenContract
from vppd.ledger.events import (
    ContractMoved,
    Posted,
    Purse,
    Reason,
    Settled,
    Traded,
    TradeSigned,
    TradeVoided,
)
from vppd.ledger.kinds.terms import DEAL, THREE_PARTY, DealTerms, Take, ThreePartyTerms
from vppd.ledger.order_ops import SignTrades
from vppd.ledger.records import Ordered
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.state import CONSENT, ORDERED
from vppd.types import Role

NOW = start_of(5) - 20_000
GATE = start_of(5) - 2_000
START = start_of(5)
OP, DER = (SigningKey(sha256(name)) for name in (b"op", b"der"))


def plant(section: MarketRulesSection | None = None) -> Genesis:
    """Op is an operator and Cat another; Der votes without being one."""
    base = genesis(section)
    more = (("op", OP), ("der", DER))
    return replace(
        base,
        accounts=(
            *base.accounts,
            *(AccountEntry(name=name, key=key.public_key, balance=OPENING) for name, key in more),
        ),
        validators=(
            ValidatorEntry(name="op-0", role=Role.OPERATOR, key=OP.public_key),
            ValidatorEntry(name="cat", role=Role.OPERATOR, key=CAT.public_key),
            ValidatorEntry(name="der-1", role=Role.DER, key=DER.public_key),
        ),
    )


def contract(
    supplier: SigningKey = ANN, user: SigningKey = BOB, wh: int = 1_000, price: int = 400_000,
    slot: int = 5,
) -> OpenContract:  # fmt: skip
    asked = ThreePartyTerms(
        slot, supplier.public_key, user.public_key, wh, price, "pv", "never in default"
    )
    return OpenContract(THREE_PARTY, encode(asked))


SIGN, WITHDRAW = CallContract(0, 0, b""), CallContract(0, 1, b"")


def terms(chain: Chain) -> dict[str, object]:
    (row,) = [row for row in chain.ledger.contracts_view() if row["kind"] == THREE_PARTY]
    view: dict[str, object] = row["terms"]
    return view


# -- two calls: no trade; the third: trade


@pytest.mark.parametrize("order", [(ANN, BOB, OP), (BOB, ANN, OP), (ANN, OP, BOB), (BOB, OP, ANN)])
def test_after_two_calls_there_is_no_trade_and_the_third_makes_it(
    order: tuple[SigningKey, SigningKey, SigningKey],
) -> None:
    chain = Chain(plant())
    first, second, third = order
    chain.ok(NOW, first, contract())
    receipt = chain.ok(NOW + 1, second, SIGN)
    assert events(receipt, Traded) == []
    assert list(chain.ledger.trades(5)) == []
    receipt = chain.ok(NOW + 2, third, SIGN)
    assert [(t.seller, t.buyer, t.quantity_wh, t.price) for t in events(receipt, Traded)] == [
        (ANN.public_key, BOB.public_key, 1_000, 400_000)
    ]
    assert [(e.phase, e.ended) for e in events(receipt, ContractMoved)] == [(7, True)]
    assert chain.escrow(BOB) == 400_000
    chain.block(due_ms(chain.genesis.market, 5, Phase.SETTLED))
    assert chain.balance(ANN) == OPENING + 400_000


def test_the_contract_says_what_table_2_says() -> None:
    chain = Chain(plant())
    chain.ok(NOW, BOB, contract())
    assert terms(chain)["maintainer"] is None
    chain.ok(NOW + 1, OP, SIGN)
    assert terms(chain) == {
        "slot": 5,
        "supplier": key_text(ANN.public_key),
        "user": key_text(BOB.public_key),
        "maintainer": key_text(OP.public_key),
        "maintainer_name": "op-0",
        "maintainer_address": "",
        "quantity_wh": 1_000,
        "price_micro": 400_000,
        "classification": "pv",
        "supplier_reputation_ppm": 800_000,
        "user_reputation_ppm": 800_000,
        "supplier_bus": 0,
        "user_bus": 1,
        "remark": "never in default",
        "state": "user, maintainer",
    }


def test_the_users_call_comes_with_the_money() -> None:
    chain = Chain(plant())
    chain.ok(NOW, ANN, contract(wh=25_000))
    assert chain.balance(BOB) == OPENING
    chain.ok(NOW + 1, BOB, SIGN)
    assert chain.balance(BOB) == 0
    poor = Chain(plant())
    poor.ok(NOW, ANN, contract(wh=25_001))
    assert poor.fails(NOW + 1, BOB, SIGN) == (ErrorCode.INSUFFICIENT_FUNDS, (400,))


@pytest.mark.parametrize("who", [ANN, BOB])
def test_a_party_withdraws_until_it_is_concluded(who: SigningKey) -> None:
    chain = Chain(plant())
    chain.ok(NOW, BOB, contract())
    chain.ok(NOW + 1, ANN, SIGN)
    assert chain.fails(NOW + 2, OP, WITHDRAW) == (ErrorCode.NOT_A_PARTY, ())
    chain.ok(NOW + 3, who, WITHDRAW)
    assert chain.balance(BOB) == OPENING
    for key in (ANN, BOB):
        assert chain.ledger._ctx.state.get(ORDERED, 5, key.public_key) == Ordered(1, 0, 0)
    assert chain.fails(NOW + 4, OP, SIGN) == (ErrorCode.UNKNOWN_CONTRACT, ())


def test_what_is_not_concluded_ends_with_the_gate() -> None:
    chain = Chain(plant())
    chain.ok(NOW, BOB, contract())
    chain.ok(NOW + 1, OP, SIGN)
    assert chain.fails(GATE, ANN, SIGN) == (ErrorCode.UNKNOWN_CONTRACT, ())
    assert chain.balance(BOB) == OPENING
    assert list(chain.ledger.trades(5)) == []


@pytest.mark.parametrize(
    ("who", "op", "code"),
    [
        (CAT, contract(), ErrorCode.NOT_A_PARTY),
        (ANN, contract(ANN, ANN), ErrorCode.SAME_PARTY),
        (ANN, contract(ANN, STRANGER), ErrorCode.UNKNOWN_RECIPIENT),
        (BOB, contract(STRANGER, BOB), ErrorCode.UNKNOWN_RECIPIENT),
        (ANN, contract(wh=0), ErrorCode.QUANTITY_OUT_OF_RANGE),
        (ANN, contract(price=10_000_001), ErrorCode.PRICE_OUT_OF_RANGE),
        (ANN, contract(slot=9), ErrorCode.SLOT_NOT_OPEN),
        (ANN, contract(slot=1), ErrorCode.GATE_CLOSED),
        (ANN, OpenContract(THREE_PARTY, b""), ErrorCode.BAD_TERMS),
        (ANN, SIGN, ErrorCode.ALREADY_SIGNED),
        (DER, SIGN, ErrorCode.NOT_A_PARTY),
        (BOB, CallContract(0, 0, b"x"), ErrorCode.BAD_TERMS),
    ],
)
def test_what_is_refused_changes_nothing(
    who: SigningKey, op: OpenContract | CallContract, code: ErrorCode
) -> None:
    chain = Chain(plant())
    chain.ok(NOW, ANN, contract())
    assert chain.fails(NOW + 1, who, op)[0] == code


def test_an_operator_calls_once_and_another_not_in_its_stead() -> None:
    chain = Chain(plant())
    chain.ok(NOW, ANN, contract())
    chain.ok(NOW + 1, OP, SIGN)
    assert chain.fails(NOW + 2, CAT, SIGN) == (ErrorCode.ALREADY_SIGNED, ())


def test_an_operator_does_not_maintain_its_own_contract() -> None:
    chain = Chain(plant())
    chain.ok(NOW, CAT, contract(CAT, BOB))
    assert chain.fails(NOW + 1, CAT, SIGN) == (ErrorCode.ALREADY_SIGNED, ())
    chain.ok(NOW + 2, BOB, SIGN)
    assert list(chain.ledger.trades(5)) == []
    chain.ok(NOW + 3, OP, SIGN)
    assert len(list(chain.ledger.trades(5))) == 1


# -- explicit consent to trades of the auction


def explicit(consent: ConsentMode = "explicit") -> Chain:
    """Ann sells to Bob (trade 0, on arrival) and to Cat, an operator (trade 1, round 2)."""
    chain = Chain(plant(market(consent=consent)))
    chain.ok(NOW, ANN, offer(5, 1_000, 400_000), offer(5, 500, 450_000, 350_000))
    chain.ok(NOW + 1, BOB, bid(5, 1_000, 400_000))
    chain.ok(NOW + 2, CAT, bid(5, 500, 300_000, 360_000))
    return chain


def sign(*trades: int, slot: int = 5) -> SignTrades:
    return SignTrades(slot, trades)


def signed(chain: Chain) -> list[list[str] | None]:
    return [row["signed"] for row in chain.ledger.trades_view(5)]


def test_a_trade_stands_if_seller_buyer_and_an_operator_have_signed_it() -> None:
    chain = explicit()
    chain.block(GATE)
    assert signed(chain) == [[], []]
    receipt = chain.ok(GATE + 1, ANN, sign(0, 1))
    assert events(receipt, TradeSigned) == [TradeSigned(5, 0, 1), TradeSigned(5, 1, 1)]
    chain.ok(GATE + 2, BOB, sign(0))
    chain.ok(GATE + 3, OP, sign(0))
    assert signed(chain) == [["seller", "buyer", "operator"], ["seller"]]
    own = chain.block(START)[0]
    assert events(own, TradeVoided) == [TradeVoided(5, 1)]
    assert [number for number, _ in chain.ledger.trades(5)] == [0]
    chain.block(due_ms(chain.genesis.market, 5, Phase.SETTLED))
    assert chain.balance(ANN) == OPENING + 400_000
    assert (chain.balance(CAT), chain.escrow(CAT)) == (OPENING, 0)


@pytest.mark.parametrize("missing", [ANN, BOB, OP])
def test_two_signatures_make_no_trade(missing: SigningKey) -> None:
    chain = explicit()
    chain.block(GATE)
    for step, key in enumerate({ANN, BOB, OP} - {missing}):
        chain.ok(GATE + 1 + step, key, sign(0))
    own = chain.block(START)[0]
    assert events(own, TradeVoided) == [TradeVoided(5, 0), TradeVoided(5, 1)]
    assert events(own, Posted) == [
        Posted(BOB.public_key, Purse.ESCROW, -400_000, Reason.RELEASE),
        Posted(BOB.public_key, Purse.BALANCE, 400_000, Reason.RELEASE),
        Posted(CAT.public_key, Purse.ESCROW, -177_500, Reason.RELEASE),
        Posted(CAT.public_key, Purse.BALANCE, 177_500, Reason.RELEASE),
    ]
    settled = chain.block(due_ms(chain.genesis.market, 5, Phase.SETTLED))[0]
    assert events(settled, Settled) == [], "nobody has a trade or a reading"
    assert chain.balance(BOB) == OPENING


def test_an_operator_consents_to_no_trade_of_its_own() -> None:
    chain = explicit()
    chain.block(GATE)
    chain.ok(GATE + 1, ANN, sign(1))
    chain.ok(GATE + 2, CAT, sign(1))
    assert signed(chain)[1] == ["seller", "buyer"]
    assert chain.fails(GATE + 3, CAT, sign(1)) == (ErrorCode.ALREADY_SIGNED, ())
    chain.ok(GATE + 4, OP, sign(1))
    own = chain.block(START)[0]
    assert events(own, TradeVoided) == [TradeVoided(5, 0)]


def test_who_trades_with_itself_signs_for_both() -> None:
    chain = Chain(plant(market(consent="explicit")))
    chain.ok(NOW, ANN, offer(5, 10, 100), bid(5, 10, 100))
    chain.block(GATE)
    chain.ok(GATE + 1, ANN, sign(0))
    assert signed(chain) == [["seller", "buyer"]]
    chain.ok(GATE + 2, CAT, sign(0))
    assert events(chain.block(START)[0], TradeVoided) == []


def test_trades_of_contracts_need_no_more_signatures() -> None:
    chain = Chain(plant(market(consent="explicit")))
    deal = DealTerms(5, 0, 10, 100_000, None)
    chain.ok(NOW, ANN, OpenContract(DEAL, encode(deal)))
    chain.ok(NOW + 1, BOB, CallContract(0, 0, encode(Take(10))))
    chain.block(GATE)
    assert signed(chain) == [None]
    assert chain.fails(GATE + 1, ANN, sign(0)) == (ErrorCode.NOT_TO_BE_SIGNED, (GATE, START))
    chain.block(START)
    assert len(list(chain.ledger.trades(5))) == 1


@pytest.mark.parametrize(
    ("at", "who", "op", "code", "detail"),
    [
        (GATE - 1, ANN, sign(0), ErrorCode.NOT_TO_BE_SIGNED, (GATE, START)),
        (START, ANN, sign(0), ErrorCode.NOT_TO_BE_SIGNED, (GATE, START)),
        (GATE + 9, ANN, sign(2), ErrorCode.UNKNOWN_TRADE, (2,)),
        (GATE + 9, ANN, sign(0, 9), ErrorCode.UNKNOWN_TRADE, (9,)),
        (GATE + 9, ANN, sign(1, 1), ErrorCode.ALREADY_SIGNED, ()),
        (GATE + 9, DER, sign(0), ErrorCode.NOT_A_PARTY, ()),
        (GATE + 9, BOB, sign(1), ErrorCode.NOT_A_PARTY, ()),
    ],
)
def test_signatures_that_are_refused_change_nothing(
    at: int, who: SigningKey, op: SignTrades, code: ErrorCode, detail: tuple[int, ...]
) -> None:
    chain = explicit()
    chain.block(min(at - 1, GATE))
    assert chain.fails(at, who, op) == (code, detail)


def test_where_signatures_on_orders_are_enough_nothing_is_signed_and_nothing_void() -> None:
    chain = explicit("signature")
    chain.block(GATE)
    assert signed(chain) == [None, None]
    assert chain.fails(GATE + 1, ANN, sign(0))[0] == ErrorCode.NOT_TO_BE_SIGNED
    chain.block(START)
    assert len(list(chain.ledger.trades(5))) == 2


def test_signatures_go_with_their_slot() -> None:
    chain = explicit()
    chain.block(GATE)
    chain.ok(GATE + 1, ANN, sign(0))
    state = chain.ledger._ctx.state
    assert len(list(state.scan(CONSENT, 5))) == 1
    chain.block(due_ms(chain.genesis.market, 5, Phase.CLOSED))
    assert list(state.scan(CONSENT, 5)) == []


def test_explicit_consent_needs_time_to_be_given() -> None:
    with pytest.raises(ConfigError, match="gate_lead_ms above 0") as refusal:
        Chain(plant(market(consent="explicit", gate_lead_ms=0)))
    assert refusal.value.code == "E124"
