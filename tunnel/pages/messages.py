"""What a live page is told, as JSON texts: a snapshot, patches after it, and a beat that says whether all is true."""

import json
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

from tunnel.pages import cards
from tunnel.pages.cards import Card

CARDS_A_MESSAGE: Final = 100  # about 50 KB, well under the 1 MiB that browsers and proxies take

Patch = dict[str, Any]  # a card, or the members of it that changed, with its id


def snapshot(shown: Iterable[Card]) -> list[str]:
    """Return the messages that say all there is, in the order of the page."""
    return _texts("snapshot", cards.in_order(shown)) or [json.dumps(_message("snapshot", []))]


def snapshot_message(shown: Iterable[Card]) -> dict[str, Any]:
    """Return the same as one object, for the page itself and for polls."""
    return _message("snapshot", cards.in_order(shown))


def patch(changed: Sequence[Patch], gone: Iterable[int] = ()) -> list[str]:
    """Return the messages that say what changed and which servers are not there any more."""
    texts = _texts("patch", changed)
    lost = sorted(gone)
    return [*texts, json.dumps({**_message("patch", []), "gone": lost})] if lost else texts


def beat(*, live: bool) -> str:
    """Return a sign of life; it says whether what was told is true now."""
    return json.dumps({"type": "beat", "now": _now(), "live": live})


def difference(old: Card | None, new: Card) -> Patch | None:
    """Return what of `new` differs, with its id; figures that came faster by push are kept."""
    if old is None:
        return cast("Patch", {**new})
    changed = {name: value for name, value in new.items() if old.get(name) != value}
    if (old["figures_at"] or 0) > (new["figures_at"] or 0):
        changed = {name: value for name, value in changed.items() if name not in cards.FIGURES}
    return {"id": new["id"], **changed} if changed else None


def _texts(kind: str, shown: Sequence[Patch] | Sequence[Card]) -> list[str]:
    """Cut into messages of bounded size."""
    starts = range(0, len(shown), CARDS_A_MESSAGE)
    parts = [shown[start : start + CARDS_A_MESSAGE] for start in starts]
    return [json.dumps(_message(kind, part, more=part is not parts[-1])) for part in parts]


def _message(kind: str, shown: Sequence[Patch] | Sequence[Card], *, more: bool = False) -> dict[str, Any]:
    return {"type": kind, "now": _now(), "cards": shown, "more": more}  # more: the next belongs to this one


def _now() -> float:
    return round(time.time(), 3)
