"""A process that restores a backup of the store tests' chain, to be killed: PATH BACKUP."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.store import real_chain as real
from vppd.errors import UserError
from vppd.store.backup import restore


def say(done: int, _: int) -> None:
    sys.stdout.write(f"{done}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    say(0, 0)
    try:
        restore(Path(sys.argv[1]), real.GENESIS, Path(sys.argv[2]), replace=True, progress=say)
    except UserError as err:
        sys.exit(str(err))
