"""Command line of the demo: python -m yumna_panel.demo [--host NAME]."""

import argparse
import sys

from django.core.exceptions import ImproperlyConfigured

from yumna_panel.demo.run import AlreadyRunning, run
from yumna_panel.demo.site import BadHost, NoFreePort


def main() -> int:
    """Run the demo; what goes wrong before it runs is one sentence."""
    parser = argparse.ArgumentParser(prog="make run")
    parser.add_argument("--host", default="", help="serve HTTPS to other machines under this name or address")
    try:
        return run(parser.parse_args().host)
    except (AlreadyRunning, NoFreePort) as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    except (BadHost, ImproperlyConfigured) as exc:
        sys.stderr.write(f"{exc}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
