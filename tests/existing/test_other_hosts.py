"""What a panel may do differently: themes, users, languages, places, no admin at all."""

from __future__ import annotations

import re

import pytest

from tests.existing.panel import EDITS, Panel
from tests.existing.test_existing_panel import PAGES, connect

pytestmark = pytest.mark.e2e

OWN_USER = """
from django.contrib.auth.models import AbstractUser
class Person(AbstractUser):
    shoe_size = __import__("django.db.models", fromlist=["models"]).IntegerField(default=42)
"""
OWN_SITE = """
from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
class BackofficeSite(AdminSite):
    site_header = "Backoffice"
    def __init__(self):
        super().__init__("backoffice")
class BackofficeConfig(AdminConfig):
    default_site = "people.backoffice.BackofficeSite"
"""
TENANTS = """
class TenantMiddleware:
    def __init__(self, get_response):
        self.get_response = get_response
    def __call__(self, request):
        request.tenant = "acme"
        return self.get_response(request)
"""
OTHER = """
INSTALLED_APPS = ["people", *INSTALLED_APPS]
AUTH_USER_MODEL = "people.Person"
LANGUAGE_CODE = "id"
TIME_ZONE = "Asia/Jakarta"
MIDDLEWARE = ["people.tenants.TenantMiddleware", *MIDDLEWARE]
INSTALLED_APPS[INSTALLED_APPS.index("django.contrib.admin")] = "people.backoffice.BackofficeConfig"
REST_FRAMEWORK = {"DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"]}
DATABASES["reports"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "unused.sqlite3"}
"""


def test_other_users_site_place_language_and_middleware_are_fine(panel: Panel):
    panel.edit(*EDITS).start_redis()
    panel.write("people/__init__.py", "")
    panel.write("people/models.py", OWN_USER)
    panel.write("people/backoffice.py", OWN_SITE)
    panel.write("people/tenants.py", TENANTS)
    panel.settings(OTHER)
    panel.replace("mysite/urls.py", '"admin/"', '"backoffice/"')
    panel.manage("makemigrations", "people", check=True)
    assert "no issues" in panel.check()
    panel.manage("migrate", check=True)
    answers = panel.looks(*(f"/backoffice/{path}" for path in PAGES), "/admin/tunnel/nodes/")
    assert [status for status, _ in answers] == [200] * len(PAGES) + [404]
    page = answers[0][1]
    assert 'lang="id"' in page
    assert "tunnel aktif" in page.casefold() or "Tambah" in page
    assert not re.search(r'"/admin/', page)
    assert "Backoffice" in page
    anonymous = "from django.test import Client; print(Client(HTTP_HOST='localhost').get('%s').status_code)"
    for path in ("/api/tunnel/v1/servers/", "/api/tunnel/v1/me/", "/api/tunnel/v1/commands/"):
        assert panel.python(anonymous % path).splitlines()[-1] == "401"  # whatever REST_FRAMEWORK lets in


def test_a_panel_without_an_admin_has_agents_and_commands_but_no_pages(panel: Panel):
    panel.edit(*EDITS)
    panel.settings('INSTALLED_APPS.remove("django.contrib.admin")\n')
    panel.replace("mysite/urls.py", '    path("admin/", admin.site.urls),\n', "")
    assert "no issues" in panel.check()
    panel.start_redis()
    panel.manage("migrate", check=True)
    panel.settings(f'TUNNEL_PUBLIC_URL = "http://127.0.0.1:{panel.port}"\n')
    panel.start_uvicorn()
    connect(panel)
    assert panel.once("tunnel run").strip() == "Linux"
    status, text = panel.looks("/admin/tunnel/nodes/")[0]
    assert (
        status == 404 or "The install worked successfully" in text
    )  # Django's own page where there are no pages


def test_wall_time_instead_of_moments_is_refused(panel: Panel):
    panel.edit(*EDITS).settings("USE_TZ = False\n")
    said = panel.check()
    assert "servers.E003" in said
    assert "HINT: USE_TZ = True" in said


THEMES = {
    "plain": "",
    "unfold": 'INSTALLED_APPS = ["unfold", *INSTALLED_APPS]\n',
    "jazzmin": 'INSTALLED_APPS = ["jazzmin", *INSTALLED_APPS]\n',
}


@pytest.mark.parametrize("theme", THEMES)
def test_every_page_renders_in_the_theme(panel: Panel, theme: str):
    panel.edit(*EDITS).settings(THEMES[theme])
    assert "no issues" in panel.check()
    panel.manage("migrate", check=True)
    answers = panel.looks(*(f"/admin/{path}" for path in PAGES))
    for path, (status, text) in zip(PAGES, answers, strict=True):
        assert status == 200, (path, text[:300])
    kind = (
        "from django.contrib.admin import site; from servers.models import *; "
        "print([any(c.__module__.startswith('unfold.') for c in type(site.get_model_admin(model)).__mro__)"
        " for model in (Server, ServerGroup, ApiToken)])"
    )
    assert str([theme == "unfold"] * 3) in panel.python(kind)
