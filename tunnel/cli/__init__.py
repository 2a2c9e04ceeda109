"""`manage.py tunnel COMMAND`: each command in a module of its own, listed in `tunnel.cli.commands`."""
