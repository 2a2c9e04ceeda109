"""Foreign text on its way into a log line or a sentence."""

LONGEST = 200  # characters; what is longer tells no more


def printable(text: str, longest: int = LONGEST) -> str:
    """Return `text` on one line, without control characters, cut to `longest` characters."""
    shown = "".join(char if char.isprintable() else "?" for char in text[: longest + 1])
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"
