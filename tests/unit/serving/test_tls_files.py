"""The certificate of both ports: what is said of one that callers refuse, or soon will."""

import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lockgate.errors import ConfigError
from lockgate.serving.net.tls import TlsFiles

FIRST, LAST = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 5, 30, tzinfo=UTC)


def make(folder: Path, name: str = "server", phrase: bytes = b"") -> tuple[Path, Path]:
    """Write a certificate of itself that is valid from FIRST to LAST, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder(who, who, key.public_key(), 1, FIRST, LAST).sign(key, hashes.SHA256())
    secured = serialization.BestAvailableEncryption(phrase) if phrase else serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    cert_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    cert_file.write_bytes(made.public_bytes(pem))
    key_file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, secured))
    key_file.chmod(0o600)
    return cert_file, key_file


@pytest.mark.parametrize(
    ("now", "level", "said"),
    [
        (LAST, "ERROR", r"ended on 2026-05-30 00:00 UTC: callers refuse it"),
        (FIRST - timedelta(days=1), "ERROR", r"is valid from 2026-03-01 .* until then callers refuse it"),
        (LAST - timedelta(days=13), "WARNING", r"ends on 2026-05-30"),
        (LAST - timedelta(days=15), "", ""),
    ],
)
def test_a_certificate_that_callers_refuse_or_soon_will_is_said(
    now: datetime, level: str, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    TlsFiles(*make(tmp_path)).say_validity(now)
    assert [record.levelname for record in caplog.records] == ([level] if level else [])
    assert re.search(said, caplog.text)


def test_a_key_with_a_pass_phrase_is_refused_without_asking_for_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no PEM files, or the key has a pass phrase"):
        TlsFiles(*make(tmp_path, phrase=b"secret"))


def test_a_pair_that_does_not_match_leaves_the_old_one_in_use(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cert, key = make(tmp_path)
    files = TlsFiles(cert, key)
    cert.write_bytes(make(tmp_path, "other")[0].read_bytes())
    files.reload_or_say()
    files.say_validity(FIRST)
    assert "the certificate in use stays" in caplog.text
    assert "is not the key of" in caplog.text


def test_a_key_that_others_may_read_is_refused_and_the_old_pair_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = make(tmp_path)
    files = TlsFiles(cert, key)
    key.chmod(0o644)
    with pytest.raises(ConfigError, match=r"--tls-key .* is open to others"):
        TlsFiles(cert, key)
    files.reload_or_say()
    assert "the certificate in use stays" in caplog.text
