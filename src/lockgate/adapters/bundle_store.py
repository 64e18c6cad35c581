"""Signed bundles on disk: one folder a digest, whole or not at all, verified whenever one is asked for."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from lockgate.adapters.durable_files import room_for
from lockgate.adapters.signer import ensure_keys, sign_folder
from lockgate.config import Settings
from lockgate.core.contract import ModelBundle
from lockgate.core.ids import Digest, ModelName, canonical_json, digest_bytes
from lockgate.serving.disk import sync
from lockgate.serving.model.bundle import MANIFEST, open_bundle
from lockgate.serving.model.signature import load_public_key


class FileBundleStore:
    """Implements `ports.BundleStore` on `Settings.bundles`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def get(self, digest: Digest) -> ModelBundle:
        """Verify signature, manifest and digest by the server's own code, and return the bundle.

        Raises:
            IntegrityError: It is not what was signed, or its digest is not this one.
            BadInput: There is no such bundle.
        """
        verified = open_bundle(self._settings.bundles, digest, load_public_key(self._settings.public_key))
        manifest = json.loads((self.folder(digest) / MANIFEST).read_bytes())
        return ModelBundle(digest=digest, contract=verified.contract, parts=manifest["parts"])

    def folder(self, digest: Digest) -> Path:
        """Return where the bundle's parts lie."""
        return self._settings.bundles / digest

    def put(self, model: ModelName, parts: Mapping[str, bytes]) -> ModelBundle:
        """Write, sign and keep a bundle; one that is there already is verified and kept as it is.

        Args:
            model: Whose it is.
            parts: Content by name, without manifest and signature.

        Raises:
            ConfigError: The signing key cannot be used.
            IntegrityError: A bundle of this digest is there and is not what was signed.
            TransientError: The disk is full; nothing half-written is visible.
        """
        ensure_keys(self._settings)
        digests = {name: digest_bytes(data) for name, data in parts.items()}
        manifest = canonical_json({"schema_version": 1, "model": model, "parts": digests})
        digest = digest_bytes(manifest)
        if not self.folder(digest).exists():
            self._write({**parts, MANIFEST: manifest}, digest)
        return self.get(digest)

    def _write(self, parts: Mapping[str, bytes], digest: Digest) -> None:
        store = self._settings.bundles
        store.mkdir(parents=True, exist_ok=True)
        with room_for("a bundle", store):
            partial = Path(tempfile.mkdtemp(dir=store, prefix=".new-"))
            try:
                for name, data in parts.items():
                    (partial / name).write_bytes(data)
                sign_folder(partial, self._settings.signing_key)
                for file in partial.iterdir():
                    file.chmod(0o444)
                    sync(file)
                partial.chmod(0o755)
                self._rename(partial, digest)
            finally:
                shutil.rmtree(partial, ignore_errors=True)

    def _rename(self, partial: Path, digest: Digest) -> None:
        try:
            partial.rename(self.folder(digest))
        except OSError:
            if not self.folder(digest).is_dir():  # else another process made the same bundle first; it is as good
                raise
        sync(self._settings.bundles)
