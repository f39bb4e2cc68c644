"""A process that recovers a store of the store tests' chain, to be killed: PATH."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.store import real_chain as real
from vppd.errors import UserError
from vppd.store.recover import recover


def say(height: int, _: int) -> None:
    sys.stdout.write(f"{height}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    say(0, 0)
    try:
        recover(Path(sys.argv[1]), real.GENESIS, progress=say)
    except UserError as err:
        sys.exit(str(err))
