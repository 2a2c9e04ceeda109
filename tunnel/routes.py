"""Which worker holds an agent's socket: a cache over the session rows."""

from collections import OrderedDict
from dataclasses import dataclass

from tunnel import presence

MAX_ROUTES = 20_000  # agents remembered by one process
JOINING = "joining-"  # what the inbox of a worker begins with while Redis is away and it has none


@dataclass(frozen=True)
class Route:
    """Where an agent's session lives."""

    inbox: str
    session: str

    @property
    def joined(self) -> bool:
        """Tell whether anybody reads what is sent there."""
        return not self.inbox.startswith(JOINING)


class RouteCache:
    """Remembers routes until somebody says that they changed. Being wrong is harmless: the holder says so."""

    def __init__(self) -> None:
        self._routes: OrderedDict[str, Route] = OrderedDict()
        self.dropped = 0  # times that something was forgotten: what was read before is not to be put after

    def get(self, agent_id: str) -> Route | None:
        """Return the remembered route."""
        return self._routes.get(agent_id)

    def put(self, agent_id: str, route: Route) -> None:
        """Remember a route, forgetting the one that was put first when there are too many."""
        self._routes[agent_id] = route
        self._routes.move_to_end(agent_id)
        if len(self._routes) > MAX_ROUTES:
            self._routes.popitem(last=False)

    def drop(self, agent_id: str) -> None:
        """Forget an agent's route."""
        self._routes.pop(agent_id, None)
        self.dropped += 1

    def clear(self) -> None:
        """Forget every route: an announcement was lost."""
        self._routes.clear()
        self.dropped += 1


def read(agent_id: str) -> Route | None:
    """Read an agent's route from the database: its open session on a worker that lives."""
    row = (
        presence.live_sessions().filter(server__agent_id=agent_id).values_list("worker__inbox", "pk").first()
    )
    return None if row is None else Route(row[0], str(row[1]))
