"""Alerts by mail, through whatever backend the panel sends its mail with."""

from email.utils import parseaddr
from typing import Any, Final

from django.conf import settings as django_settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage, get_connection
from django.core.validators import validate_email

from tunnel.alert_news import News
from tunnel.conf import settings

TIMEOUT: Final = 10.0  # seconds a mail server may take for one answer, unless EMAIL_TIMEOUT says otherwise
MAX_RECIPIENTS: Final = 20  # who needs more uses a list's address


def problems() -> list[str]:
    """Return what is wrong with TUNNEL_ALERT_EMAILS."""
    found = [
        f"TUNNEL_ALERT_EMAILS holds {address!r}, which is no mail address"
        for address in settings.ALERT_EMAILS
        if not _is_address(address)
    ]
    if len(settings.ALERT_EMAILS) > MAX_RECIPIENTS:
        found.append(f"TUNNEL_ALERT_EMAILS holds more than {MAX_RECIPIENTS} addresses, use a mailing list's")
    return found


def send(news: News) -> None:
    """Send one mail to all of TUNNEL_ALERT_EMAILS.

    Raises:
        Exception: whatever the backend raises.
    """
    connection: Any = get_connection()
    if getattr(connection, "timeout", TIMEOUT) is None:
        connection.timeout = TIMEOUT  # Django's SMTP waits for ever by default
    EmailMessage(
        news.subject(),
        news.text(),
        to=settings.ALERT_EMAILS,
        connection=connection,
        headers={"Message-ID": f"<{news.id}@{_domain()}>", "Auto-Submitted": "auto-generated"},
    ).send()


def _domain() -> str:
    return parseaddr(django_settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"


def _is_address(text: Any) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return True
