"""Strict TOML: a file is exactly what its structs say, and an error says where and what instead."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from vppd.errors import ConfigError

T = TypeVar("T", bound=msgspec.Struct)
Table = dict[str, object]

SCHEMA = 1
"""Version of the three files' shape; the first key of each."""
_WHERE = re.compile(r"^(?P<why>.*) - at `\$?\.?(?P<path>.*)`$", re.DOTALL)
_MISMATCH = re.compile(r"^Expected `(?P<expected>.+)`, got `(?P<got>.+)`$")
_LINE = re.compile(r"^(?P<why>.*) \(at (?P<where>line \d+, column \d+|end of document)\)$")


def read_bytes(path: Path, *, hint: str) -> bytes:
    """The bytes of a file.

    Args:
        path: the file.
        hint: what to try when it is not there.

    Raises:
        ConfigError: E100, missing or unreadable.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as err:
        raise ConfigError(
            "E100", f"there is no {path.name}", facts={"file": str(path)}, hint=hint
        ) from err
    except OSError as err:
        raise ConfigError(
            "E100",
            f"{path.name} cannot be read",
            facts={"file": str(path), "why": err.strerror or str(err)},
            hint="check the path and who may read it: ls -l " + str(path),
        ) from err


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file's content as a whole: a reader or a crash finds the old or the new one.

    Raises:
        ConfigError: E100, the folder cannot be written.
    """
    beside = path.with_name(path.name + ".new")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as err:
        raise ConfigError(
            "E100",
            f"{path.name} cannot be written",
            facts={"file": str(path), "why": err.strerror or str(err)},
            hint="check who may write there: ls -ld " + str(path.parent),
        ) from err


def parse(data: bytes, path: Path) -> Table:
    """TOML tables of ``data``; ``path`` is only named in errors.

    Raises:
        ConfigError: E101, not TOML; E105, a schema this build does not know.
    """
    try:
        tables = tomllib.loads(data.decode())
    except UnicodeDecodeError as err:
        raise ConfigError(
            "E101",
            f"{path.name} is not UTF-8 text",
            facts={"file": str(path), "byte": str(err.start)},
            hint="save the file as UTF-8",
        ) from err
    except tomllib.TOMLDecodeError as err:
        found = _LINE.match(str(err))
        why, where = (found["why"], found["where"]) if found else (str(err), "unknown")
        raise ConfigError(
            "E101",
            f"{path.name} is not valid TOML",
            facts={"file": str(path), "where": where, "why": why},
            hint='text values need quotes: name = "op-0"; tables are [name], lists [[name]]',
        ) from err
    if "schema" in tables and tables["schema"] != SCHEMA:
        raise ConfigError(
            "E105",
            f"{path.name} has schema {tables['schema']!r}, this build reads schema {SCHEMA}",
            facts={"file": str(path)},
            hint=f"schema = {SCHEMA}, or run the vppd version that wrote the file",
        )
    return tables


def convert(tables: Table, kind: type[T], path: Path) -> T:
    """The struct a file's tables describe.

    Args:
        tables: as :func:`parse` returned them.
        kind: a struct that forbids unknown fields, and so do the structs inside it.
        path: only named in errors.

    Raises:
        ConfigError: E102, unknown key; E103, a missing key, a wrong type or a number out of range.
    """
    try:
        return msgspec.convert(tables, kind)
    except msgspec.ValidationError as err:
        for where, key, known in _unknown_keys(tables, msgspec.inspect.type_info(kind), ""):
            raise _unknown_key(path, where, key, known) from err
        raise _wrong_value(path, str(err)) from err


def bad_value(path: Path, key: str, why: str, hint: str) -> ConfigError:
    """E106: the type is right, the value cannot be used."""
    return ConfigError(
        "E106",
        f"a value in {path.name} cannot be used",
        facts={"file": str(path), "key": key, "why": why},
        hint=hint,
    )


def check_distinct(path: Path, table: str, key: str, values: Sequence[str]) -> None:
    """Refuse two ``[[table]]`` entries with the same ``key``.

    Raises:
        ConfigError: E108.
    """
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ConfigError(
                "E108",
                f"two [[{table}]] entries share the same {key}",
                facts={"file": str(path), "key": f"{table}.{key}", "value": value},
                hint=f"give each {table} a {key} of its own",
            )
        seen.add(value)


def dotted(where: str, key: str) -> str:
    """``key`` inside the table ``where``; the top of the file is the empty table."""
    return f"{where}.{key}" if where else key


def _unknown_key(path: Path, where: str, key: str, known: tuple[str, ...]) -> ConfigError:
    import difflib

    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    table = f"[{where}]" if where else "the top of the file"
    return ConfigError(
        "E102",
        f"unknown key {key!r} in {path.name}",
        facts={"file": str(path), "table": table, "key": key},
        hint=f"did you mean {near[0]!r}?" if near else "known keys: " + ", ".join(known),
    )


def _wrong_value(path: Path, message: str) -> ConfigError:
    found = _WHERE.match(message)
    why, where = (found["why"], found["path"]) if found else (message, "")
    facts = {"file": str(path)}
    if where:
        facts["key"] = where
    if mismatch := _MISMATCH.match(why):
        facts |= {"expected": mismatch["expected"], "got": mismatch["got"]}
    else:
        facts["why"] = why[:1].lower() + why[1:]
    return ConfigError(
        "E103",
        f"wrong value in {path.name}",
        facts=facts,
        hint="docs/configuration.md lists every key with its type, default and meaning",
    )


def _is_of(value: object, kind: msgspec.inspect.Type) -> bool:
    """Whether a table's tag, if its kind has one, is that kind's."""
    if not isinstance(kind, msgspec.inspect.StructType) or kind.tag_field is None:
        return True
    return isinstance(value, Mapping) and value.get(kind.tag_field) == kind.tag


def _unknown_keys(
    value: object, kind: msgspec.inspect.Type, where: str
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Table, key and the table's known keys, for every key that no struct has a field for."""
    if isinstance(kind, msgspec.inspect.UnionType):
        for one in kind.types:  # a table that may be left out, or one of several by its tag
            if _is_of(value, one):
                yield from _unknown_keys(value, one, where)
    elif isinstance(kind, msgspec.inspect.StructType) and isinstance(value, Mapping):
        fields = {field.encode_name: field.type for field in kind.fields}
        for key, inner in value.items():
            if key == kind.tag_field:
                continue
            if key in fields:
                yield from _unknown_keys(inner, fields[key], dotted(where, key))
            else:
                yield where, key, tuple(fields)
    elif isinstance(kind, msgspec.inspect.VarTupleType) and isinstance(value, list):
        for i, item in enumerate(value):
            yield from _unknown_keys(item, kind.item_type, f"{where}[{i}]")
