"""What the OpenAPI page says of every operation: its problems, its parameters, how to log in."""

from typing import Any, Final

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from servers.models import AGENT_ID_LENGTHS
from tunnel.api.paging import MAX_PAGE_SIZE
from tunnel.api.paging import PAGE_SIZE as DEFAULT_PAGE_SIZE
from tunnel.api.problems import CONTENT_TYPE


class PlaceFields(serializers.Serializer):
    """One wrong place of a body, or one wrong query parameter."""

    pointer = serializers.CharField(help_text="A JSON pointer into the body.")
    code = serializers.CharField()
    detail = serializers.CharField()


class ProblemFields(serializers.Serializer):
    """RFC 9457."""

    type = serializers.CharField(help_text="Where this code is explained.")
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.CharField()
    instance = serializers.CharField()
    errors = PlaceFields(many=True, required=False)
    ran = serializers.ChoiceField(
        ["no", "yes", "unknown"], required=False, help_text="Whether a command ran."
    )
    id = serializers.UUIDField(required=False, help_text="The command's.")


def problems(*statuses: int) -> dict[Any, Any]:
    """Return the responses with these statuses for `extend_schema`."""
    return {(status, CONTENT_TYPE): OpenApiResponse(ProblemFields) for status in statuses}


PROBLEMS: Final = problems(400, 401, 403, 404, 405, 406, 409, 413, 415, 429, 500, 503)
COMMAND_PROBLEMS: Final = {**PROBLEMS, **problems(422, 502, 504)}
AGENT_ID: Final = OpenApiParameter(
    "agent_id",
    {
        "type": "string",
        "minLength": AGENT_ID_LENGTHS[0],
        "maxLength": AGENT_ID_LENGTHS[1],
        "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$",
    },
    OpenApiParameter.PATH,
    description="The server's agent ID.",
)
IDEMPOTENCY_KEY: Final = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    OpenApiParameter.HEADER,
    description="A fresh random word for each command. The same request again with the same key runs nothing: "
    "it gets the first one's reply, for a day.",
)
PAGE: Final = OpenApiParameter("page", {"type": "integer", "minimum": 1, "default": 1})
PAGE_SIZE: Final = OpenApiParameter(
    "page_size", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": DEFAULT_PAGE_SIZE}
)
CURSOR: Final = OpenApiParameter("cursor", OpenApiTypes.STR, description="From `next` of the page before.")


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How a token is shown."""

    target_class = "tunnel.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:  # noqa: ARG002 - spectacular's signature
        """Describe the header."""
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Token yta_…`, made in the admin under API tokens.",
        }


class BrowserScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How a browser is known."""

    target_class = "tunnel.api.authentication.BrowserAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:  # noqa: ARG002
        """Describe the cookie."""
        from django.conf import settings

        return {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": "The admin's login; methods other than GET need the header X-CSRFToken too.",
        }
