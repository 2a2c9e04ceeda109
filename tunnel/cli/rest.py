"""The panel's REST interface as one call: verified, never redirected, bounded in time and size."""

import json
import math
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from ssl import SSLContext, SSLError
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import urllib3
from urllib3 import exceptions

from tunnel.cli import rest_errors
from tunnel.cli.address import API, Address
from tunnel.cli.exits import Exit, Failure
from tunnel.cli.proxy_login import authorization
from tunnel.cli.rest_errors import NotThePanel, Problem, Unreachable
from tunnel.cli.shell_socket import SocketWay

PATIENCE: Final = 20.0  # seconds for an answer; a page of 500 servers takes less than one
CONNECT_WITHIN: Final = 10.0  # seconds
LARGEST: Final = 16 * 1024 * 1024  # bytes of an answer; a page of 500 servers has some 2 MiB
PIECE: Final = 64 * 1024  # bytes read at once
CONNECTIONS: Final = 32  # kept open for the next call; `run --parallel` may have more for a while
LONGEST_WAIT: Final = 60.0  # seconds; a panel that asks to wait longer is not waited for
MOST_WAITING: Final = 180.0  # seconds a call waits in all, when many compete for what the panel allows
AMONG_FRIENDS: Final = 0.5  # seconds added, so that all who wait do not come back within the same moment


