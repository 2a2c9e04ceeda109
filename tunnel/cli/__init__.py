"""The tunnels from a command line, on the panel's host or from anywhere: each command in a module of its own."""
