"""Measures what the panel promises, on this machine: `make bench`. One job a file, nothing of the panel imports it."""
