"""Alerts to one webhook: a signed POST that follows no redirect and is over after a known time."""

import hashlib
import hmac
import http.client
import json
import socket
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from django.conf import settings as django_settings

from tunnel.alert_news import News
from tunnel.conf import settings

TIMEOUT: Final = 10.0  # seconds for one step: connecting, sending, the next piece of the answer
DEADLINE = 20.0  # seconds for all of them; an answer of one byte each 9 s would never end otherwise
HANG_UP_AGAIN = 0.5  # seconds between two tries to end a connection that was not there at the deadline
LEAST_SECRET: Final = 16  # characters
MAX_SECRET: Final = 1024  # bytes that are read of a secret's file
SIGNATURE_HEADER: Final = "X-Yumna-Signature"
TIMESTAMP_HEADER: Final = "X-Yumna-Timestamp"
AGAIN: Final = frozenset({408, 425, 429})  # besides 5xx: answers after which the same may be taken later
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class WebhookFailed(Exception):
    """The webhook did not take the news; `again` says whether it may take it later.

    The sentence never holds the address: many webhooks have their password in it.
    """

    def __init__(self, reason: str, *, again: bool) -> None:
        self.reason, self.again = reason, again
        super().__init__(reason, again)

    def __str__(self) -> str:
        return f"the webhook {self.reason}"


def problems() -> list[str]:
    """Return what is wrong with TUNNEL_ALERT_WEBHOOK and its secret, without repeating either."""
    found = []
    if settings.ALERT_WEBHOOK and (problem := _problem_of(settings.ALERT_WEBHOOK)):
        found.append(f"TUNNEL_ALERT_WEBHOOK {problem}")
    try:
        secret = _secret()
    except ValueError as exc:
        return [*found, str(exc)]
    if secret and len(secret) < LEAST_SECRET:
        found.append(f"the secret of the webhook has {len(secret)} characters, it needs {LEAST_SECRET}")
    return found


def send(news: News) -> None:
    """Post the news.

    Raises:
        WebhookFailed: it was not taken.
    """
    body = json.dumps(news.body(), ensure_ascii=False).encode()
    try:
        headers = _headers(news, body)
    except ValueError as exc:
        raise WebhookFailed(f"is not called: {exc}", again=False) from exc
    status = _post(urlsplit(settings.ALERT_WEBHOOK), body, headers)
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise WebhookFailed(f"answered {status}, and redirects are not followed", again=False)
    raise WebhookFailed(f"answered {status}", again=status >= 500 or status in AGAIN)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return what proves that we sent this body at that time: HMAC-SHA256 of `timestamp.body`."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _headers(news: News, body: bytes) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "yumna-tunnel",
        "X-Yumna-Event": news.kind.value,
        "X-Yumna-Delivery": news.id,
    }
    secret = _secret()
    if secret:
        timestamp = str(int(time.time()))
        headers |= {TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: signature(secret, timestamp, body)}
    return headers


def _post(url: SplitResult, body: bytes, headers: dict[str, str]) -> int:
    """Return the status of the answer, whose body nobody reads."""
    connection: http.client.HTTPConnection
    if url.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(
            url.hostname or "", url.port, timeout=TIMEOUT, context=context
        )
    else:
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=TIMEOUT)
    over = threading.Event()
    watch = threading.Thread(
        target=_hang_up_late, args=(connection, over), name="tunnel-alerts-deadline", daemon=True
    )
    watch.start()
    try:
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.request("POST", path, body, headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError) as exc:
        # Only the kind: the text of an error may hold the address.
        raise WebhookFailed(f"could not be reached: {type(exc).__name__}", again=True) from exc
    finally:
        over.set()
        connection.close()
        watch.join()


def _hang_up_late(connection: http.client.HTTPConnection, over: threading.Event) -> None:
    """End what is not over at the deadline, and what connects only after it too."""
    left = DEADLINE
    while not over.wait(left):
        left = HANG_UP_AGAIN
        with suppress(OSError, AttributeError):  # it may not be connected yet
            connection.sock.shutdown(socket.SHUT_RDWR)


def _problem_of(address: str) -> str:
    try:
        url = urlsplit(address)
        url.port  # noqa: B018 - raises for a port that is none
    except ValueError:
        return "is no URL"
    if not address.isprintable() or " " in address or not address.isascii() or not url.hostname:
        return "is no URL"
    if url.username or url.password:
        return "holds a user name or password, which a webhook does not get; sign with a secret instead"
    if url.scheme == "https":
        return ""
    if url.scheme == "http" and django_settings.DEBUG and url.hostname in LOOPBACK:
        return ""
    return "must start with https://; http:// works to this machine alone, under DEBUG"


def _secret() -> str:
    """Return the secret, empty when there is none.

    Raises:
        ValueError: both settings are there, or the file cannot be used.
    """
    value, path = settings.ALERT_WEBHOOK_SECRET, settings.ALERT_WEBHOOK_SECRET_FILE
    if value and path:
        raise ValueError("TUNNEL_ALERT_WEBHOOK_SECRET and TUNNEL_ALERT_WEBHOOK_SECRET_FILE are both set")
    if not path:
        return str(value)
    try:
        with Path(path).open("rb") as file:
            value = file.read(MAX_SECRET).decode().strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ValueError(f"TUNNEL_ALERT_WEBHOOK_SECRET_FILE cannot be read: {type(exc).__name__}") from exc
    if not value:
        raise ValueError("TUNNEL_ALERT_WEBHOOK_SECRET_FILE names an empty file")
    return str(value)
