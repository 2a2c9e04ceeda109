"""The pages of REST in a real browser: Swagger UI under the strict policy, and a token made and used."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.bench_rest import Caller
from tests.e2e.cluster import Cluster
from tests.e2e.test_browser_nodes import cluster, opened  # noqa: F401 - a fixture

pytestmark = [pytest.mark.e2e, pytest.mark.browser]
SHOTS = os.environ.get("REST_SHOTS", "")


def shot(page: Page, name: str) -> None:
    """Keep a picture for whoever looks at the pages."""
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"), full_page=True)


@pytest.fixture(params=["desk", "phone"])
def page(request, browser, cluster) -> Iterator[Page]:  # noqa: F811
    options = {"viewport": {"width": 390, "height": 844}} if request.param == "phone" else {}
    with opened(
        browser, cluster, **options, color_scheme="dark" if request.param == "phone" else "light"
    ) as made:
        yield made


def test_the_interface_is_shown_and_tried_from_this_host_alone(page: Page, request):
    page.goto(page.url.split("/admin/")[0] + "/api/tunnel/v1/docs/")
    expect(page.get_by_text("Manage servers that dial in")).to_be_visible(timeout=30_000)
    page.locator("#operations-me-get_me .opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table").get_by_text('"user"').first).to_be_visible(timeout=30_000)
    shot(page, f"docs-{request.node.name}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_token_is_made_shown_once_and_opens_the_interface(page: Page, request, cluster: Cluster):  # noqa: F811
    page.goto(page.url.split("/admin/")[0] + "/admin/servers/apitoken/add/")
    page.fill("#id_name", "laptop")
    page.get_by_label("Run commands").check()
    shot(page, f"add-{request.node.name}")
    page.locator("[name=_save]").click()
    page.wait_for_load_state("load")  # the width is judged with its style
    token = re.search(r"yta_[A-Za-z0-9_-]{43}", page.inner_text("#content"))[0]
    shot(page, f"token-{request.node.name}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    status, body = Caller(cluster.ports["a"], token)("GET", "me/")
    assert (status, body["scopes"]) == (200, ["view", "run_command"])
    page.goto(page.url.replace("/add/", "/"))
    assert token not in page.content()
    shot(page, f"list-{request.node.name}")
