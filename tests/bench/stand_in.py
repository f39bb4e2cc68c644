"""An SSH server where OpenSSH's is missing: ``python -m tests.bench.stand_in FOLDER ADDRESS PORT``.

Speaks the same protocol and runs what it is asked to in a shell, as the user who started it.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any


async def _serve_process(process: Any) -> None:
    child = await asyncio.create_subprocess_shell(
        process.command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
    process.exit(await child.wait())


async def serve(folder: Path, address: str, port: int) -> None:
    """Until killed."""
    import asyncssh

    class Server(asyncssh.SSHServer):
        """Lets in by key, and through to Unix sockets, as OpenSSH does."""

        def unix_connection_requested(self, dest_path: str) -> bool:  # noqa: ARG002  # any
            return True

    await asyncssh.create_server(
        Server, address, port, server_host_keys=[str(folder / "host")],
        authorized_client_keys=str(folder / "authorized_keys"), process_factory=_serve_process,
        encoding=None,
    )  # fmt: skip
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
