from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lockgate.adapters.ledger_keys import LedgerSigner, LedgerVerifier
from lockgate.errors import ConfigError, TransientError


@pytest.fixture
def signer(tmp_path: Path) -> LedgerSigner:
    return LedgerSigner(tmp_path / "keys" / "ledger.key")


def test_a_key_is_made_when_it_first_signs_and_only_its_owner_may_read_it(signer: LedgerSigner) -> None:
    assert not signer.path.exists()
    signer.sign(b"a head")
    assert stat.S_IMODE(signer.path.stat().st_mode) == 0o600
    assert [path.name for path in sorted(signer.path.parent.iterdir())] == ["ledger.key", "ledger.pub"]


def test_the_public_key_alone_checks_a_signature(signer: LedgerSigner) -> None:
    signature = signer.sign(b"a head")
    verifier = LedgerVerifier(signer.public_path)
    assert verifier.verify(b"a head", signature)
    assert not verifier.verify(b"another head", signature)
    assert signer.verify(b"a head", signature)


@pytest.mark.parametrize("signature", ["", "AAAA", "not base64!", "ä"])
def test_a_malformed_signature_is_false_and_not_an_error(signer: LedgerSigner, signature: str) -> None:
    signer.sign(b"a head")
    assert not LedgerVerifier(signer.public_path).verify(b"a head", signature)


def test_another_installations_signature_is_not_ours(signer: LedgerSigner, tmp_path: Path) -> None:
    signer.sign(b"a head")
    theirs = LedgerSigner(tmp_path / "other.key").sign(b"a head")
    assert not LedgerVerifier(signer.public_path).verify(b"a head", theirs)


def test_a_later_process_signs_with_the_same_key(signer: LedgerSigner) -> None:
    signer.sign(b"a head")
    later = LedgerSigner(signer.path).sign(b"a later head")
    assert LedgerVerifier(signer.public_path).verify(b"a later head", later)


def test_signers_that_race_to_make_the_key_agree_on_one(signer: LedgerSigner) -> None:
    start, signatures = threading.Barrier(6), []

    def sign() -> None:
        start.wait()
        signatures.append(LedgerSigner(signer.path).sign(b"a head"))

    threads = [threading.Thread(target=sign) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verifier = LedgerVerifier(signer.public_path)
    assert [verifier.verify(b"a head", each) for each in signatures] == [True] * 6


def test_a_key_that_others_may_read_is_refused(signer: LedgerSigner) -> None:
    signer.sign(b"a head")
    signer.path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        LedgerSigner(signer.path).sign(b"a head")


@pytest.mark.parametrize("kind", ["garbage", "ed25519"])
def test_a_file_that_is_no_p256_key_is_refused(signer: LedgerSigner, kind: str) -> None:
    pem = b"garbage"
    if kind == "ed25519":
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    signer.path.parent.mkdir()
    signer.path.write_bytes(pem)
    signer.path.chmod(0o600)
    with pytest.raises(ConfigError, match=str(signer.path)):
        signer.sign(b"a head")
    with pytest.raises(ConfigError):
        LedgerVerifier(signer.path)


def test_a_missing_public_key_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        LedgerVerifier(tmp_path / "ledger.pub")


def test_a_folder_that_cannot_hold_the_key_is_a_transient_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TransientError, match="could not be read or made"):
        LedgerSigner(tmp_path / "file" / "ledger.key").sign(b"a head")
