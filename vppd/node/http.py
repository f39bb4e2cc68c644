"""``/metrics``, ``/livez``, ``/readyz`` for monitoring, on loopback, in a thread of their own."""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from vppd.errors import UserError

READ_TIMEOUT_S = 5.0


class Health:
    """What the probes ask; read from another thread, hence only callables without side effects.

    Args:
        alive: the event loop has answered lately.
        ready: this node can serve: its store is open and, for a replica, it may vote.
    """

    def __init__(self, alive: Callable[[], bool], ready: Callable[[], bool]) -> None:
        self.alive = alive
        self.ready = ready


def serve_http(listen: str, registry: CollectorRegistry, health: Health) -> ThreadingHTTPServer:
    """Serve until ``shutdown()``.

    Raises:
        UserError: E307, the port is taken.
    """
    host, _, port = listen.rpartition(":")

    class Handler(BaseHTTPRequestHandler):
        timeout: ClassVar[float | None] = READ_TIMEOUT_S

        def do_GET(self) -> None:
            match self.path:
                case "/metrics":
                    self._answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)
                case "/livez":
                    self._probe(health.alive())
                case "/readyz":
                    self._probe(health.ready())
                case _:
                    self._answer(404, b"/metrics /livez /readyz\n", "text/plain")

        def _probe(self, ok: bool) -> None:
            self._answer(200 if ok else 503, b"ok\n" if ok else b"not yet\n", "text/plain")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes are not news."""

    try:
        server = ThreadingHTTPServer((host.strip("[]"), int(port)), Handler)
    except OSError as err:
        raise UserError(
            "E307",
            f"cannot serve metrics on {listen}",
            facts={"why": err.strerror or str(err)},
            hint='another listen in [http] of node.toml, or listen = "" for none',
        ) from err
    server.daemon_threads = True
    Thread(target=server.serve_forever, name="vppd-http", daemon=True).start()
    return server
