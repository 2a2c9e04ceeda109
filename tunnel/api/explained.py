"""`problems/<code>/`, where the `type` of a problem points to, and what answers to addresses that do not exist."""

from typing import Any, NoReturn

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.permissions import AllowAny
from rest_framework.response import Response

from tunnel.api import codes
from tunnel.api.documented import problems
from tunnel.api.views import ApiView


class MeaningFields(serializers.Serializer):
    """A code explained."""

    code = serializers.CharField()
    status = serializers.IntegerField()
    title = serializers.CharField()
    advice = serializers.CharField()


class Explained(ApiView):
    """One code. It tells nothing of this panel, so nobody needs to log in for it."""

    authentication_classes = []
    permission_classes = [AllowAny]
    throttle_classes = []

    @extend_schema(
        operation_id="explain_problem",
        auth=[],
        responses={200: MeaningFields, **problems(401, 404, 405, 406)},
    )
    def get(self, request: Any, code: str) -> Response:  # noqa: ARG002 - DRF's signature
        """Explain the code of a problem."""
        if code not in codes.MEANINGS:
            raise NotFound
        meaning = codes.MEANINGS[code]
        return Response(
            {"code": code, "status": meaning.status, "title": meaning.title, "advice": meaning.advice}
        )


class Nothing(ApiView):
    """Every other address below ours: 404 as a problem, 401 to strangers."""

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> NoReturn:
        """Say that there is nothing, to whatever method."""
        super().initial(request, *args, **kwargs)
        raise NotFound
