"""The key that signs the ledger's heads: ECDSA P-256, one file, made on first use and readable by its owner alone.

Only this module touches the private key. An auditor needs the `.pub` beside it and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from lockgate.adapters.durable_files import written_aside
from lockgate.config import Settings
from lockgate.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey


def ledger_signer(settings: Settings) -> LedgerSigner:
    """Return the signer of this installation: `<home>/keys/ledger.key`, made when it first signs."""
    return LedgerSigner(settings.home / "keys" / "ledger.key")


class LedgerSigner:
    """Signs heads with a key file, which is made (0600) with its public half the first time it is needed.

    Attributes:
        path: The private key, PKCS 8 PEM; the public key is written beside it as `.pub`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._key: EllipticCurvePrivateKey | None = None

    @property
    def public_path(self) -> Path:
        """Where the public key lies."""
        return self.path.with_suffix(".pub")

    def sign(self, message: bytes) -> str:
        """Return the base64 of a DER signature over SHA-256 of the message.

        Raises:
            ConfigError: The key file is no P-256 key, or others may read it.
            TransientError: The key could not be written or read.
        """
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.hashes import SHA256

        if self._key is None:
            self._key = _load_or_make(self.path, self.public_path)
        return base64.b64encode(self._key.sign(message, ec.ECDSA(SHA256()))).decode()

    def verify(self, message: bytes, signature: str) -> bool:
        """Tell whether this key signed the message."""
        if self._key is None:
            self._key = _load_or_make(self.path, self.public_path)
        return _verify(self._key.public_key(), message, signature)


class LedgerVerifier:
    """Checks head signatures with the public key alone.

    Raises:
        ConfigError: The file is missing or no P-256 public key.
    """

    def __init__(self, path: Path) -> None:
        self._key = _read_public(path)

    def verify(self, message: bytes, signature: str) -> bool:
        """Tell whether the private half of this key signed the message; False for anything malformed."""
        return _verify(self._key, message, signature)


def _verify(key: EllipticCurvePublicKey, message: bytes, signature: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        key.verify(base64.b64decode(signature, validate=True), message, ec.ECDSA(SHA256()))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def _load_or_make(path: Path, public: Path) -> EllipticCurvePrivateKey:
    try:
        if not path.exists():
            _make(path)
        key = _read_private(path)
        if not public.exists():
            _write_public(key, public)
    except OSError as broken:
        raise TransientError(f"the ledger's key {path} could not be read or made: {broken}") from broken
    return key


def _make(path: Path) -> None:
    """Write a fresh key whole or not at all; of two processes that race, one key wins and both use it."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = written_aside(path, pem)  # mkstemp makes it 0600
    try:
        os.link(temporary, path)  # unlike rename, a link never replaces a key that is already there
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _write_public(key: EllipticCurvePrivateKey, public: Path) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    temporary = written_aside(public, pem)
    temporary.chmod(0o644)
    temporary.replace(public)


def _read_private(path: Path) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    open_to = stat.S_IMODE(path.stat().st_mode) & 0o077
    if open_to:
        raise ConfigError(f"{path} is open to others (mode {open_to:03o} too wide); run: chmod 600 {path}")
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as wrong:
        raise ConfigError(f"{path} is no private key in PEM form; restore it from your backup") from wrong
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(f"{path} is no EC P-256 key; the ledger's heads are signed with no other")
    return key


def _read_public(path: Path) -> EllipticCurvePublicKey:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as missing:
        raise ConfigError(f"the ledger's public key {path} cannot be read: {missing}") from missing
    except ValueError as wrong:
        raise ConfigError(f"{path} is no public key in PEM form") from wrong
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(f"{path} is no EC P-256 public key")
    return key
