"""P1 §4 Table 2: each mandatory cell of contract, traceability and security, on a ledger.

The identifier of a test names its cell: ``test_cell[effect-terminal-B]``. docs/matrix.md is written
from these (``python -m tests.matrix_page --write``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.matrix import events, others, projects, resources, users
from tests.matrix.scene import Scene, contract, security, traceability
from tests.matrix.table import LETTERS, SYSTEMS, TABLE, TESTED, Cell, cells

SCENES: dict[tuple[str, str], Callable[[], Scene]] = {
    ("registration", "service"): users.registration_service,
    ("registration", "aggregate"): users.registration_aggregate,
    ("registration", "terminal"): users.registration_terminal,
    ("permissions", "service"): users.permissions_service,
    ("permissions", "aggregate"): users.permissions_aggregate,
    ("permissions", "terminal"): users.permissions_terminal,
    ("query", "service"): users.query_service,
    ("query", "aggregate"): users.query_aggregate,
    ("query", "terminal"): users.query_terminal,
    ("build", "service"): projects.build_service,
    ("build", "aggregate"): projects.build_aggregate,
    ("build", "terminal"): projects.build_terminal,
    ("released", "service"): projects.released_service,
    ("released", "aggregate"): projects.released_aggregate,
    ("released", "terminal"): projects.released_terminal,
    ("update", "service"): projects.update_service,
    ("update", "aggregate"): projects.update_aggregate,
    ("update", "terminal"): projects.update_terminal,
    ("delete", "service"): projects.delete_service,
    ("delete", "aggregate"): projects.delete_aggregate,
    ("delete", "terminal"): projects.delete_terminal,
    ("parameters", "service"): resources.parameters_service,
    ("parameters", "aggregate"): resources.parameters_aggregate,
    ("parameters", "terminal"): resources.parameters_terminal,
    ("acquisition", "service"): resources.acquisition_service,
    ("acquisition", "aggregate"): resources.acquisition_aggregate,
    ("acquisition", "terminal"): resources.acquisition_terminal,
    ("notification", "service"): events.notification_service,
    ("notification", "aggregate"): events.notification_aggregate,
    ("order", "service"): events.order_service,
    ("order", "aggregate"): events.order_aggregate,
    ("load-control", "service"): events.load_service,
    ("load-control", "aggregate"): events.load_aggregate,
    ("effect", "service"): events.effect_service,
    ("effect", "aggregate"): events.effect_aggregate,
    ("effect", "terminal"): events.effect_terminal,
    ("security", "service"): others.security_service,
    ("security", "aggregate"): others.security_aggregate,
    ("security", "terminal"): others.security_terminal,
    ("automatic", "service"): others.automatic_service,
    ("automatic", "aggregate"): others.automatic_aggregate,
    ("automatic", "terminal"): others.automatic_terminal,
    ("intervention", "service"): others.intervention_service,
    ("intervention", "aggregate"): others.intervention_aggregate,
    ("intervention", "terminal"): others.intervention_terminal,
}
MANDATORY = tuple(cells())


@pytest.mark.parametrize("cell", MANDATORY, ids=str)
def test_cell(cell: Cell) -> None:
    if cell.letter == "D" and cell.slug == "query":
        users.query_security(cell.system)
        return
    scene = SCENES[cell.slug, cell.system]()
    {"A": contract, "B": traceability, "D": security}[cell.letter](scene)


def test_the_table_has_the_papers_numbers() -> None:
    marks = Counter(mark for row in TABLE for system in SYSTEMS for mark in getattr(row, system))
    assert len(TABLE) == 16
    assert marks == {"M": 101, "O": 92, "-": 47}
    assert sum(marks.values()) == 16 * 3 * len(LETTERS) == 240
    assert len(MANDATORY) == len(list(cells("M", TESTED))) == 87
    assert sum(cell.letter == "D" for cell in MANDATORY) == 44
    assert list(cells("M", "E")) == [], "game is never mandatory"


def test_every_scene_is_of_a_mandatory_cell() -> None:
    assert set(SCENES) == {(cell.slug, cell.system) for cell in MANDATORY}


def test_the_page_is_as_the_tests_are() -> None:
    from tests.matrix_page import PAGE, page

    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.matrix_page --write"
