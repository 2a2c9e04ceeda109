"""axe-core in a page of a test: what it finds that shuts people out."""

import json
from pathlib import Path
from typing import Any, Final

from tests.docs.pages import ROOT

SERIOUS: Final = {"serious", "critical"}
_VENDOR: Final = ROOT / "tests/vendor"


def violations(page: Any, within: str = "html", without: tuple[str, ...] = ()) -> list[str]:
    """Return the serious and critical violations of the page as it stands, one line each.

    `within` and `without` are selectors: a theme's own frame, or a widget of Django's, is not ours to repair.
    """
    # As the debugger's own code, not as an element: the page's policy allows no foreign script.
    page.evaluate(_script().read_text(encoding="utf-8"))
    context = {"include": [within], "exclude": list(without)}
    found = page.evaluate(
        "context => axe.run(context, {resultTypes: ['violations'], preload: false})", context
    )["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {' '.join(node['target'][0].split())} – {node['failureSummary']}"
        for rule in found
        if rule["impact"] in SERIOUS
        for node in rule["nodes"]
    ]


def _script() -> Path:
    library = next(
        one
        for one in json.loads((_VENDOR / "vendor.json").read_text(encoding="utf-8"))
        if one["name"] == "axe-core"
    )
    return _VENDOR / library["folder"] / "axe.min.js"
