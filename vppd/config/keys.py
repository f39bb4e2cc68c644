"""Secret keys on disk: 32 bytes as one line of text that nobody but its owner may read."""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import secrets
import stat
from pathlib import Path

from vppd.crypto import SigningKey
from vppd.errors import ConfigError, UserError

SEED_BYTES = 32
CREDENTIAL_PREFIX = "credential:"
"""``credential:node.key`` names a file systemd hands over (LoadCredential=, systemd.exec(5))."""
_LINE_PREFIX = "ed25519-seed:"
_HEADER = (
    "# vppd secret key. Whoever reads it can sign as its owner: keep it 0600, never copy it.\n"
)


def key_path(spec: str, base: Path) -> Path:
    """Where the key of a ``key = "…"`` setting lies.

    Args:
        spec: a path, relative to ``base``, or ``credential:NAME`` under systemd.
        base: folder of the file the setting stands in.

    Raises:
        ConfigError: E164, a credential but not started by systemd.
    """
    if not spec.startswith(CREDENTIAL_PREFIX):
        return base / spec
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is None:
        raise ConfigError(
            "E164",
            "the key is a systemd credential, but systemd passed no credentials",
            facts={"key": spec, "missing": "$CREDENTIALS_DIRECTORY"},
            hint="run it as a service with LoadCredential=, or set key to a file",
        )
    return Path(folder, spec.removeprefix(CREDENTIAL_PREFIX))


def load_key(path: Path) -> SigningKey:
    """The key in ``path``, which only its owner may be allowed to read.

    Raises:
        ConfigError: E160, others may read it; E161, not a key; E162, missing or unreadable.
    """
    try:
        with path.open("rb") as file:
            # Checked on the open file, not on the path: they cannot be swapped in between.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(4_096)
    except OSError as err:
        raise ConfigError(
            "E162",
            "the secret key cannot be read",
            facts={"file": str(path), "why": err.strerror or str(err)},
            hint=f"vppd init writes a new one; vppd key gen --out {path.name} writes only the key",
        ) from err
    if mode & _forbidden_bits(path):
        raise ConfigError(
            "E160",
            "others may read this secret key",
            facts={"file": str(path), "mode": f"{mode:04o}, must be 0600 or less"},
            hint=f"chmod 600 {path}",
        )
    return SigningKey(_decode(data, path))


def create_key(path: Path, seed: bytes | None = None) -> SigningKey:
    """Write a new secret key with mode 0600, synced.

    Args:
        path: must not exist.
        seed: 32 bytes; fresh from the system's generator when ``None``.

    Raises:
        UserError: E163, there is a file already; E165, the folder cannot be written.
    """
    seed = secrets.token_bytes(SEED_BYTES) if seed is None else seed
    text = _HEADER + _LINE_PREFIX + base64.urlsafe_b64encode(seed).rstrip(b"=").decode() + "\n"
    try:
        with open(path, "xb", opener=_private) as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as err:
        raise UserError(
            "E163",
            "a key file is never overwritten",
            facts={"file": str(path)},
            hint="keep it, or move it away first; a lost key is a lost identity",
        ) from err
    except OSError as err:
        raise UserError(
            "E165",
            "the key file cannot be written",
            facts={"file": str(path), "why": err.strerror or str(err)},
            hint="write to a folder that exists and is yours",
        ) from err
    return SigningKey(seed)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _forbidden_bits(path: Path) -> int:
    """Mode bits a key file must not have."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is not None and path.is_relative_to(folder):
        # systemd grants the service user access by an ACL, whose mask shows up as group bits.
        return stat.S_IRWXO
    return stat.S_IRWXG | stat.S_IRWXO


def _decode(data: bytes, path: Path) -> bytes:
    lines = [line for line in data.splitlines() if line.strip() and not line.startswith(b"#")]
    prefix = _LINE_PREFIX.encode()
    if len(lines) == 1 and lines[0].startswith(prefix):
        body = lines[0].removeprefix(prefix).strip()
        with contextlib.suppress(binascii.Error):
            seed = base64.b64decode(body + b"=" * (-len(body) % 4), altchars=b"-_", validate=True)
            if len(seed) == SEED_BYTES:
                return seed
    # The content stays out of the message: it may be a damaged secret.
    raise ConfigError(
        "E161",
        "this file is not a vppd secret key",
        facts={"file": str(path), "expected": f"one line {_LINE_PREFIX}… with {SEED_BYTES} bytes"},
        hint="restore it from a backup; a new key is a new identity (vppd key gen)",
    )
