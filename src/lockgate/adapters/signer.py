"""Signs bundles with the OpenSSF model-signing library and a local key; the only module that reads the private key.

The key is made on first use, readable by this user alone. Whom that stops on one machine, and how the signing step
gets a user of its own: see `isolated.py`.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lockgate.adapters.durable_files import room_for
from lockgate.config import Settings
from lockgate.errors import ConfigError
from lockgate.serving.disk import sync
from lockgate.serving.model.bundle import NOT_OURS, SIGNATURE


def ensure_keys(settings: Settings) -> None:
    """Make the signing key and its public half if there are none; two processes at once make one pair.

    Raises:
        ConfigError: A private key is there that cannot be read, or is of another kind; or it is gone, and servers
            trust the public half that is still there.
        TransientError: The disk is full.
    """
    folder = settings.signing_key.parent
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not settings.signing_key.exists():
        if settings.public_key.exists():
            raise ConfigError(
                f"the signing key {settings.signing_key} is gone, and servers trust {settings.public_key}: put the key "
                "back. To sign with a new pair, move the public half away too; bundles signed before are then refused"
            )
        made = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _write_once(settings.signing_key, made, 0o600)
    if not settings.public_key.exists():
        public = _private_key(settings.signing_key).public_key()
        _write_once(
            settings.public_key,
            public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
            0o644,
        )


def sign_folder(folder: Path, private_key: Path) -> None:
    """Sign every file of a folder and write `signature` into it.

    Raises:
        ConfigError: The key cannot be read, is of another kind, or others may read it.
    """
    from model_signing import hashing, signing

    if private_key.is_file() and private_key.stat().st_mode & 0o077:
        raise ConfigError(f"{private_key} can be read by others; chmod 600 it, and make a new key if others are here")
    _private_key(private_key)
    ignored = [os.fspath(folder / name) for name in (SIGNATURE, NOT_OURS)]
    hashed = hashing.Config()  # type: ignore[no-untyped-call]  # the library leaves constructors unannotated
    config = signing.Config()  # type: ignore[no-untyped-call]  # as above
    config.set_hashing_config(hashed.set_ignored_paths(paths=ignored, ignore_git_paths=False))
    config.use_elliptic_key_signer(private_key=private_key).sign(folder, folder / SIGNATURE)


def _private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError as missing:
        raise ConfigError(f"there is no signing key {path}; `lockgate up` makes one") from missing
    except (OSError, ValueError, TypeError) as broken:
        raise ConfigError(f"the signing key {path} cannot be read: {broken}") from broken
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(f"the signing key {path} is no EC P-256 key; no other kind is taken")
    return key


def _write_once(path: Path, content: bytes, mode: int) -> None:
    """Write a file that is there whole or not at all; the first writer wins."""
    with room_for(path.name, path.parent):
        descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(partial, path)
            except FileExistsError:
                return  # another process was first; its key is the key
            sync(path.parent)
        finally:
            Path(partial).unlink()
