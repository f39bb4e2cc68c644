"""Rules of the market from the command line: what cannot be is refused before it is sent."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ledger.chain import market
from vppd.cli.market_rules import check_rules
from vppd.errors import UserError
from vppd.ledger.changes import SetMarket
from vppd.market.calendar import settings_view


def view(**scheduled: Any) -> dict[str, Any]:
    rules = settings_view(market())
    changes = [{"first_slot": 9, "rules": rules | scheduled}] if scheduled else []
    return {"settings": rules, "changes": changes}


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("nope", 1, "'nope' is no setting"),
        ("gate_lead_ms", "abc", "gate_lead_ms"),
        ("rules", "nonsense", "rules"),
        ("max_orders", -1, "max_orders"),
        ("stages.plans", "none", "stages.plans"),
        ("tariffs", "00:00-24:00=300000/500000", "above the retail price"),
        ("gate_lead_ms", 40_000, "is not below open_lead_ms"),
    ],
)
def test_what_makes_no_market_is_refused_with_its_reason(
    name: str, value: int | str, why: str
) -> None:
    with pytest.raises(UserError) as refusal:
        check_rules(view(), SetMarket(20, ((name, value),)))
    assert refusal.value.code == "E502"
    assert why in refusal.value.facts["why"]


def test_what_can_be_passes_and_is_held_against_the_latest_rules() -> None:
    check_rules(view(), SetMarket(20, (("gate_lead_ms", 20_000),)))
    with pytest.raises(UserError, match="cannot be rules"):
        check_rules(view(open_lead_ms=10_000), SetMarket(20, (("gate_lead_ms", 20_000),)))
