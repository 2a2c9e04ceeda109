"""The interface against its own description: complete, valid, and true under whatever somebody sends."""

import io
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from rest_framework.settings import api_settings

from tests.api.conftest import V1, Program, problem
from tunnel.api import codes, urls

pytestmark = pytest.mark.django_db


def test_the_document_is_valid_and_without_a_warning():
    text = io.StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", "--format", "openapi-json", stdout=text)
    assert f"{V1}servers/" in text.getvalue()


def test_every_route_of_ours_is_described(admin: Program):
    paths = admin.get("schema/").json()["paths"]
    routes = {
        V1 + pattern.pattern._route.replace("<str:agent_id>", "{agent_id}").replace("<str:code>", "{code}")
        for pattern in urls.urlpatterns
        if pattern.name not in ("schema", "docs", "nothing")
    }
    routes = {route.replace("<uuid:pk>", "{id}") for route in routes}
    assert set(paths) == routes
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert operation["operationId"], (path, method)
            assert {"404", "405", "406"} <= set(operation["responses"]), (path, method)
            assert operation["description"], (path, method)


def test_the_document_and_its_page_are_for_people_with_a_login(admin: Program, root: Any):
    assert problem(Program().get("schema/")) == (401, "not_authenticated")
    assert Client().get(f"{V1}docs/")["Location"] == f"/admin/login/?next={V1}docs/"
    browser = Client()
    browser.force_login(root)
    page = browser.get(f"{V1}docs/").content.decode()
    assert f'data-schema="{V1}schema/"' in page
    assert "://" not in page


def test_every_code_is_explained_to_anybody():
    for code, meaning in codes.MEANINGS.items():
        body = Program().get(f"problems/{code}/").json()
        assert body == {
            "code": code,
            "status": meaning.status,
            "title": meaning.title,
            "advice": meaning.advice,
        }
    assert problem(Program().get("problems/nonsense/")) == (404, "not_found")


# Whatever somebody sends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "expected"),
    [
        ("GET", "nonsense/", None, {}, (404, "not_found")),
        ("POST", "servers", {}, {}, (404, "not_found")),
        ("PUT", "servers/", {}, {}, (405, "method_not_allowed")),
        ("OPTIONS", "servers/", None, {}, (405, "method_not_allowed")),
        ("GET", "servers/web-1/suspend/", None, {}, (405, "method_not_allowed")),
        ("GET", "servers/", None, {"Accept": "text/html"}, (406, "not_acceptable")),
        (
            "POST",
            "servers/",
            "name=x",
            {"content_type": "application/x-www-form-urlencoded"},
            (415, "unsupported_media_type"),
        ),
        ("POST", "servers/", b"{", {}, (400, "malformed")),
        ("POST", "servers/", b"\xff\xfe", {}, (400, "malformed")),
        ("POST", "servers/", b"[]", {}, (400, "malformed")),
        ("POST", "servers/", b"null", {}, (400, "malformed")),
        ("POST", "servers/", b'{"name": NaN}', {}, (400, "malformed")),
        ("POST", "servers/", b'{"name": 1e999}', {}, (400, "invalid")),
        ("POST", "servers/", b'{"name": ' + b"9" * 5000 + b"}", {}, (400, "malformed")),
        ("POST", "servers/", b'{"name": "\\ud800"}', {}, (400, "invalid")),
        ("POST", "servers/", b'{"\\udfff": 1}', {}, (400, "invalid")),
        ("POST", "servers/", b"[" * 100_000, {}, (400, "malformed")),
        ("POST", "servers/", b'{"a":' * 50 + b"1" + b"}" * 50, {}, (400, "malformed")),
        ("POST", "servers/", b'{"name": "' + b"x" * 262_144 + b'"}', {}, (413, "body_too_large")),
        ("POST", "servers/web-1/suspend/", {"reason": "x"}, {}, (404, "not_found")),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_whatever_is_sent_is_answered_with_a_problem(
    admin: Program, method: str, path: str, body: Any, headers: dict[str, str], expected: tuple[int, str]
):
    answer = admin(method, path, body, **headers)
    assert problem(answer) == expected
    if expected[0] in (400, 413):
        assert all("pointer" in one for one in answer.json()["errors"])


def test_the_host_panels_rest_framework_changes_nothing(
    admin: Program, monkeypatch: pytest.MonkeyPatch, settings: Any
):
    settings.REST_FRAMEWORK = {
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.TemplateHTMLRenderer"],
        "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.FormParser"],
        "DEFAULT_VERSIONING_CLASS": "rest_framework.versioning.AcceptHeaderVersioning",
        "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.LimitOffsetPagination",
        "DEFAULT_FILTER_BACKENDS": ["rest_framework.filters.SearchFilter"],
        "EXCEPTION_HANDLER": "tests.nowhere.handler",
        "DATETIME_FORMAT": "%d/%m/%Y",
        "UNICODE_JSON": True,
        "NON_FIELD_ERRORS_KEY": "other",
        "PAGE_SIZE": 3,
    }
    assert api_settings.DATETIME_FORMAT == "%d/%m/%Y"
    assert problem(Program().get("servers/")) == (401, "not_authenticated")
    made = admin.post("servers/", {"name": "ä", "agent_id": "web-1"})
    assert made.status_code == 201
    assert made.content.isascii()
    assert admin.get("servers/web-1/").json()["created_at"].endswith("Z")
    assert admin.get("servers/?search=ä").json()["count"] == 1
    response = admin.post("servers/", {"name": "x\0"})
    assert response.json()["errors"][0]["pointer"] == "/name"
    assert problem(admin.post("servers/", b'{"name": "\\ud800"}')) == (400, "invalid")
