"""What the pages say of kinds of contracts and of rules of the market is so."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from vppd.ledger.contracts.registry import OWN
from vppd.ledger.kinds import event, project
from vppd.ledger.response.calls import Answer, Called, Event, EventTerms, Project, ProjectTerms
from vppd.market.response import Signal

DOCS = Path(__file__).parent.parent / "docs"
CONTRACTS, EVENTS, MARKET = (
    (DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("contracts", "events", "market")
)


def section(page: str, title: str) -> str:
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| `")
    ]


def array(record: type[msgspec.Struct]) -> str:
    return f"`[{', '.join(record.__struct_fields__)}]`"


def test_every_kind_of_this_build_is_listed() -> None:
    listed = [row[0] for row in rows(section(CONTRACTS, "The kinds that are there"))]
    assert listed == [f"`{kind.name}`" for kind in OWN]


ENCODED = {
    (kind, what): (tag, said)
    for kind, what, tag, said in rows(section(EVENTS, "Encodings, for other clients"))
}


@pytest.mark.parametrize(
    ("kind", "what", "tag", "record"),
    [
        ("project", "terms", "–", ProjectTerms),
        ("project", "method join", project.JOIN, project.Join),
        ("project", "topic terms", project.TERMS_SAID, Project),
        ("project", "topic member", project.MEMBER_SAID, project.Joined),
        ("event", "terms", "–", EventTerms),
        ("event", "method respond", event.RESPOND, event.Respond),
        ("event", "method cancel", event.CANCEL, event.Cancel),
        ("event", "topic issued", event.TERMS_SAID, Event),
    ],
)
def test_encodings_are_those_of_the_records(
    kind: str, what: str, tag: int | str, record: type[msgspec.Struct]
) -> None:
    said_tag, said = ENCODED[f"`{kind}`", what]
    assert said_tag == str(tag)
    assert said.startswith(array(record))


def test_every_method_of_projects_and_events_is_there() -> None:
    for kind in (project.PROJECT_KIND, event.EVENT_KIND):
        for tag, name in enumerate(kind.methods):
            assert ENCODED[f"`{kind.name}`", f"method {name}"][0] == str(tag)
    assert array(project.Left) in ENCODED["`project`", "topic member"][1]
    assert ENCODED["`event`", "topic cancelled"][0] == str(event.CANCELLED_SAID)


def test_numbers_that_stand_for_words_are_those_of_the_code() -> None:
    text = re.sub(r"\s+", " ", section(EVENTS, "Encodings, for other clients"))
    assert array(Called) in text
    for words in (Signal, Answer):
        assert ", ".join(f"{word.value} {word.name.lower()}" for word in words) in text
    assert "events.md#encodings-for-other-clients" in section(MARKET, "Terms, for other clients")


def test_rules_that_are_unlike_the_others_have_a_section() -> None:
    assert 'rules = "uniform"' in section(MARKET, "One price for all")
    assert 'rules = "cooperative"' in section(MARKET, "Bidding as a whole")
