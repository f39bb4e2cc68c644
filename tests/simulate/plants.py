"""The engines and paths on which every suite of a whole plant runs."""

from __future__ import annotations

from typing import Any, NamedTuple

from vppd.config.genesis import Engine, PathSetting
from vppd.simulate.outcome import Setup


class Plant(NamedTuple):
    """An engine, and the path of its blocks where it has more than one."""

    engine: str
    path: PathSetting = "auto"

    def __str__(self) -> str:
        return f"{self.engine}-{self.path}" if self.engine == "bncm" else self.engine

    def setup(self, **options: Any) -> Setup:
        """What to run."""
        return Setup(engine=Engine(self.engine), path=self.path, **options)

    def replay(self, n: int, seed: int, options: str) -> str:
        """The command that runs one seed again."""
        path = f" --path {self.path}" if self.engine == "bncm" else ""
        return f"vppd simulate --engine {self.engine}{path} -n {n} --seeds {seed} {options}"


PLANTS = (Plant("pbft"), Plant("bncm", "collect"), Plant("bncm", "broadcast"), Plant("dpos"))
