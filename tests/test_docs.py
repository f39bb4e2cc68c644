"""What the pages say is so: commands, flags, links, examples, keys."""

from __future__ import annotations

import ast
import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

import vppd
from tests import cli_page
from vppd.cli.commands.entry import Entry
from vppd.cli.tree import COMMANDS, load
from vppd.consensus.flight import Cause
from vppd.day.result import DayResult
from vppd.market.auction import RULES
from vppd.market.credit_file import RULES as CREDIT_RULES
from vppd.simulate.runner import Report

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")])
ENTRIES = {entry.path: entry for entry in COMMANDS}
FENCE = re.compile(r"^```(?P<info>.*)\n(?P<body>(?:.*\n)*?)```$", re.MULTILINE)
JSON_PAGE = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
CLIENTS_PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def fences(text: str, info: str) -> list[str]:
    return [match["body"] for match in FENCE.finditer(text) if match["info"].strip() == info]


def example(kind: str) -> Any:
    (body,) = fences(JSON_PAGE, f"json {kind}")
    return json.loads(body)


def command_lines() -> list[tuple[str, str]]:
    """(page, line) of everything typed into a shell."""
    return [
        (name_of(page), line.strip())
        for page in PAGES
        for body in fences(read(page), "sh")
        for line in body.splitlines()
        if line.strip()
    ]


def vppd_lines() -> list[tuple[str, str]]:
    """Those that call vppd, once each, from the word on; comments, pipes and $(…) cut off."""
    found: dict[tuple[str, str], None] = {}
    for page, line in command_lines():
        plain = re.sub(r"\$\((?:[^()]*)\)", "X", line).partition(" #")[0].partition(" <")[0]
        match = re.search(r"(?:^|\s|/)vppd (?!vppd)(?=[a-z-])(.*)", plain)
        if match and not re.match(r"sudo (?!-u)", plain):
            found[page, match[1].partition(" | ")[0]] = None
    return list(found)


def split_command(words: list[str]) -> tuple[Entry, list[str]]:
    for length in (2, 1):
        entry = ENTRIES.get(" ".join(words[:length]))
        if entry is not None:
            return entry, words[length:]
    raise AssertionError(f"no command vppd {' '.join(words)}")


def run(*args: str, stdin: str = "") -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "vppd", *args],
        input=stdin,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return json.loads(done.stdout)


# ---------------------------------------------------------------- commands


def test_the_reference_of_the_command_line_is_that_of_the_commands() -> None:
    assert read(cli_page.PAGE) == cli_page.write_page(read(cli_page.PAGE)), (
        "python -m tests.cli_page --write"
    )


def test_the_reference_has_a_section_for_every_command() -> None:
    sections = re.findall(r"^### `vppd (.*?)`$", read(cli_page.PAGE), re.MULTILINE)
    assert len(sections) == len(COMMANDS)
    for section, entry in zip(sections, COMMANDS, strict=True):
        assert section.split()[: len(entry.path.split())] == entry.path.split()


@pytest.mark.parametrize(("page", "line"), vppd_lines())
def test_every_command_on_a_page_parses(page: str, line: str) -> None:
    entry, words = split_command(shlex.split(line))
    command = load(entry)
    context = command.make_context(entry.path, words, resilient_parsing=False)
    assert context.args == [], f"{page}: {line}"


def test_the_pages_show_commands() -> None:
    shown = {split_command(shlex.split(line))[0].path for _, line in vppd_lines()}
    assert shown == set(ENTRIES)


def test_the_overview_in_the_readme_names_every_command() -> None:
    (tree,) = [body for body in fences(read(ROOT / "README.md"), "text") if "vppd dev " in body]
    said = set()
    for line in tree.splitlines():
        group, *rest = re.split(r"\s{2,}", line.removeprefix("vppd "))[0].split(" | ")
        group, _, first = group.partition(" ")
        first = first.strip()
        if not first and len(re.split(r"\s{2,}", line)) > 2:
            first, *rest = re.split(r"\s{2,}", line)[1].split(" | ")
        said |= {f"{group} {word}" for word in [first, *rest]} if first else {group, *rest}
    assert said == set(ENTRIES)


