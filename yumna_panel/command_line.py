"""Django's command line, which keeps the collector of cycles away from what it loads."""

import gc

from django.core.management import BaseCommand, ManagementUtility


class CommandLine(ManagementUtility):
    """`manage.py`, whose `main` has switched the collector off."""

    def fetch_command(self, subcommand: str) -> BaseCommand:
        """Return the command; what is loaded by now stays, and is not looked at again."""
        command = super().fetch_command(subcommand)
        gc.freeze()
        gc.enable()
        return command
