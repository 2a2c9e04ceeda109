"""Back-pressure for Daphne, both ways: who sends waits for a slow reader, who floods waits for a slow application."""

import asyncio
from typing import Any, BinaryIO

from daphne.ws_protocol import WebSocketProtocol

MAX_WAITING = 64  # messages of one socket its application has not taken yet; of 1 MiB at most each
RESUME_AT = MAX_WAITING // 2  # so that reading is switched on and off every 32 messages, not at each one

Message = dict[str, Any]


class Pace:
    """Lets senders through while the transport takes bytes: what Twisted calls a push producer."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._turn = asyncio.Lock()  # first come, first served: messages keep the order they were sent in

    @property
    def paused(self) -> bool:
        """Whether more than the transport's buffer (64 KiB) waits for the reader."""
        return not self._open.is_set()

    async def __aenter__(self) -> None:
        await self._turn.acquire()
        try:
            await self._open.wait()
        except BaseException:
            self._turn.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._turn.release()

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Hold the senders: the transport's buffer is full."""
        self._open.clear()

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Let the senders through: the buffer is empty again."""
        self._open.set()

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Let them through for good: the connection is gone, what they send goes nowhere."""
        self._open.set()


class Intake(asyncio.Queue[Message]):
    """Messages of one WebSocket on their way to the application; while too many wait, the socket is not read."""

    def __init__(self, socket: "PacedWebSocket") -> None:
        super().__init__()
        self._socket = socket

    def _put(self, item: Message) -> None:
        super()._put(item)
        if self.qsize() > MAX_WAITING:
            self._socket.stop_reading()

    def _get(self) -> Message:
        item = super()._get()
        if self.qsize() <= RESUME_AT:
            self._socket.go_on_reading()
        return item


class BodyIntake(asyncio.Queue[Message]):
    """Messages of one HTTP request; its body stays in the file Twisted wrote it to until the application asks."""

    def __init__(self, content: BinaryIO) -> None:
        super().__init__()
        self._content = content
        self._position = 0

    def _put(self, item: Message) -> None:
        if item["type"] == "http.request":
            item = {**item, "body": len(item["body"])}
        super()._put(item)

    def _get(self) -> Message:
        item = super()._get()
        if item["type"] != "http.request":
            return item
        if self._content.closed:  # the request ended before its body was asked for
            return {"type": "http.disconnect"}
        self._content.seek(self._position)
        self._position += item["body"]
        return {**item, "body": self._content.read(item["body"])}


class PacedWebSocket(WebSocketProtocol):  # type: ignore[misc] # Daphne has no types
    """Daphne's WebSocket with a pace for what it sends, and a reader that can be stopped."""

    autoPingTimeoutCall: Any  # noqa: N815 - Autobahn's, the timer for the pong it waits for

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Take the place of the HTTP channel as what the transport holds back when its buffer is full."""
        super().connectionMade()
        self.pace = Pace()
        self._reading = True
        self._owed_pong: bytes | None = None
        self.transport.unregisterProducer()
        self.transport.registerProducer(self, True)

    def stop_reading(self) -> None:
        """Leave what the peer sends in its own buffers; TCP slows it down."""
        if self._reading:
            self._reading = False
            self.transport.pauseProducing()
            self._expect_no_pong()

    def go_on_reading(self) -> None:
        """Read again."""
        if not self._reading:
            self._reading = True
            self.transport.resumeProducing()

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Hold the senders."""
        self.pace.pauseProducing()

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Let the senders through, after the pong that is owed."""
        self.pace.resumeProducing()
        if self._owed_pong is not None:
            payload, self._owed_pong = self._owed_pong, None
            self.onPing(payload)

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Let the senders through for good."""
        self.pace.stopProducing()

    def onPing(self, payload: bytes) -> None:  # noqa: N802 - Autobahn's name
        """Answer; a peer that does not read is owed one pong, for its last ping (RFC 6455 §5.5.3)."""
        if self.pace.paused:
            self._owed_pong = payload
        else:
            super().onPing(payload)

    def _sendAutoPing(self) -> None:  # noqa: N802 - Autobahn's name
        super()._sendAutoPing()
        if not self._reading:
            self._expect_no_pong()

    def _expect_no_pong(self) -> None:
        # A pong we do not read says nothing about the peer. The pings go on: writing shows when it is gone.
        if self.autoPingTimeoutCall is not None:
            self.autoPingTimeoutCall.cancel()
            self.autoPingTimeoutCall = None

    def _closeConnection(self, abort: bool = False) -> None:  # noqa: N802 - Autobahn's name
        # Twisted keeps a connection with a producer open for what may still come.
        self.transport.unregisterProducer()
        self.pace.stopProducing()
        super()._closeConnection(abort)
