"""What to do about a fault on the way to the panel, in the words of `yumna-agent doctor`."""

import ssl
from datetime import datetime, timezone

from agent_client.address import Address
from agent_client.upgrade import WrongAnswer

NOT_VALID_YET, EXPIRED = 9, 10  # of OpenSSL's verify codes, x509_vfy.h
UNKNOWN_AUTHORITY = frozenset({18, 19, 20})
OTHER_NAME = frozenset({62, 64})

CLOCK = (
    "set it: timedatectl set-ntp true. Certificates are judged, and logs written, by this node's clock; commands "
    "go by the panel's and run all the same"
)
UPGRADE_FIX = (
    "whatever stands before the panel must pass WebSockets on; nginx: proxy_http_version 1.1; "
    'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"'
)
HANDSHAKE_FIX = "see the panel's log; on the panel's host: manage.py tunnel doctor"

_LOST = "the upgrade to a WebSocket was lost on the way: this is a plain HTTP answer"
_ANSWERS = {
    200: (_LOST, UPGRADE_FIX),
    400: (_LOST, UPGRADE_FIX),
    404: (
        "nothing answers at this path, or the upgrade to a WebSocket was lost on the way",
        f"check the path of MASTER_URL; {UPGRADE_FIX}",
    ),
    405: (_LOST, UPGRADE_FIX),
    426: (_LOST, UPGRADE_FIX),
    500: ("the panel failed", HANDSHAKE_FIX),
    502: ("the proxy before the panel does not reach it", "start the panel, or correct the proxy's upstream"),
    503: (
        "the panel cannot judge now: it starts or stops, its database is away, or the proxy does not reach it",
        HANDSHAKE_FIX,
    ),
    504: ("the proxy before the panel gave up waiting for it", HANDSHAKE_FIX),
}


def of_tls(error: ssl.SSLError, address: Address, now: float) -> str:
    """Return what to do about a failed TLS handshake; `now` is unix time on the node's clock."""
    code = error.verify_code if isinstance(error, ssl.SSLCertVerificationError) else None
    if code in (NOT_VALID_YET, EXPIRED):
        here = datetime.fromtimestamp(now, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        return (
            f"this node's clock says {here}: when that is wrong, set it (timedatectl set-ntp true), "
            "else renew the panel's certificate"
        )
    if code in UNKNOWN_AUTHORITY:
        return (
            "MASTER_CA_FILE=/path/to/the/authority.pem, or give the panel a certificate of a known authority"
        )
    if code in OTHER_NAME:
        return (
            f"write the certificate's name into MASTER_URL, or give the panel one for {address.host}; "
            "when neither is wrong, somebody else answers there"
        )
    return f"check that port {address.port} is the panel's https:// port, and that it offers TLS 1.2 or newer"


def of_answer(answer: WrongAnswer, agent_id: str) -> "tuple[str, str]":
    """Return what an HTTP answer to the handshake means, and what to do."""
    status = answer.status
    if status is None:
        return str(answer), UPGRADE_FIX
    if answer.refused:
        return (
            f"the panel refuses this agent ({status}): wrong secret, suspended, unknown, or not of type tunnel; "
            "it never says which to who dials",
            f"compare AGENT_ID and AGENT_SECRET with the panel; on its host `manage.py tunnel doctor {agent_id}` "
            "and its log say which",
        )
    if 300 <= status < 400:
        return (
            f"a redirect ({status}), which is never followed",
            "put the final address, with wss:// or https://, into MASTER_URL",
        )
    detail, fix = _ANSWERS.get(status, ("something else than the panel answers", UPGRADE_FIX))
    return f"{detail} ({status})", fix
