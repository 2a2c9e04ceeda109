"""One call of a command: its options, where it writes to, and the panel it speaks with."""

from argparse import Namespace
from dataclasses import dataclass

from tunnel.cli.output import Output
from tunnel.cli.panel import Panel


@dataclass(frozen=True)
class Call:
    """What a command gets; `program` is what people type before the command's name."""

    options: Namespace
    out: Output
    panel: Panel
    program: str
