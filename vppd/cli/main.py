"""``vppd``: runs a command and turns what it raises into a text and an exit code."""

from __future__ import annotations

import os
import sys

from vppd.cli.tree import root
from vppd.errors import Exit, LocalFault, PeerFault, UserError


def run() -> None:
    """Entry point of the ``vppd`` script; exits with a code of :class:`vppd.errors.Exit`."""
    try:
        try:
            root()(prog_name="vppd")
        finally:
            sys.stdout.flush()
    except UserError as err:
        print(err, file=sys.stderr)
        sys.exit(err.exit_code)
    except ExceptionGroup as group:
        known, rest = group.split((UserError, PeerFault, LocalFault))
        if rest is not None or known is None:
            raise
        first: BaseException = known
        while isinstance(first, ExceptionGroup):
            first = first.exceptions[0]
        print(first, file=sys.stderr)
        sys.exit(first.exit_code if isinstance(first, UserError) else Exit.FAILED)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # `vppd … | head`: the reader has seen enough. The interpreter flushes once more on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