@pytest.mark.parametrize("target", ["demo", "test", "simulate", "check"])
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:", read(ROOT / "Makefile"), re.MULTILINE)


# ---------------------------------------------------------------- links and files


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", read(page))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name_of(page)}: {target}"
        assert not anchor or anchor in anchors(file), f"{name_of(page)}: {target}"


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", FENCE.sub("", read(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_named_on_a_page_exist(page: Path) -> None:
    names = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.(?:py|sql|md|service))`", read(page))
    for name in names:
        assert (ROOT / name).exists() or (ROOT / "vppd" / name).exists(), name


def test_the_readme_leads_to_every_page() -> None:
    readme = read(ROOT / "README.md")
    for page in ROOT.glob("docs/*.md"):
        assert f"(docs/{page.name})" in readme


def test_every_decision_is_listed() -> None:
    listed = read(ROOT / "docs" / "adr" / "README.md")
    decisions = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
    assert decisions
    for decision in decisions:
        title = read(decision).splitlines()[0].partition(" — ")[2]
        assert f"[{decision.name[:4]}]({decision.name}) | {title} |" in listed


def test_the_profiles_in_config_are_the_packaged_day() -> None:
    packaged = ROOT / "vppd" / "day" / "data" / "day.csv"
    assert (ROOT / "config" / "profiles.csv").read_bytes() == packaged.read_bytes()
    assert len(list(csv.reader(read(packaged).splitlines()))) == 1 + 24


def test_the_changelog_has_this_version() -> None:
    assert f"## [{vppd.__version__}]" in read(ROOT / "CHANGELOG.md")


def test_the_dependencies_are_those_of_the_package() -> None:
    text = read(ROOT / "pyproject.toml")
    wanted = re.search(r"^dependencies = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert wanted is not None
    names = set(re.findall(r'^  "([\w-]+)', wanted[1], re.MULTILINE))
    for group in ("agent", "bench"):
        extra = re.search(rf"^{group} = \[(.*)\]", text, re.MULTILINE)
        assert extra is not None
        names |= set(re.findall(r'"([\w-]+)', extra[1]))
    table = re.findall(r"^\| \[([\w-]+)\]\(", read(ROOT / "README.md"), re.MULTILINE)
    assert {name.lower() for name in table} == names


def test_the_unit_starts_a_command_that_exists() -> None:
    unit = read(ROOT / "systemd" / "vppd.service")
    starts = re.findall(r"^ExecStart=/opt/vppd/current/bin/vppd (.*)$", unit, re.MULTILINE)
    assert len(starts) == 1
    entry, words = split_command(shlex.split(starts[0]))
    assert load(entry).make_context(entry.path, words).params["home"] == "/var/lib/vppd"
    assert "RestartPreventExitStatus=78" in unit


# ---------------------------------------------------------------- stable JSON


def shape(value: Any) -> Any:
    """Keys and kinds of values; a number is a number."""
    if isinstance(value, dict):
        return {key: shape(part) for key, part in value.items()}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return type(value).__name__
    return "number"


def keys_of(value: Any, prefix: str = "") -> set[str]:
    """``members``, ``members[].name`` …; maps of names to numbers are one key."""
    found: set[str] = set()
    for key, part in value.items():
        found.add(prefix + key)
        if isinstance(part, list) and part and isinstance(part[0], dict):
            found |= keys_of(part[0], f"{prefix}{key}[].")
    return found


def explained(heading: str) -> set[str]:
    _, _, rest = JSON_PAGE.partition(f"## `{heading}`")
    section = rest.partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([\w\[\].]+)`", row)}


@pytest.mark.parametrize(
    ("kind", "heading"),
    [
        ("dev", "vppd dev --exit -o json"),
        ("simulate", "vppd simulate -o json"),
        ("clear", "vppd market clear FILE -o json"),
        ("shapley", "vppd market shapley FILE -o json"),
    ],
)
def test_every_key_of_an_example_is_explained_and_no_other(kind: str, heading: str) -> None:
    assert explained(heading) == keys_of(example(kind))


def test_clearing_the_example_gives_the_example() -> None:
    (book,) = fences(JSON_PAGE, "json book")
    assert run("market", "clear", "-", "--rules", "production", "-o", "json", stdin=book) == (
        example("clear")
    )
    for name in RULES:
        assert f"`{name}`" in JSON_PAGE


