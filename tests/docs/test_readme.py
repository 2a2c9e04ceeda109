"""The README's first example runs as it stands, through a worker that does not hold the socket."""

import pytest

from tests.docs.pages import blocks, page
from tests.e2e.cluster import Cluster, until
from tests.e2e.real_agent import RealAgent


@pytest.mark.e2e
def test_the_first_example_prints_what_it_promises(tmp_path):
    cluster = Cluster(tmp_path, "uvicorn")
    try:
        cluster.start("a")
        agent = RealAgent(tmp_path / "agent", [cluster.url("a")], "this-machine", cluster.add("this-machine"))
        try:
            until(lambda: "tunnel open" in agent.log, 15, "the agent is in")
            printed = cluster.python(blocks(page("README.md"), "python")[0])
        finally:
            agent.stop()
    finally:
        cluster.stop()
    figures, answer = printed.splitlines()[-2:]
    assert figures.startswith("CPU ")
    assert figures.endswith("MiB of RAM in use")
    assert answer == "0 Linux"


def test_the_four_lines_are_those_of_the_agent(tmp_path):
    from agent_client.settings import load

    lines = next(block for block in page("README.md").split("```\n") if block.startswith("CONNECTION_MODE"))
    (tmp_path / ".env").write_text(lines)
    (tmp_path / ".env").chmod(0o600)
    settings = load({}, local_file=tmp_path / ".env", system_file=tmp_path / "none")
    assert settings.agent_id == "agent-home-server"
    assert settings.masters[0].url == "wss://master-panel.com/tunnel"
