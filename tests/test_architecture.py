"""Walls as tests: who may import whom, what the pure rooms never touch, how long a file may be."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import vppd

PACKAGE = Path(vppd.__file__).parent
MAX_LINES = 600

FLOORS: dict[str, int] = {
    "types": 1,
    "errors": 1,
    "crypto": 1,
    "codec": 1,
    "merkle": 1,
    "era": 1,
    "header": 1,
    "stats": 1,
    "config": 1,
    "consensus": 2,
    "ledger": 2,
    "assets": 2,
    "market": 2,
    "net": 3,
    "store": 3,
    "node": 4,
    "client": 4,
    "agent": 5,
    "bench": 5,
    "cli": 5,
    "simulate": 5,
    "day": 5,
}
SIDEWAYS = {
    ("ledger", "consensus"),  # execution checks proofs of misbehaviour
    ("ledger", "assets"),  # plans are held against the models of what they are for
    ("ledger", "market"),  # execution uses the auctions and the settlement arithmetic
    ("agent", "day"),  # its sites can use the day's profiles
    ("cli", "agent"),
    ("day", "agent"),  # one line to a node, one wallet
    ("bench", "agent"),
    ("bench", "cli"),  # it writes its plants with the same code as `vppd testnet`
    ("bench", "day"),  # and starts them with that of `vppd dev`
    ("bench", "simulate"),  # links fail in the same heights, and larger plants run in it
    ("cli", "bench"),
    ("day", "client"),
    ("day", "cli"),  # the day writes its plant with the same code as `vppd testnet`
    ("cli", "day"),
    ("cli", "simulate"),
}
"""Imports allowed on one floor; everything else must point down."""

PURE = ("assets", "consensus", "ledger", "market")
BANNED = {
    "aiosqlite", "asyncio", "datetime", "logging", "os", "random", "secrets", "socket", "sqlite3",
    "ssl", "structlog", "subprocess", "threading", "time", "uuid",
}  # fmt: skip
CONSENSUS_KNOWS = {
    "codec", "config", "consensus", "crypto", "era", "errors", "header", "merkle", "types",
}  # fmt: skip


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.lineno, node.module))
    return found


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(PACKAGE.parent)}:{line}"


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(path) for path in modules()} - {"__init__", "__main__"}
    assert rooms <= set(FLOORS), f"no floor for {sorted(rooms - set(FLOORS))}"


def test_imports_point_down() -> None:
    wrong = []
    for path in modules():
        room = room_of(path)
        if room not in FLOORS:
            continue
        for line, name in imports(path):
            parts = name.split(".")
            if parts[0] != "vppd" or len(parts) < 2 or parts[1] == room:
                continue
            other = parts[1]
            down = FLOORS[other] < FLOORS[room] or (FLOORS[room] == 1 == FLOORS[other])
            if not down and (room, other) not in SIDEWAYS:
                wrong.append(f"{where(path, line)}: {room} imports {name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", PURE)
def test_the_pure_rooms_touch_no_io_clock_or_chance(room: str) -> None:
    wrong = [
        f"{where(path, line)}: {name}"
        for path in modules()
        if room_of(path) == room
        for line, name in imports(path)
        if name.split(".")[0] in BANNED
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", PURE)
def test_the_pure_rooms_compute_without_floats(room: str) -> None:
    wrong = []
    for path in modules():
        if room_of(path) != room:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_float = isinstance(node, ast.Constant) and isinstance(node.value, float)
            divides = isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div)
            if is_float or divides:
                wrong.append(where(path, node.lineno))  # type: ignore[attr-defined]  # both have one
    assert not wrong, "\n".join(wrong)


def test_consensus_knows_no_market_and_no_ledger() -> None:
    wrong = [
        f"{where(path, line)}: {name}"
        for path in modules()
        if room_of(path) == "consensus"
        for line, name in imports(path)
        if name.startswith("vppd.") and name.split(".")[1] not in CONSENSUS_KNOWS
    ]
    assert not wrong, "\n".join(wrong)


def test_modules_stay_short() -> None:
    long = {
        str(path.relative_to(PACKAGE)): lines
        for path in modules()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert not long
