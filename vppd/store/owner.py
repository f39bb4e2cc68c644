"""Whose the files of a store are."""

from __future__ import annotations

import os
from pathlib import Path


def give_to_folders_owner(path: Path) -> None:
    """What root makes in a node's folder belongs to the folder's owner, as the daemon runs as that.

    ``sudo vppd recover`` would else leave files that the service cannot open.

    Raises:
        OSError: the owner cannot be changed.
    """
    if os.geteuid() == 0:
        folder = path.parent.stat()
        os.chown(path, folder.st_uid, folder.st_gid)
