"""Daphne as an app without its server: most processes of a panel serve nothing, or with something else."""

from django.apps import AppConfig


class DaphneApp(AppConfig):
    """The app whose `runserver` speaks WebSocket.

    Daphne's own configuration imports Twisted into every process, a third of what a management command takes to start,
    in case another package sets up Twisted's reactor first. None of ours does.
    """

    name = "daphne"
    verbose_name = "Daphne"
