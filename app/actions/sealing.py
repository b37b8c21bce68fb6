"""Secrets at rest: AES-256-GCM, with a key from the environment or from a file that only the server may read."""

import base64
import binascii
import contextlib
import hashlib
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12  # NIST SP 800-38D, 8.2: 96 bits, random, fewer than 2^32 of them under one key
TOKEN_PREFIX = "slw_"  # noqa: S105  it lets a secret scanner recognize a leaked token


class Sealer:
    """Seals and opens the values of credentials. Each is bound to its credential and key, so rows can't be swapped."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, credential_id: UUID, key: str, value: str) -> bytes:
        """Nonce and ciphertext of a value."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value.encode("utf-8"), _binding(credential_id, key))

    def open(self, credential_id: UUID, key: str, sealed: bytes) -> str:
        """The value.

        Raises:
            ValueError: it was sealed with another key, or for another place.
        """
        try:
            value = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _binding(credential_id, key))
        except InvalidTag:
            raise ValueError("The value of a credential can't be opened: was the encryption key changed?") from None
        return value.decode("utf-8")


def _binding(credential_id: UUID, key: str) -> bytes:
    return credential_id.bytes + key.encode("utf-8")


def key_from_file(path: Path) -> bytes:
    """The key in this file, made on first use.

    Raises:
        ValueError: the file holds no key.
    """
    text = secret_from_file(path, lambda: base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode())
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        message = f"{path} holds no key of {KEY_BYTES} bytes in base64: put back the one that it had."
        raise ValueError(message)
    return key


def secret_from_file(path: Path, make: Callable[[], str]) -> str:
    """The secret in this file. Made on first use, with mode 0600, whole or not at all."""
    if not path.exists():
        descriptor, name = tempfile.mkstemp(dir=path.parent)  # mode 0600
        with os.fdopen(descriptor, "w") as file:
            file.write(make() + "\n")
            file.flush()
            os.fsync(file.fileno())
        # Two that start at once: the first link stands.
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
        Path(name).unlink()
    return path.read_text().strip()


def new_token() -> str:
    """The secret of an API token: 256 random bits behind a prefix."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def token_digest(secret: str) -> bytes:
    """What is stored of a token: its SHA-256. With 256 random bits a slow hash would protect nothing more."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
