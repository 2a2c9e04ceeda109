"""The agent's TLS: always verified, never older than 1.2, and its failures in words."""

import ssl
from typing import Optional

_VERIFY_CODES = {
    9: "its certificate is not valid yet, check both clocks",
    10: "its certificate has expired, or this machine's clock is ahead",
    18: "its certificate is self-signed and not trusted, name it in MASTER_CA_FILE if it is yours",
    19: "its certificate comes from an authority this machine does not trust, name it in MASTER_CA_FILE if it is yours",
    20: "its certificate comes from an authority this machine does not trust, name it in MASTER_CA_FILE if it is yours",
    21: "its certificate chain is incomplete, the master must send the intermediate certificates",
    23: "its certificate was revoked",
    62: "its certificate is for another host name",
    64: "its certificate is for another address",
}
_REASONS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS on this port",
    "HTTP_REQUEST": "it does not speak TLS on this port",
    "UNSUPPORTED_PROTOCOL": "it offers only TLS older than 1.2",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it offers only TLS older than 1.2",
    "TLSV1_ALERT_UNKNOWN_CA": "it asks for a certificate of ours",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it asks for a certificate of ours",
    "NO_PROTOCOLS_AVAILABLE": "this machine's OpenSSL offers no TLS 1.2 or newer",
}


def client_context(ca_file: Optional[str]) -> ssl.SSLContext:
    """Return a context that verifies the master; `ca_file` replaces the system's authorities.

    Raises:
        OSError: the file cannot be read, or holds no certificate (ssl.SSLError).
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = True
    context.verify_mode = ssl.CERT_REQUIRED
    context.keylog_filename = None  # type: ignore[assignment]  # not even when SSLKEYLOGFILE asks for it
    return context


def in_words(error: ssl.SSLError) -> str:
    """Say what is wrong with the master's TLS, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFY_CODES.get(error.verify_code, f"its certificate is not trusted: {error.verify_message}")
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return "it ended the connection during the TLS handshake"
    return _REASONS.get(error.reason or "", f"TLS failed: {error.reason or error}")
