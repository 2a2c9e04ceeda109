"""The browser of the tests: the system's Chromium, which asks no other host by itself."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

QUIET = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
QUIET += ["--no-first-run", "--disable-quic"]


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """Start a browser, with these arguments too; it ends with the block."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=found, args=[*QUIET, *sandbox, *arguments])
        yield made
        made.close()