@dataclass(frozen=True)
class Answer:
    """Status, headers in lower case, and the body as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """Seconds the panel asks to wait; it writes them as a number."""
        try:
            seconds = float(self.headers.get("retry-after", ""))
        except ValueError:
            return None
        return max(0.0, seconds) if math.isfinite(seconds) else None

    def kind(self) -> str:
        """Return the type of the body, like `application/json`."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Rest:
    """Calls of one panel with one token; may be used by many threads. `tell` takes a line for the person who waits."""

    def __init__(
        self, where: Address, token: str, tls: SSLContext, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self.where = where
        self.tls = tls
        self.proxy = proxy_for(where)
        self._token = token
        self._tell = tell
        self._pool = _pool(self.proxy, tls)
        self._lock = threading.Lock()
        self._not_before = 0.0  # on the monotonic clock; what the panel asked one of us holds for all

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, **how: Any) -> dict[str, Any]:
        """Call `path` under /api/tunnel/v1/ and return the object that is answered.

        Takes what `start` takes.

        Raises:
            Failure: as `tunnel.cli.rest_errors` tells.
        """
        future, within = self.start(method, path, body, **how)
        try:
            return future.result(within)
        except TimeoutError as exc:
            raise _no_answer(self.where) from exc

    def start(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        query: dict[str, str] | None = None,
        patience: float = PATIENCE,
        key: str = "",
    ) -> tuple[Future[dict[str, Any]], float]:
        """Begin a call in a thread; return what will hold its end, and after how many seconds to give up on it.

        A thread that is given up on ends with the process: looking up a name has no time limit anywhere else.
        `patience` is how many seconds the panel may take for its answer, `key` makes a repeated call harmless.
        """
        target = path + (f"?{urlencode(query, errors='replace')}" if query else "")
        headers = {"Idempotency-Key": key} if key else {}
        future: Future[dict[str, Any]] = Future()
        work = threading.Thread(
            target=_settle,
            args=(future, lambda: self._call(method, target, body, headers, patience)),
            name=f"rest {method}",
            daemon=True,
        )
        work.start()
        return future, MOST_WAITING + LONGEST_WAIT + CONNECT_WITHIN + 2 * patience

    def get(self, path: str, *, patience: float = PATIENCE) -> Answer:
        """Fetch a path of the panel's own, without the token."""
        return self._ask("GET", str(self.where) + path, None, {}, patience)

    def shell(self, agent_id: str) -> SocketWay:
        """Return the way to a shell, on a socket that shows the token as every call does."""
        return SocketWay(self.where, self._token, self.tls, self.proxy, agent_id)

    def _call(
        self, method: str, target: str, body: dict[str, Any] | None, headers: dict[str, str], patience: float
    ) -> dict[str, Any]:
        url = f"{self.where}{API}/{target}"
        headers = {"Authorization": f"Token {self._token}", **headers}
        give_up = time.monotonic() + MOST_WAITING
        while True:
            self._wait_for_turn()
            answer = self._ask(method, url, body, headers, patience)
            if answer.status != HTTPStatus.TOO_MANY_REQUESTS or not self._hold(answer, give_up):
                return self._judged(answer)

    def _hold(self, answer: Answer, give_up: float) -> bool:
        """Hold all calls for as long as the panel asks; False when that is too long. Refused so, nothing was done."""
        wait = answer.retry_after
        if wait is None or wait > LONGEST_WAIT or time.monotonic() + wait > give_up:
            return False
        until = time.monotonic() + wait + AMONG_FRIENDS
        with self._lock:
            news = until > self._not_before + AMONG_FRIENDS * 2
            self._not_before = max(self._not_before, until)
        if news:
            self._tell(f"the panel takes no more for now, waiting {wait:.0f} s")
        return True

    def _wait_for_turn(self) -> None:
        while (left := self._not_before - time.monotonic()) > 0:
            time.sleep(left)

    def _ask(
        self, method: str, url: str, body: dict[str, Any] | None, headers: dict[str, str], patience: float
    ) -> Answer:
        more = {"Accept": "application/json, application/problem+json", "Accept-Encoding": "identity"}
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            more["Content-Type"] = "application/json"
        deadline = time.monotonic() + CONNECT_WITHIN + patience
        try:
            response = self._pool.request(
                method,
                url,
                body=data,
                headers={"User-Agent": "yumna", **more, **headers},
                timeout=urllib3.Timeout(connect=CONNECT_WITHIN, read=patience),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                content = self._content(response, deadline)
            finally:
                response.close()
        except (exceptions.HTTPError, OSError) as exc:
            raise self._unreachable(exc) from exc
        named = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, named, content)

    def _content(self, response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
        content = bytearray()
        while piece := response.read1(
            PIECE
        ):  # what is there, so that a trickle comes past the deadline below
            content += piece
            if len(content) > LARGEST:
                raise NotThePanel(f"the answer of {self.where} is larger than {LARGEST >> 20} MiB")
            if time.monotonic() > deadline:
                raise _no_answer(self.where)
        return bytes(content)

    def _judged(self, answer: Answer) -> dict[str, Any]:
        if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
            raise NotThePanel(self._redirected(answer))
        body = self._json(answer)
        if answer.status < HTTPStatus.MULTIPLE_CHOICES:
            if body is None:
                raise NotThePanel(f"what answers at {self.where} is no panel: {_shown(answer)}")
            return body
        if body is None:
            raise self._wordless(answer)
        raise Problem(rest_errors.read(answer.status, body, answer.retry_after))

    def _wordless(self, answer: Answer) -> Failure:
        """Return the error for an answer that is not the panel's own: a proxy's, or another program's."""
        if answer.status in (
            HTTPStatus.BAD_GATEWAY,
            HTTPStatus.SERVICE_UNAVAILABLE,
            HTTPStatus.GATEWAY_TIMEOUT,
        ):
            sentence = f"the proxy at {self.where} does not get an answer of the panel ({answer.status})"
            return Unreachable(sentence, sent=True)
        if answer.status == HTTPStatus.NOT_FOUND:
            return NotThePanel(
                f"there is no REST interface of a panel at {self.where}{API}/, check the address"
            )
        if answer.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            return Failure("the panel failed, look at its log (500)", Exit.FAILED)
        return NotThePanel(f"what answers at {self.where} is no panel: {_shown(answer)}")

    def _json(self, answer: Answer) -> dict[str, Any] | None:
        if answer.kind() not in ("application/json", "application/problem+json"):
            return None
        if answer.headers.get("content-encoding", "identity") != "identity":
            return None
        try:
            body = json.loads(answer.body, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return None
        return body if isinstance(body, dict) else None

    def _redirected(self, answer: Answer) -> str:
        """Name host and scheme alone: what follows may be anything, and is not ours to repeat."""
        told = f"{self.where} answers with a redirect ({answer.status})"
        try:
            there = urlsplit(answer.headers.get("location", ""))
        except ValueError:
            return f"{told}, which is not followed with a token"
        if there.scheme in ("http", "https") and there.netloc and "@" not in there.netloc:
            return f"{told}; if that is the panel, give --url {there.scheme}://{there.netloc}"
        return f"{told}, which is not followed with a token; check the address"

    def _unreachable(self, error: Exception) -> Failure:
        if isinstance(error, exceptions.ProxyError):
            words = f"the proxy {without_password(self.proxy)} does not lead to {self.where}"
            return Unreachable(f"{words}: {_root(error.original_error)}", sent=False)
        if isinstance(error, exceptions.NameResolutionError):
            return Unreachable(f"there is no address for the name {self.where.host}", sent=False)
        if isinstance(error, exceptions.NewConnectionError):  # a ConnectTimeoutError too
            return Unreachable(f"{self.where} cannot be reached: {_root(error)}", sent=False)
        if isinstance(error, exceptions.ConnectTimeoutError):
            return Unreachable(f"{self.where} does not answer within {CONNECT_WITHIN:g} s", sent=False)
        if isinstance(error, exceptions.SSLError):
            return rest_errors.wrong_tls(self.where, _root(error))
        if isinstance(error, exceptions.ReadTimeoutError | TimeoutError):
            return _no_answer(self.where)
        cause = next((arg for arg in error.args if isinstance(arg, HTTPException)), None)
        if cause is not None and not isinstance(cause, RemoteDisconnected | IncompleteRead):
            return NotThePanel(f"what answers at {self.where} does not speak HTTP")
        return Unreachable(f"the connection to {self.where} ended before its answer", sent=True)


def proxy_for(where: Address) -> str:
    """Return the proxy that the environment names for this address, empty for none.

    Raises:
        Failure: it is one that cannot be used.
    """
    if where.loopback or urllib.request.proxy_bypass(f"{where.host}:{where.port}"):
        return ""
    proxies = urllib.request.getproxies()
    url = proxies.get(where.scheme) or proxies.get("all") or ""
    if url and urlsplit(url).scheme not in ("http", "https"):
        words = f"the proxy of the environment for {where.scheme} is no http:// or https:// one"
        raise Failure(f"{words}; unset it, or name the panel in NO_PROXY", Exit.USAGE)
    return url


def without_password(proxy: str) -> str:
    """Return a proxy's address as one may show it."""
    parts = urlsplit(proxy)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _pool(proxy: str, tls: SSLContext) -> urllib3.PoolManager:
    if not proxy:
        return urllib3.PoolManager(maxsize=CONNECTIONS, ssl_context=tls)
    login = authorization(proxy)
    headers = {"Proxy-Authorization": login} if login else None
    return urllib3.ProxyManager(proxy, proxy_headers=headers, maxsize=CONNECTIONS, ssl_context=tls)


def _settle(future: Future[Any], work: Callable[[], Any]) -> None:
    """Give the future what the work returns or raises; this is the top of a thread."""
    try:
        future.set_result(work())
    except Exception as exc:  # noqa: BLE001 - it goes to whoever waits for the future
        future.set_exception(exc)


def _no_answer(where: Address) -> Unreachable:
    return Unreachable(f"{where} did not answer in time", sent=True)


def _root(error: BaseException) -> object:
    """Return what is at the bottom of an error of urllib3, as far as the system says it in words."""
    inner = next((arg for arg in error.args if isinstance(arg, BaseException)), error.__cause__)
    bottom = inner or error
    if isinstance(bottom, SSLError):
        return bottom
    return getattr(bottom, "strerror", None) or bottom


def _shown(answer: Answer) -> str:
    return f"it answers {answer.status} with {answer.kind() or 'nothing'}"


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
