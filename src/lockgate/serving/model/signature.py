"""Checks an OpenSSF model-signing signature (v1, key mode) with `cryptography` and JSON alone.

The format is a Sigstore bundle around a DSSE envelope around an in-toto statement that lists the sha256 of every file:
https://github.com/sigstore/model-transparency (1.1), https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md.
The library itself costs 0.9 s and 673 modules to import; this check costs 1 ms. Unlike the library, every field must
be one that is known: a signature that carries anything else is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lockgate.core.ids import is_digest
from lockgate.errors import ConfigError, IntegrityError

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"


class _PublicKey(msgspec.Struct, forbid_unknown_fields=True):
    hint: str


class _Material(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    public_key: _PublicKey
    tlog_entries: tuple[()] = ()


class _Signature(msgspec.Struct, forbid_unknown_fields=True):
    sig: str
    keyid: str = ""


class _Envelope(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    payload: str
    payload_type: str
    signatures: tuple[_Signature]


class _SigstoreBundle(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope


class _Resource(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    digest: str
    algorithm: str


class _Predicate(msgspec.Struct):
    resources: tuple[_Resource, ...]
    serialization: dict[str, object]


class _Subject(msgspec.Struct):
    digest: dict[str, str]


class _Statement(msgspec.Struct, rename={"type_": "_type", "predicate_type": "predicateType"}):
    type_: str
    predicate_type: str
    subject: tuple[_Subject]
    predicate: _Predicate


# made at import, by one thread: msgspec learns a type at its first use, and crashes where two threads do at once
_SIGNATURE: Final = msgspec.json.Decoder(_SigstoreBundle)
_STATEMENT: Final = msgspec.json.Decoder(_Statement)


def load_public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """Read the EC P-256 public key that bundles are verified with.

    Raises:
        ConfigError: There is no such file, or it holds no such key.
    """
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as broken:
        said = broken.strerror if isinstance(broken, OSError) else "it holds no PEM public key"
        raise ConfigError(f"public key {path}: {said}; give the PEM file of the signing key's public half") from broken
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise ConfigError(f"public key {path} is not an EC P-256 key, the only kind bundles are signed with")
    return key


def signed_digests(signature: bytes, public_key: ec.EllipticCurvePublicKey) -> Mapping[str, str]:
    """Verify a signature and return what it signs: sha256 by file name.

    Raises:
        IntegrityError: It is malformed, of another form, by another key, or does not fit what it signs.
    """
    try:
        bundle = _SIGNATURE.decode(signature)
    except (msgspec.MsgspecError, UnicodeDecodeError) as broken:
        raise IntegrityError(f"part signature: not a signature of the known form: {broken}") from broken
    _expect("media type", bundle.media_type, MEDIA_TYPE)
    _expect("payload type", bundle.dsse_envelope.payload_type, PAYLOAD_TYPE)
    hint = bundle.verification_material.public_key.hint
    if hint != _key_hint(public_key):
        raise IntegrityError(
            f"part signature: made with key {hint[:16]}, this server trusts {_key_hint(public_key)[:16]}"
        )
    payload = _base64(bundle.dsse_envelope.payload)
    signed = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
    try:
        public_key.verify(_base64(bundle.dsse_envelope.signatures[0].sig), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as wrong:
        raise IntegrityError("part signature: it does not fit what it signs under this server's key") from wrong
    return _resources(payload)


def _resources(payload: bytes) -> Mapping[str, str]:
    """Return the digests that a signed statement lists."""
    try:
        statement = _STATEMENT.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as broken:
        raise IntegrityError(f"part signature: its statement is not of the known form: {broken}") from broken
    _expect("statement type", statement.type_, STATEMENT_TYPE)
    _expect("predicate type", statement.predicate_type, PREDICATE_TYPE)
    _expect("serialization", statement.predicate.serialization.get("method"), "files")
    resources = statement.predicate.resources
    root = hashlib.sha256()
    for resource in resources:
        _expect(f"algorithm of {resource.name}", resource.algorithm, "sha256")
        if not is_digest(resource.digest):
            raise IntegrityError(f"part signature: the digest of {resource.name} is {resource.digest!r}, not a sha256")
        root.update(bytes.fromhex(resource.digest))
    _expect("root digest", statement.subject[0].digest.get("sha256"), root.hexdigest())
    digests = {resource.name: resource.digest for resource in resources}
    if len(digests) != len(resources):
        raise IntegrityError("part signature: it lists a file twice")
    return digests


def _key_hint(public_key: ec.EllipticCurvePublicKey) -> str:
    pem = public_key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def _base64(text: str) -> bytes:
    """Decode base64 of the one canonical form: the unused low bits of the last character must be zero."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as broken:
        raise IntegrityError(f"part signature: not base64: {broken}") from broken
    if base64.b64encode(data).decode() != text:
        raise IntegrityError("part signature: not canonical base64")
    return data


def _expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise IntegrityError(f"part signature: {what} is {found!r}, expected {wanted!r}")
