"""How tunnel servers are reached: agent sockets, the switchboard between workers, sessions, pages."""
