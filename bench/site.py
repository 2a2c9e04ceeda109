"""The site's settings in production, with one more address through which a worker times its own commands."""

from yumna_panel.settings import *  # noqa: F403

ROOT_URLCONF = "bench.urls"
