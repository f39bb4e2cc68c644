from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.plant import Plant, plant_of


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """Five nodes that agree; shared by tests that leave them as they found them."""
    with plant_of(tmp_path_factory.mktemp("running") / "plant", 5) as plant:
        plant.start()
        yield plant
