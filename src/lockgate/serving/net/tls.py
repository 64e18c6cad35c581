"""TLS for both ports from a certificate and a key file; TLS 1.2 and newer, HTTP/1.1."""

from __future__ import annotations

import logging
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from lockgate.errors import ConfigError
from lockgate.serving.private_files import check_private

logger = logging.getLogger(__name__)

SOON: Final = timedelta(days=14)  # ours: automatic renewal is usually 30 days before the end, so it has failed by then


class TlsFiles:
    """The files, and the context that connections are made with.

    Attributes:
        context: What a listening port takes.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        """Read both files.

        Raises:
            ConfigError: One cannot be read, is no PEM file of its kind, or the key is not the certificate's.
        """
        self._cert, self._key = cert, key
        self._own: x509.Certificate | None = None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        self.context.set_alpn_protocols(["http/1.1"])
        self.reload()

    def reload(self) -> None:
        """Read both files again, for connections from now on; on an error those before stay in use.

        Raises:
            ConfigError: As above.
        """
        # a context that half took a new pair is of no use, so a second one tries it first
        _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self._cert, self._key)
        _load(self.context, self._cert, self._key)
        self._own = _own(self._cert)

    def say_validity(self, now: datetime) -> None:
        """Say in the log that callers refuse the certificate, or soon will: what it is served with is not checked else.

        Args:
            now: Aware.
        """
        own = self._own
        if own is None:
            return
        if now >= own.not_valid_after_utc:
            logger.error("%s ended on %s: callers refuse it; renew it, then SIGHUP", self._cert, _day(own))
        elif now < own.not_valid_before_utc:
            logger.error("%s is valid from %s on: until then callers refuse it", self._cert, own.not_valid_before_utc)
        elif now + SOON >= own.not_valid_after_utc:
            logger.warning("%s ends on %s; renew it, then SIGHUP", self._cert, _day(own))

    def reload_or_say(self) -> None:
        """Read both files again; a pair that cannot be used is said in the log and changes nothing."""
        try:
            self.reload()
        except ConfigError as wrong:
            logger.error("the certificate in use stays: %s", wrong)  # noqa: TRY400 - the message says it all
        else:
            logger.info("certificate read again: %s", self._cert)


def _own(cert: Path) -> x509.Certificate | None:
    """Return the first certificate of a file; None where it is of a kind that OpenSSL alone can read."""
    try:
        return x509.load_pem_x509_certificate(cert.read_bytes())
    except (OSError, ValueError):
        return None


def _day(certificate: x509.Certificate) -> str:
    return f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"


def _load(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    for option, path in (("--tls-cert", cert), ("--tls-key", key)):
        try:
            path.read_bytes()
        except OSError as broken:
            raise ConfigError(f"{option} {path}: {broken.strerror}; give a PEM file that can be read") from broken
    check_private(key, "--tls-key")
    try:
        # an empty pass phrase: OpenSSL would otherwise ask for one on the terminal
        context.load_cert_chain(cert, key, password="")
    except ssl.SSLError as broken:
        said = broken.reason or "no PEM files, or the key has a pass phrase"
        if said == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"--tls-key {key} is not the key of --tls-cert {cert}; give a pair") from broken
        raise ConfigError(
            f"--tls-cert {cert} and --tls-key {key} cannot be used ({said}); "
            "give a PEM certificate chain, the server's own first, and its PEM key without a pass phrase"
        ) from broken
