"""Opens a bundle by digest: nothing in it is parsed before every byte of it is proved to be what was signed.

signature -> each part against the manifest -> no extra, missing or linked file -> manifest against the digest
-> contract and probes parsed, from the very bytes that were hashed
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from lockgate.core.contract import ModelContract, ProbeSet
from lockgate.core.ids import Digest, is_digest
from lockgate.errors import BadInput, IntegrityError
from lockgate.serving.model.contract_file import parse_contract, parse_probes
from lockgate.serving.model.signature import signed_digests

MANIFEST = "manifest.json"
SIGNATURE = "signature"
NEEDED = ("model.onnx", "contract.json", "probe_requests.json")
PROFILE = "reference_profile.json"
KEPT = (*NEEDED, MANIFEST, SIGNATURE)
NOT_OURS = "registered_model_meta"  # MLflow writes it into a folder that it has registered


class UnknownBundle(BadInput):
    """The store has no bundle of this digest."""


class _Manifest(msgspec.Struct, forbid_unknown_fields=True):
    schema_version: int
    model: str
    parts: dict[str, str]


# made at import, by one thread: msgspec learns a type at its first use, and crashes where two threads do at once
_DECODER: Final = msgspec.json.Decoder(_Manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedBundle:
    """A bundle whose signature, manifest and digest all hold.

    Attributes:
        digest: The sha256 of its manifest.
        contract: What it takes and gives.
        probes: Its own requests with golden answers.
        onnx: The graph, the very bytes that were verified.
        profile: What the rows of training were like, unparsed; None where the bundle has no such part.
    """

    digest: Digest
    contract: ModelContract
    probes: ProbeSet
    onnx: bytes
    profile: bytes | None = None


def open_bundle(store: Path, digest: Digest, public_key: ec.EllipticCurvePublicKey) -> VerifiedBundle:
    """Verify the bundle `<store>/<digest>/` and read what serving needs of it.

    Raises:
        UnknownBundle: The store has no folder of that digest.
        IntegrityError: Any part is not what was signed; names the part and both digests.
    """
    folder = store / digest
    if not is_digest(digest) or not folder.is_dir() or folder.is_symlink():
        raise UnknownBundle(f"no bundle {digest!r} in {store}; a bundle is asked for by the sha256 of its manifest")
    try:
        hashed, kept = _read_parts(folder)
    except OSError as broken:
        raise IntegrityError(f"bundle {digest[:12]} cannot be read: {broken}") from broken
    for name in KEPT:
        if name not in kept:
            raise IntegrityError(f"part {name} is missing")
    manifest = _check_parts(hashed, kept[MANIFEST], signed_digests(kept[SIGNATURE], public_key))
    if hashed[MANIFEST] != digest:
        raise IntegrityError(f"part {MANIFEST}: sha256 is {hashed[MANIFEST]}, the bundle is named {digest}")
    contract = parse_contract(kept["contract.json"])
    if contract.model != manifest.model:
        raise IntegrityError(f"part contract.json: model is {contract.model!r}, manifest says {manifest.model!r}")
    return VerifiedBundle(
        digest=digest,
        contract=contract,
        probes=parse_probes(kept["probe_requests.json"]),
        onnx=kept["model.onnx"],
        profile=kept.get(PROFILE),
    )


def _read_parts(folder: Path) -> tuple[Mapping[str, str], Mapping[str, bytes]]:
    """Return the sha256 of every file, and the content of those that serving needs."""
    hashed: dict[str, str] = {}
    kept: dict[str, bytes] = {}
    for path in sorted(folder.iterdir()):
        name = path.name
        if name == NOT_OURS:
            continue
        # O_NOFOLLOW: a link that appears between a check and the opening is refused as well
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as refused:
            raise IntegrityError(f"part {name}: not a plain file of the bundle ({refused.strerror})") from refused
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise IntegrityError(f"part {name}: not a plain file of the bundle")
        with os.fdopen(handle, "rb") as part:
            if name in KEPT or name == PROFILE:
                kept[name] = part.read()
                hashed[name] = hashlib.sha256(kept[name]).hexdigest()
            else:
                hashed[name] = hashlib.file_digest(part, "sha256").hexdigest()
    return hashed, kept


def _check_parts(hashed: Mapping[str, str], manifest_bytes: bytes, signed: Mapping[str, str]) -> _Manifest:
    """Hold files, manifest and signature against each other; return the manifest."""
    if hashed[MANIFEST] != signed.get(MANIFEST):
        raise IntegrityError(f"part {MANIFEST}: sha256 is {hashed[MANIFEST]}, signature says {signed.get(MANIFEST)}")
    try:
        manifest = _DECODER.decode(manifest_bytes)
    except (msgspec.MsgspecError, UnicodeDecodeError) as broken:
        raise IntegrityError(f"part {MANIFEST}: {broken}") from broken
    if manifest.schema_version != 1:
        raise IntegrityError(f"part {MANIFEST}: schema_version is {manifest.schema_version}; this server reads 1")
    files = {name: found for name, found in hashed.items() if name not in (MANIFEST, SIGNATURE)}
    problem = next(_differences(files, manifest.parts, {n: d for n, d in signed.items() if n != MANIFEST}), None)
    if problem:
        raise IntegrityError(problem)
    return manifest


def _differences(files: Mapping[str, str], listed: Mapping[str, str], signed: Mapping[str, str]) -> Iterator[str]:
    """Yield where the sha256 by name of files, manifest and signature are not the same."""
    for name in sorted(files.keys() | listed.keys() | signed.keys()):
        if name not in files:
            yield f"part {name} is missing; the bundle was signed with it"
        elif name not in listed:
            yield f"part {name} is not in the manifest; nothing may be added to a bundle"
        elif files[name] != listed[name]:
            yield f"part {name}: sha256 is {files[name]}, manifest says {listed[name]}"
        elif listed[name] != signed.get(name):
            yield f"part {name}: manifest says {listed[name]}, signature says {signed.get(name)}"
