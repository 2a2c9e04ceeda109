"""What the node is doing: CPU, memory, disk, network and processes, from /proc or by psutil alike."""

from agent_client.figures.choice import best_source
from agent_client.figures.sampler import Sampler
from agent_client.figures.source import Source

__all__ = ["Sampler", "Source", "best_source"]
