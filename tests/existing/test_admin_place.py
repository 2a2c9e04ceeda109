"""The tunnel's pages live below the admin site, wherever a panel mounts it."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from django.conf import settings
from django.conf.urls.i18n import i18n_patterns
from django.contrib import admin
from django.test import override_settings
from django.urls import (
    NoReverseMatch,
    Resolver404,
    get_script_prefix,
    include,
    path,
    re_path,
    resolve,
    reverse,
    set_script_prefix,
)
from django.utils import translation

from tunnel import admin_place, page_addresses

OTHER_SITE = admin.AdminSite("other")

PLACES = {
    "the usual place": ([path("admin/", admin.site.urls)], "/admin/tunnel/nodes/"),
    "another name": ([path("backoffice/", admin.site.urls)], "/backoffice/tunnel/nodes/"),
    "a deep place": ([path("a.b/", include([path("c/", admin.site.urls)]))], "/a.b/c/tunnel/nodes/"),
    "a regular expression": ([re_path(r"^manage/", admin.site.urls)], "/manage/tunnel/nodes/"),
    "the root": ([path("", admin.site.urls)], "/tunnel/nodes/"),
    "behind another site": (
        [path("first/", OTHER_SITE.urls), path("admin/", admin.site.urls)],
        "/admin/tunnel/nodes/",
    ),
}


@pytest.fixture
def mounted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a context manager under which these patterns, and ours before them, are the URLs."""

    def mount(patterns: list[Any]) -> Any:
        module = ModuleType(f"urls_{request.node.name}")
        module.urlpatterns = [path("", include("tunnel.urls")), *patterns]  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return override_settings(ROOT_URLCONF=module.__name__)

    return mount


@pytest.mark.parametrize(("patterns", "address"), PLACES.values(), ids=PLACES)
def test_the_pages_are_found_below_the_admin_site(mounted: Any, patterns: list[Any], address: str):
    with mounted(patterns):
        assert reverse("tunnel:nodes") == address
        assert resolve(address).view_name == "tunnel:nodes"


def test_the_pages_follow_the_language_of_the_address(mounted: Any):
    with mounted([*i18n_patterns(path("admin/", admin.site.urls))]):
        for language in ("en", "id", "en"):
            with translation.override(language):
                address = f"/{language}/admin/tunnel/nodes/"
                assert reverse("tunnel:nodes") == address
                assert resolve(address).view_name == "tunnel:nodes"


@pytest.mark.parametrize(
    "patterns",
    [[], [path("admin/", OTHER_SITE.urls)], [path("<slug:tenant>/admin/", admin.site.urls)]],
    ids=["nowhere", "only another site", "a place with a parameter"],
)
def test_without_a_place_there_are_no_pages(mounted: Any, patterns: list[Any]):
    with mounted(patterns):
        assert admin_place.prefix() is None
        with pytest.raises(NoReverseMatch):
            reverse("tunnel:nodes")
        with pytest.raises(Resolver404):
            resolve("/tunnel/nodes/")


def test_no_address_counts_as_taken_below_a_script_prefix(mounted: Any):
    with mounted([path("admin/", admin.site.urls)]):
        before = get_script_prefix()
        set_script_prefix("/panel/")
        try:
            assert reverse("tunnel:nodes") == "/panel/admin/tunnel/nodes/"
            assert page_addresses.shadowed() == []
        finally:
            set_script_prefix(before)


def test_a_catch_all_before_ours_takes_the_addresses(mounted: Any, monkeypatch: pytest.MonkeyPatch):
    with mounted([]):
        root = sys.modules[settings.ROOT_URLCONF]
        catch_all = re_path("^", lambda request: None, name="everything")
        monkeypatch.setattr(
            root, "urlpatterns", [catch_all, *root.urlpatterns, path("admin/", admin.site.urls)]
        )
        assert page_addresses.shadowed()[0] == ("/admin/tunnel/nodes/", "`everything`")


@pytest.mark.django_db
def test_the_page_works_at_another_place(mounted: Any, admin_client: Any):
    with mounted([path("backoffice/", admin.site.urls)]):
        page = admin_client.get("/backoffice/tunnel/nodes/")
        assert page.status_code == 200
        assert "/backoffice/servers/server/add/" in page.content.decode()
        assert '"/admin/' not in page.content.decode()
        assert admin_client.get("/admin/tunnel/nodes/").status_code == 404
