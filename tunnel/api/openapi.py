"""Settings of drf-spectacular for our interface; imported by the site's settings, so it needs no Django."""

from typing import Any, Final

DESCRIPTION: Final = """Manage servers that dial in, and run commands on them.

Log in with `Authorization: Token yta_…`; tokens are made in the admin. Errors are `application/problem+json` (RFC 9457)
with a `code`; whatever a request lacks, it is never answered with less than that. Times are RFC 3339 in UTC."""

SETTINGS: Final[dict[str, Any]] = {
    "TITLE": "Yumna Tunnel",
    "DESCRIPTION": DESCRIPTION,
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "tunnel.api.openapi.close_bodies",
    ],
    "ENUM_NAME_OVERRIDES": {
        "ServerStatus": "servers.models.Server.Status",
        "TunnelState": "tunnel.presence.State",
        "CommandState": "servers.models.CommandRecord.State",
        "CloseReason": "tunnel.models.CloseReason",
    },
}


def close_bodies(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Say of every body that it takes no other members: drf-spectacular's hook."""
    for name, schema in result["components"]["schemas"].items():
        if name.endswith("Request"):
            schema["additionalProperties"] = False
    return result
