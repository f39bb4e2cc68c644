"""``--engine`` and ``--path``: how the plant is to agree."""

from __future__ import annotations

from typing import Annotated, get_args

import typer

from vppd.config.engines import engine_named, installed
from vppd.config.genesis import ConsensusRules, Engine, PathSetting
from vppd.consensus.profile import profile_of
from vppd.errors import Exit, UserError

ENGINE = str(ConsensusRules().engine)
PATH = str(ConsensusRules().path)
EngineOption = Annotated[
    str, typer.Option(help="How it agrees: bncm, pbft, dpos, or one installed.")
]
PathOption = Annotated[str, typer.Option(help="Where votes go in bncm: auto, collect, broadcast.")]


def parse_engine(text: str) -> Engine:
    """The engine of that name.

    Raises:
        UserError: E412.
    """
    engine = engine_named(text)
    if engine is None:
        raise UserError(
            "E412",
            f"no engine {text!r} is installed",
            hint=f"--engine {' | '.join(installed())}",
            exit_code=Exit.USAGE,
        )
    return engine


def parse_path(text: str, engine: Engine) -> PathSetting:
    """The path setting of that name, for an engine that can follow it.

    Raises:
        UserError: E416; E125 for an engine that cannot be used.
    """
    paths: tuple[PathSetting, ...] = get_args(PathSetting)
    for path in paths:
        if path == text and (path == PATH or profile_of(engine).fast_exit):
            return path
    raise UserError(
        "E416",
        f"engine {engine} has no path {text!r}",
        hint=f"--path {' | '.join(paths)}, for an engine that decides on first-round votes",
        exit_code=Exit.USAGE,
    )
