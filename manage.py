#!/usr/bin/env python
"""Django's command line for this site."""

import gc
import os
import sys


def main() -> None:
    """Run the management command named in the arguments."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "yumna_panel.settings")
    gc.disable()  # until all is loaded
    from yumna_panel.command_line import CommandLine

    CommandLine(sys.argv).execute()


if __name__ == "__main__":
    main()