def test_replaying_the_example_of_deliveries_gives_the_example() -> None:
    (deliveries,) = fences(JSON_PAGE, "json deliveries")
    ran = run("market", "credit", "-", "--rules", "default", "-o", "json", stdin=deliveries)
    assert ran == example("credit")
    days = {key for days in ran["credit"].values() for day in days for key in day}
    said = explained("vppd market credit FILE -o json")
    assert said == ran.keys() | {f"[].{key}" for key in days}
    for name in CREDIT_RULES:
        assert f"`{name}`" in JSON_PAGE


def test_sharing_the_example_gives_the_example() -> None:
    (game,) = fences(JSON_PAGE, "json game")
    assert run("market", "shapley", "-", "-o", "json", stdin=game) == example("shapley")


def test_simulating_the_example_gives_its_shape() -> None:
    said = example("simulate")
    ran = run(*shlex.split("simulate -n 4 --seeds 1..2 --heights 3 -o json"))
    assert list(ran) == list(said) == list(Report.__struct_fields__)
    by_kind = {f.name for f in msgspec.structs.fields(Report) if f.type == dict[str, int]}
    fixed = shape(ran).keys() - by_kind  # which kinds a run has is its own affair
    assert {key: shape(ran)[key] for key in fixed} == {key: shape(said)[key] for key in fixed}
    for key in by_kind:
        assert all(isinstance(n, int) for n in (*ran[key].values(), *said[key].values())), key
    assert set(said["fallbacks"]) <= set(Cause)
    for key in ("engine", "n", "seeds", "violations"):
        assert ran[key] == said[key]
    assert set(ran["commit_ms"]) == {"mean", "p50", "p99"}


def test_the_example_of_a_day_is_one_and_agrees_with_itself() -> None:
    said = example("dev")
    day = msgspec.convert(said, DayResult, strict=True)
    assert list(said) == list(DayResult.__struct_fields__)
    names = [member.name for member in day.members]
    assert len(names) == day.n == len(day.heights_by_node) == len(day.head_hashes)
    assert set(day.heights_by_node.values()) == {day.height} == {day.blocks}
    assert len(set(day.head_hashes.values())) == 1
    assert day.conserved is not bool(day.findings)
    for member in day.members:
        sign = {"buyer": 1, "seller": -1, "none": 0}[member.side]
        assert (member.net_wh > 0) - (member.net_wh < 0) == sign
        assert member.paid_micro <= member.paid_grid_only_micro
    assert set(day.commit_ms) == {"mean", "p50", "p99"}


# ---------------------------------------------------------------- clients


def dict_keys(path: str, *skip: str) -> set[str]:
    """Constant keys of the dictionaries that a module's functions build."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = [
        node for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name not in skip
    ]  # fmt: skip
    return {
        key.value
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }


def views() -> set[str]:
    """Names in the table of ``Views``."""
    tree = ast.parse((ROOT / "vppd/node/views.py").read_text(encoding="utf-8"))
    (table,) = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "self._render"
    ]
    assert isinstance(table, ast.Dict)
    return {str(ast.literal_eval(key)) for key in table.keys if key is not None}


def test_every_view_has_a_section() -> None:
    assert set(re.findall(r"^### `(\w+)`$", CLIENTS_PAGE, re.MULTILINE)) == views()


def test_every_key_of_the_views_is_explained() -> None:
    keys = dict_keys("vppd/node/views.py", "__init__") | dict_keys(
        "vppd/ledger/views.py", "settlement_view"
    )
    keys |= dict_keys("vppd/ledger/validators_view.py")
    keys |= dict_keys("vppd/ledger/rating_views.py")
    keys |= dict_keys("vppd/ledger/registration/views.py")
    keys |= dict_keys("vppd/node/daemon.py")
    said = set(re.findall(r"`(?:\w+\[\])?\.?(\w+)`", CLIENTS_PAGE))
    assert keys <= said, sorted(keys - said)


def test_the_python_example_compiles() -> None:
    (body,) = fences(CLIENTS_PAGE, "python")
    compile(body, "docs/clients.md", "exec")
