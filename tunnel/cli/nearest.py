"""What to say of a node that is not there."""

import difflib
from collections.abc import Iterable

from tunnel.cli.exits import Exit, Failure

NEAREST = 3  # names offered


def no_such_server(node: str, known: Iterable[tuple[str, str]], program: str) -> Failure:
    """Return the error for a node that is not among the known names and agent ids; it offers the nearest."""
    words = {word.casefold(): word for pair in known for word in reversed(pair)}
    nearest = difflib.get_close_matches(node.casefold(), words, n=NEAREST, cutoff=0.5)
    if nearest:
        advice = f"did you mean {' or '.join(words[word] for word in nearest)}"
    elif words:
        advice = f"`{program} list` shows those there are"
    else:
        advice = f"none was added yet: `{program} add`"
    return Failure(f"no such server: {node}; {advice}", Exit.NO_SUCH_SERVER)
