"""The agent put together: settings to services, pool, sampler and link."""

from typing import Optional

from agent_client import __version__
from agent_client.backoff import Jitter
from agent_client.commands import Table, add_installed
from agent_client.figures import Sampler, best_source
from agent_client.link import Link
from agent_client.machine import host_facts, machine_id
from agent_client.pool import Pool
from agent_client.protocol.agent import AgentFacts
from agent_client.services import agent as agent_service
from agent_client.services import system as system_service
from agent_client.services.shell import ShellService
from agent_client.settings import Settings
from agent_client.watch import Watch

STOP_POOL = 5.0  # seconds for running commands to end: some tenths until SIGKILL, the rest for the kernel
STOP_LINK = 3.0  # seconds: one for the closing handshake
STOP_WATCH = 3.0  # seconds: one from hang-up to kill, the rest for the kernel
STOP_SAMPLER = 1.0  # seconds


class Agent:
    """Runs until `stop`."""

    def __init__(self, settings: Settings, *, jitter: Optional[Jitter] = None) -> None:
        self.sampler = Sampler(best_source())
        self.watch = Watch()
        self.shells = ShellService(settings, self.watch)
        self.table = Table([system_service.service(self.sampler, self.watch), self.shells.service()])
        self.table.add(agent_service.service(settings, lambda: self.table.services))
        add_installed(self.table)
        self.pool = Pool()
        self.link = Link(settings, self._facts(), self.table, self.pool, self.sampler, jitter=jitter)

    def start(self) -> None:
        """Start all threads."""
        self.sampler.start()
        self.pool.start()
        self.link.start()

    def trouble(self) -> Optional[str]:
        """Say what of the agent does not work any more although nobody stopped it, in a few words."""
        if trouble := self.link.trouble():
            return trouble
        if not self.sampler.alive:
            return "the thread for figures ended"
        if not self.watch.alive:
            return "the thread for streams ended"
        return self.pool.trouble()

    def stop(self) -> None:
        """Say good-bye to the master, kill what commands started, end all shells and threads."""
        self.link.stop(STOP_LINK)
        self.shells.stop()
        self.watch.stop(STOP_WATCH)
        self.pool.stop(STOP_POOL)
        self.sampler.stop(STOP_SAMPLER)

    def _facts(self) -> AgentFacts:
        return AgentFacts(
            version=__version__,
            capabilities=self.table.services,
            policy={"mode": "full"},
            machine_id=machine_id(),
            host=host_facts(),
        )
