"""Agents that a test starts in its own process, and certificates."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent_client.address import exact_address
from agent_client.agent import Agent
from agent_client.settings import Settings
from tests.agent.certificates import Authority

StartAgent = Callable[..., Agent]


@pytest.fixture
def start_agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[StartAgent]:
    """Start agents that dial at once and draw no lots; all are stopped after the test."""
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with ExitStack() as stack:

        def start(
            *urls: str, jitter: Callable[[float, float], float] = lambda low, _high: low, **members
        ) -> Agent:
            settings = Settings(
                connection_mode="tunnel",
                masters=tuple(exact_address(url) for url in urls),
                agent_id="agent-home-server",
                secret="rahasiadapur",
                allow_insecure=True,
                **members,
            )
            agent = Agent(settings, jitter=jitter)
            agent.start()
            stack.callback(agent.stop)
            return agent

        yield start


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(Path(tmp_path_factory.mktemp("certificates")))
