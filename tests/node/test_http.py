"""Probes and metrics."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.e2e.plant import free_base_port
from tests.node.plant import GENESIS
from vppd.consensus.terms import Terms
from vppd.errors import UserError
from vppd.node.http import Health, serve_http
from vppd.node.metrics import Metrics

pytestmark = pytest.mark.net


class Probed:
    def __init__(self) -> None:
        self.alive = self.ready = True
        self.metrics = Metrics(Terms(GENESIS))
        self.listen = f"127.0.0.1:{free_base_port(1)}"

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urlopen(f"http://{self.listen}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as err:
            with err:
                return err.code, err.read().decode()


@pytest.fixture(scope="module")
def served() -> Iterator[Probed]:
    made = Probed()
    health = Health(lambda: made.alive, lambda: made.ready)
    server = serve_http(made.listen, made.metrics.registry, health)
    yield made
    server.shutdown()
    server.server_close()


def test_probes_follow_the_node(served: Probed) -> None:
    assert served.get("/livez") == (200, "ok\n")
    assert served.get("/readyz") == (200, "ok\n")
    served.ready = False
    assert served.get("/readyz") == (503, "not yet\n")
    assert served.get("/livez") == (200, "ok\n")
    served.alive = False
    assert served.get("/livez") == (503, "not yet\n")


def test_metrics_are_prometheus_text(served: Probed) -> None:
    code, text = served.get("/metrics")
    assert code == 200
    for name in ("vppd_height 0.0", "vppd_blocks_total", "vppd_persist_seconds_bucket"):
        assert name in text


def test_anything_else_is_not_found_and_says_what_is(served: Probed) -> None:
    assert served.get("/") == (404, "/metrics /livez /readyz\n")


def test_a_taken_port_is_an_error_for_people(served: Probed) -> None:
    with pytest.raises(UserError, match="E307") as caught:
        serve_http(served.listen, served.metrics.registry, Health(lambda: True, lambda: True))
    assert served.listen in str(caught.value)
