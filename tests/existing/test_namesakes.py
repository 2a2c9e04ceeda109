"""A panel that has our names already is told so in a sentence, not by a crash."""

from __future__ import annotations

import pytest

from tests.existing.panel import EDITS, Panel, titled

pytestmark = pytest.mark.e2e

MODEL = """
from django.db import models
class Rack(models.Model):
    hostname = models.CharField(max_length=50)
"""
CONFIG = """
from django.apps import AppConfig
class OwnConfig(AppConfig):
    name = "inventory.%s"
"""


def own_app(panel: Panel, folder: str) -> None:
    """Give the panel an app of its own in this folder."""
    panel.write(f"{folder}/__init__.py", "")
    panel.write(f"{folder}/models.py", MODEL)


def last_line(said: str) -> str:
    return said.strip().splitlines()[-3]


@pytest.mark.parametrize("label", ["servers", "tunnel"])
@pytest.mark.parametrize("first", [True, False], ids=["before ours", "after ours"])
def test_an_app_with_our_label_is_named_with_what_to_do(panel: Panel, label: str, first: bool):
    panel.edit(*EDITS)
    panel.write("inventory/__init__.py", "")
    own_app(panel, f"inventory/{label}")
    panel.write(f"inventory/{label}/apps.py", CONFIG % label)
    own = f'"inventory.{label}"'
    panel.settings(
        f"INSTALLED_APPS = [{own}, *INSTALLED_APPS]\n" if first else f"INSTALLED_APPS += [{own}]\n"
    )
    said = last_line(panel.check())
    assert f"the app `inventory.{label}` of this panel has the label `{label}`" in said
    assert f'label = "inventory_{label}"' in said


def test_an_app_with_another_label_beside_ours_is_fine(panel: Panel):
    panel.edit(*EDITS)
    panel.write("inventory/__init__.py", "")
    own_app(panel, "inventory/servers")
    panel.write("inventory/servers/apps.py", titled("relabelled app")[0])
    panel.settings('INSTALLED_APPS += ["inventory.servers"]\n')
    panel.manage("makemigrations", "inventory_servers", check=True)
    assert "no issues" in panel.check()
    assert "servers.0001_initial... OK" in panel.manage("migrate", check=True).stdout


@pytest.mark.parametrize("name", ["servers", "tunnel"])
def test_a_package_of_our_name_at_the_top_of_the_project_is_named(panel: Panel, name: str):
    panel.edit(*(edit for edit in EDITS if edit != "layers"))  # its import would say it in Python's words
    own_app(panel, name)
    said = last_line(panel.check())
    assert f"`import {name}` finds {panel.folder / name}, which is not Yumna Tunnel's package" in said


@pytest.mark.parametrize(
    ("table", "id_"),
    [("servers", "servers.E001"), ("servers_tag", "servers.E001"), ("tunnel_session", "tunnel.E024")],
)
def test_a_table_of_our_name_stops_migrate_before_it_changes_anything(panel: Panel, table: str, id_: str):
    panel.edit(*EDITS)
    own_app(panel, "racks")
    panel.write("racks/models.py", f'    class Meta:\n        db_table = "{table}"\n', append=True)
    panel.replace("mysite/settings.py", '"servers", "tunnel"]', '"racks"]')
    panel.replace("mysite/urls.py", '    path("", include("tunnel.urls")),\n', "")
    panel.manage("makemigrations", "racks", check=True)
    panel.manage("migrate", "racks", check=True)
    panel.settings('INSTALLED_APPS += ["servers", "tunnel"]\n')
    panel.edit("urls")
    done = panel.manage("migrate")
    assert done.returncode != 0
    assert id_ in done.stdout
    assert f"has a table '{table}' that is not Yumna Tunnel's" in done.stdout
    assert "Traceback" not in done.stdout
    tables = "from django.db import connection; print(connection.introspection.table_names())"
    assert "servers_commandrecord" not in panel.python(tables)


def test_migrations_recorded_under_our_label_stop_migrate(panel: Panel):
    panel.edit(*EDITS)
    panel.manage("migrate", "auth", check=True)
    record = "from django.db import connection as c; from django.db.migrations.recorder import MigrationRecorder as M; "
    panel.python(record + 'M(c).record_applied("servers", "0001_initial")')
    done = panel.manage("migrate")
    assert done.returncode != 0
    assert "servers.E002" in done.stdout
    assert "UPDATE django_migrations SET app = 'its_new_label' WHERE app = 'servers'" in done.stdout


def test_an_address_that_the_panel_takes_first_is_told(panel: Panel):
    panel.edit(*EDITS)
    ours, theirs = '    path("", include("tunnel.urls")),\n', '    path("admin/", admin.site.urls),\n'
    panel.replace("mysite/urls.py", ours + theirs, theirs + ours)
    said = panel.check()
    assert "tunnel.E021" in said
    assert "the address /admin/tunnel/nodes/ of the tunnel is taken by `admin:" in said
    assert 'put first path("", include("tunnel.urls"))' in said
