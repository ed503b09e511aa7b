"""The live page of a run: an HTTP server that shows one page and its sections, and no file.

    GET /          the page, whose script asks for the sections again and again
    GET /content   the sections, with an ETag: 304 where nothing has changed

A page of another origin can neither read nor frame it. Another name for this host than its own (DNS rebinding) is
refused where there is no token, and where there is one every request has to bring it.
"""

import errno
import hashlib
import hmac
import ipaddress
import secrets
import socket
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from .. import __version__
from ..errors import UserError
from .markup import Html
from .page import content, document, live_script, title_of
from .run import Run

PAUSE = 1.0  # seconds for which the files are not looked at again, however many browsers ask
MOST_SECONDS = 20.0  # that a browser may take for a request
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class LivePage:
    """The page of a run, made again where its files have changed; for several threads.

    Parameters
    ----------
    run : Run
    """

    def __init__(self, run: Run):
        self._run, self._lock = run, threading.Lock()
        self._read, self._content, self._tag = -PAUSE, Html(), ""

    def whole(self) -> bytes:
        """Return the page; its script asks for the sections later."""
        body, _ = self.sections()
        nonce = secrets.token_urlsafe(16)
        return document(title_of([self._run]), body, f"mpitrain {__version__}, live", live_script(), nonce).encode()

    def sections(self) -> tuple[Html, str]:
        """Return the sections and their tag."""
        with self._lock:
            if time.monotonic() - self._read >= PAUSE:
                if self._run.update() or not self._tag:
                    self._content = content([self._run])
                    self._tag = f'"{hashlib.blake2b(self._content.encode(), digest_size=16).hexdigest()}"'
                self._read = time.monotonic()
            return self._content, self._tag


class LiveServer(ThreadingHTTPServer):
    """Server of a live page.

    Parameters
    ----------
    page : LivePage
    host : str
        Name or address to listen at.
    port : int
        0 takes a free one.
    with_token : bool
        Ask for a token on this host, too; at addresses that others reach it is always asked for.

    Raises
    ------
    UserError
        If it cannot listen there.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, page: LivePage, host: str, port: int, *, with_token: bool = False):
        self.page = page
        family, address = find_address(host, port)
        self.address_family = family
        try:
            super().__init__((address, port), Answer)
        except (OSError, OverflowError) as error:
            raise cannot_listen(host, port, error) from None
        self.is_local = is_loopback(address)
        self.token = "" if self.is_local and not with_token else secrets.token_urlsafe(24)
        self._host = host

    def server_bind(self) -> None:
        """Bind, without the look-up of the host's full name that HTTPServer does, which may take long."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    @property
    def url(self) -> str:
        """The address for a browser, with the token if one is asked for."""
        return url_of(self._host, self.server_address[1], self.token)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: browsers close connections as they like."""


class Answer(BaseHTTPRequestHandler):
    """Answer to one request."""

    server: LiveServer
    server_version = "mpitrain"
    sys_version = ""
    timeout = MOST_SECONDS

    def do_GET(self) -> None:
        """Send the page or its sections."""
        try:
            asked = urlsplit(self.path)
        except ValueError:
            self._send(HTTPStatus.BAD_REQUEST, b"This is no address.\n")
            return
        refusal, path = self._refusal(asked.query), asked.path
        if refusal:
            self._send(HTTPStatus.FORBIDDEN, f"{refusal}\n".encode())
        elif path == "/":
            self._send(HTTPStatus.OK, self.server.page.whole())
        elif path == "/content":
            body, tag = self.server.page.sections()
            same = self.headers.get("If-None-Match") == tag
            self._send(HTTPStatus.NOT_MODIFIED if same else HTTPStatus.OK, b"" if same else body.encode(), tag)
        else:
            self._send(HTTPStatus.NOT_FOUND, b"There is no such page.\n")

    do_HEAD = do_GET

    def _refusal(self, query: str) -> str:
        """Return why a request is not granted; empty if it is."""
        if self.server.token:
            given = parse_qs(query).get("token", [""])[0]
            if not hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self.server.token.encode()):
                return "The token is missing or wrong: take the address that mpitrain watch has printed."
        elif not is_own_name(self.headers.get("Host", "")):
            return "This page is for localhost only."
        return ""

    def _send(self, status: HTTPStatus, body: bytes, tag: str = "") -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        kind = "text/html" if status == HTTPStatus.OK else "text/plain"
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        if tag:
            self.send_header("ETag", tag)
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def find_address(host: str, port: int) -> tuple[socket.AddressFamily, str]:
    """Return the family and the address to listen at; IPv4 first, which every browser has.

    Raises
    ------
    UserError
        If there is no such host.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, OverflowError, UnicodeError) as error:
        raise cannot_listen(host, port, error) from None
    return min((one[0], str(one[4][0])) for one in found)


def is_loopback(address: str) -> bool:
    """Return whether only this host reaches an address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def cannot_listen(host: str, port: int, error: Exception) -> UserError:
    """Return the error for an address that a server cannot have."""
    why = getattr(error, "strerror", None) or error
    hint = "; --port 0 takes a free one" if getattr(error, "errno", 0) == errno.EADDRINUSE else ""
    return UserError(f"cannot listen at {host}, port {port}: {why}{hint}")


def url_of(host: str, port: int, token: str = "") -> str:
    """Return the address of a server for a browser, with the token if one is asked for."""
    host = socket.gethostname() if host in ("0.0.0.0", "::", "") else host
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{port}/" + (f"?token={quote(token)}" if token else "")


def is_own_name(host: str) -> bool:
    """Return whether a Host header names this host by an address that only it has, at any port.

    The port may be another one: that of a tunnel by ssh.

    >>> [is_own_name(host) for host in ("localhost:8000", "127.0.0.1", "[::1]:9", "evil.example:8000", "")]
    [True, True, True, False, False]
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
