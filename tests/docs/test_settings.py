"""docs/settings.md names every setting of the code with its default, and no other."""

import re

from agent_client.settings import TABLE
from tests.docs.pages import ROOT, page, rows, words
from tunnel.conf import DEFAULTS, PREFIX

TEXT = page("docs/settings.md")
SITE, REST = TEXT.split("## The tunnel")
TUNNEL, AGENT = REST.split("## The agent")


def test_every_variable_the_site_reads_is_told():
    source = (ROOT / "yumna_panel" / "settings.py").read_text()
    read = set(re.findall(r'environment\.\w+\(\s*"([A-Z_]+)"', source)) | {"SECRET_KEY_FILE"}
    assert {words(name)[0] for name, _, _ in rows(SITE, "variable")} == read


def test_every_setting_of_the_tunnel_is_told_with_its_default_and_bounds():
    told = {
        words(name)[0]: (default, bounds, purpose)
        for name, default, bounds, purpose in rows(TUNNEL, "setting")
    }
    assert set(told) == {PREFIX + name for name in DEFAULTS}
    for name, setting in DEFAULTS.items():
        default, bounds, purpose = told[PREFIX + name]
        number = isinstance(setting.default, int | float) and not isinstance(setting.default, bool)
        assert default == (
            f"{setting.default:g}"
            if number
            else str(setting.default or "(none)")
            if setting.default is not False
            else "False"
        )
        assert bounds == ("" if setting.least is None else f"{setting.least:g} to {setting.most:g}")
        assert purpose == setting.purpose


def test_every_setting_of_the_agent_is_told():
    told = [(words(name)[0], default, meaning) for name, default, meaning in rows(AGENT, "variable")]
    assert told == [(setting.name, setting.default or "(none)", setting.meaning) for setting in TABLE]
