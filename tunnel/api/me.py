"""`me/`: who the caller is and what they may do."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from servers import tokens
from servers.rights import PERMISSIONS
from tunnel.api.authentication import TokenLogin
from tunnel.api.documented import PROBLEMS
from tunnel.api.fields import Moment
from tunnel.api.views import ApiView


class MeFields(serializers.Serializer):
    """A login."""

    user = serializers.CharField()
    token = serializers.CharField(
        allow_null=True, help_text="The token's name; null for a browser's session."
    )
    scopes = serializers.ListField(
        child=serializers.ChoiceField(PERMISSIONS),
        help_text="What the caller may do, on some servers at least.",
    )
    groups = serializers.ListField(
        child=serializers.CharField(),
        allow_null=True,
        help_text="The server groups a token is limited to; null for no limit.",
    )
    expires_at = Moment(allow_null=True)


class Me(ApiView):
    """The caller."""

    @extend_schema(operation_id="get_me", responses={200: MeFields, **PROBLEMS})
    def get(self, request: Any) -> Response:
        """Tell who the caller is. Every login may ask this."""
        offered, login = tokens.offered(request.user), request.auth
        facts: dict[str, Any] = {
            "user": request.user.get_username(),
            "token": None,
            "scopes": offered,
            "groups": None,
            "expires_at": None,
        }
        if isinstance(login, TokenLogin):
            token = login.token
            facts |= {
                "token": token.name,
                "scopes": [word for word in offered if word in login.actor.permissions],
                "groups": None if token.all_servers else sorted(token.groups.values_list("name", flat=True)),
                "expires_at": token.expires_at,
            }
        return Response(MeFields(facts).data)
