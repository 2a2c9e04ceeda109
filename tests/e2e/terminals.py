"""Terminal pages in a real browser, and what crosses their sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

from tests.e2e.cluster import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, WebSocket

SCREEN = "() => [...document.querySelectorAll('.xterm-rows > div')].map(row => row.textContent).join('\\n')"


@dataclass
class Wire:
    """What one page was sent: the shell's output by position, and what it sent itself."""

    output: bytearray = field(default_factory=bytearray)
    gaps: int = 0  # bytes that the panel said were missing
    twice: int = 0  # bytes that came again
    position: int = 0
    typed: list[bytes] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)  # by the page
    states: list[dict[str, Any]] = field(default_factory=list)  # by the panel

    def listen(self, socket: WebSocket) -> None:
        if not socket.url.endswith("/shell/"):
            return
        socket.on("framereceived", self._received)
        socket.on("framesent", self._sent)

    def _received(self, payload: str | bytes) -> None:
        if isinstance(payload, bytes):
            fresh = len(self.output) - self.position
            self.twice += min(max(fresh, 0), len(payload))
            self.output += payload[max(fresh, 0) :]
            self.position += len(payload)
            return
        said = json.loads(payload)
        if said["t"] == "opened":
            self.gaps += said["gap"]
            self.position = said["offset"]
        if said["t"] in ("opened", "state"):
            self.states.append(said)

    def _sent(self, payload: str | bytes) -> None:
        if isinstance(payload, bytes):
            self.typed.append(payload)
        else:
            self.said.append(json.loads(payload))


@dataclass
class Terminal:
    """A terminal page."""

    page: Page
    wire: Wire

    @property
    def state(self) -> Any:
        return self.page.locator("[data-yt=state]")

    def screen(self) -> str:
        """What the screen shows, as text."""
        return "\n".join(line.rstrip() for line in self.page.evaluate(SCREEN).split("\n")).rstrip()

    def live(self, seconds: float = 30) -> Terminal:
        """Wait until what is typed is sent."""
        expect(self.page.locator("#yt-terminal")).to_have_attribute(
            "data-state", "live", timeout=seconds * 1000
        )
        return self

    def shows(self, text: str, seconds: float = 20) -> None:
        """Wait until the screen shows this."""
        try:
            until(lambda: text in self.screen(), seconds)
        except AssertionError:
            raise AssertionError(f"not within {seconds} s {text!r} on the screen:\n{self.screen()}") from None

    def wrote(self, data: bytes, seconds: float = 20) -> None:
        """Wait until the page was sent this."""
        until(lambda: self.page.evaluate("1") and data in self.wire.output, seconds, repr(data))

    def type(self, text: str) -> None:
        """Type as a person does."""
        self.page.locator(".xterm-helper-textarea").focus()
        self.page.keyboard.type(text)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def end(self) -> None:
        """End the shell if it is this person's to end: there may not be many."""
        if self.page.locator("#yt-terminal[data-state=live]").count() and self.may_end:
            self.page.click("[data-yt=more] summary")
            self.page.click("[data-yt=end]")
            self.page.click("[data-yt=ask-yes]")
            expect(self.page.locator("#yt-terminal")).to_have_attribute("data-state", "ended", timeout=20_000)

    @property
    def may_end(self) -> bool:
        """Whether what is typed here is sent."""
        return next(one["write"] for one in reversed(self.wire.states) if one["t"] == "opened")

    @property
    def shell(self) -> str:
        """The shell's key, from the page's address."""
        return str(self.page.evaluate("new URLSearchParams(location.search).get('shell')"))


@contextmanager
def terminal(
    browser: Browser,
    url: str,
    login: Any,
    *,
    tolerated: tuple[str, ...] = (),
    live: bool = True,
    **options: Any,
) -> Iterator[Terminal]:
    """Open a terminal page; at its end nothing may have been complained of, or asked of another host."""
    context = browser.new_context(
        **{"viewport": {"width": 1000, "height": 760}, "storage_state": login, **options}
    )
    page = context.new_page()
    wire = Wire()
    complaints: list[str] = []
    foreign: list[str] = []
    here = url.split("/admin/")[0]
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("websocket", wire.listen)
    page.on(
        "request",
        lambda request: (
            request.url.startswith((here, here.replace("http", "ws"), "blob:")) or foreign.append(request.url)
        ),
    )
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    page.goto(url)
    made = Terminal(page, wire)
    yield made.live() if live else made
    made.end()
    assert [text for text in complaints if not any(word in text for word in tolerated)] == []
    assert foreign == []
    context.close()
