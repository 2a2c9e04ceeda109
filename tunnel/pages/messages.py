"""What a live page is told, as JSON texts: a snapshot, patches after it, and a beat that says whether all is true."""

import json
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

from tunnel.pages import cards
from tunnel.pages.cards import Card
from tunnel.subscriptions import Counts

CARDS_A_MESSAGE: Final = 100  # about 60 KB, well under the 1 MiB that browsers and proxies take

Patch = dict[str, Any]  # a card, or the members of it that changed, with its id


def snapshot(shown: Iterable[Card], counts: Counts) -> list[str]:
    """Return the messages that say all there is, in the order of the page."""
    return _texts("snapshot", cards.in_order(shown), counts) or [json.dumps(_message("snapshot", [], counts))]


def snapshot_message(shown: Sequence[Card], counts: Counts) -> dict[str, Any]:
    """Return the same as one object, for the page itself and for polls."""
    return _message("snapshot", shown, counts)


def patch(changed: Sequence[Patch], gone: Iterable[int], counts: Counts) -> list[str]:
    """Return the messages that say what changed and which servers are not there any more."""
    texts = _texts("patch", changed, counts)
    lost = sorted(gone)
    return [*texts, json.dumps({**_message("patch", [], counts), "gone": lost})] if lost else texts


def count(counts: Counts) -> str:
    """Return a patch of the counts alone."""
    return json.dumps(_message("patch", [], counts))


def too_many(counts: Counts) -> str:
    """Tell a page that there are more servers than one is told of, so that it asks for those it shows."""
    return json.dumps(_message("too_many", [], counts))


def beat(*, live: bool, counts: Counts | None) -> str:
    """Return a sign of life; it says whether what was told is true now. Without counts before the snapshot."""
    known = {} if counts is None else {"counts": counts}
    return json.dumps({"type": "beat", "now": _now(), "live": live, **known})


def difference(old: Card | None, new: Card) -> Patch | None:
    """Return what of `new` differs, with its id; figures that came faster by push are kept."""
    if old is None:
        return cast("Patch", {**new})
    changed = {name: value for name, value in new.items() if old.get(name) != value}
    if (old["figures_at"] or 0) > (new["figures_at"] or 0):
        changed = {name: value for name, value in changed.items() if name not in cards.FIGURES}
    return {"id": new["id"], **changed} if changed else None


def _texts(kind: str, shown: Sequence[Patch] | Sequence[Card], counts: Counts) -> list[str]:
    """Cut into messages of bounded size."""
    starts = range(0, len(shown), CARDS_A_MESSAGE)
    parts = [shown[start : start + CARDS_A_MESSAGE] for start in starts]
    return [json.dumps(_message(kind, part, counts, more=part is not parts[-1])) for part in parts]


def _message(
    kind: str, shown: Sequence[Patch] | Sequence[Card], counts: Counts, *, more: bool = False
) -> dict[str, Any]:
    # more: the next message belongs to this one
    return {"type": kind, "now": _now(), "cards": shown, "more": more, "counts": counts}


def _now() -> float:
    return round(time.time(), 3)
