"""`schema/` and `docs/`: the interface described by itself, and a page to look at it, from this host alone."""

from functools import lru_cache
from typing import Any

from django.apps import apps
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound
from django.template.response import TemplateResponse
from django.templatetags.static import static
from django.urls import NoReverseMatch, include, path, reverse
from django.utils import translation
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import patched_settings
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from tunnel.api.openapi import SETTINGS
from tunnel.api.views import ApiView

SIDECAR = "drf_spectacular_sidecar"


class Schema(ApiView):
    """The OpenAPI document."""

    @extend_schema(exclude=True)
    def get(self, request: Any) -> Response:  # noqa: ARG002 - DRF's signature
        """Answer with the document, as JSON."""
        return Response(document(reverse("tunnel:api:schema").removesuffix("schema/")))


@lru_cache(maxsize=4)  # a panel has one prefix; SCRIPT_NAME may differ by request
def document(prefix: str) -> dict[str, Any]:
    """Return the OpenAPI document of the interface under `prefix`; the same for everybody."""
    patterns = [path(prefix.lstrip("/"), include("tunnel.api.urls"))]
    with patched_settings(SETTINGS), translation.override("en"):
        made: Any = SchemaGenerator
        return dict(made(patterns=patterns).get_schema(request=None, public=True))


def _login() -> str | None:
    """Return the login of the admin; None, which means LOGIN_URL, where the panel mounts none."""
    try:
        return reverse("admin:login")
    except NoReverseMatch:
        return None


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """Show Swagger UI to who is logged in."""
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path(), _login())
    if not apps.is_installed(SIDECAR):
        return HttpResponseNotFound(f"add {SIDECAR!r} to INSTALLED_APPS to see this page\n", "text/plain")
    files = {
        name: static(f"{SIDECAR}/swagger-ui-dist/{name}")
        for name in ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
    }
    context = {
        "css": files["swagger-ui.css"],
        "bundle": files["swagger-ui-bundle.js"],
        "icon": files["favicon-32x32.png"],
        "schema": reverse("tunnel:api:schema"),
    }
    response = TemplateResponse(request, "tunnel/api_docs.html", context)
    # Swagger UI's arrows and locks are data: pictures. What django-csp reads; any other policy has to allow them itself.
    response._csp_update = {"img-src": ["'self'", "data:"]}  # type: ignore[attr-defined]
    return response
