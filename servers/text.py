"""Text that came from a node or a person, made safe to look at: nothing in it moves a cursor or turns the line round."""

import unicodedata

# Controls, invisible formatting (bidirectional overrides among it), lone surrogates, line and paragraph separators.
HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: object) -> str:
    """Return `text` with every character one cannot see written as an escape, like `\\x1b`."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(_escaped(char) if _hidden(char) else char for char in shown)


def refuse_hidden_characters(text: str) -> None:
    """Validate a name that people read.

    Raises:
        ValidationError: it holds a control character or one that changes the direction of the line.
    """
    from django.core.exceptions import ValidationError  # here: `yumna` shows text where there is no Django
    from django.utils.translation import gettext_lazy as _

    if any(_hidden(char) for char in text):
        raise ValidationError(_("Control characters are not allowed in a name."), code="hidden_characters")


def _hidden(char: str) -> bool:
    return unicodedata.category(char) in HIDDEN_CATEGORIES


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
