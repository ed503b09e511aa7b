"""Access to a service: for requests that name this host, or bring the token."""

import functools
import hmac
from urllib.parse import parse_qs, urlsplit

from ..pages.serve import is_own_name

Headers = dict[bytes, bytes]


class Access:
    """Rules on the requests that are answered.

    Without a token only requests that name this host are: a page of another site, to whose name a browser was told
    the address of this host (DNS rebinding), is refused; so is a page of another origin.

    Parameters
    ----------
    token : str
        Empty where none is asked for.
    """

    def __init__(self, token: str):
        self._token = token

    def refusal(self, headers: Headers, query: bytes) -> str:
        """Return why a request is not granted; empty if it is."""
        if self._token:
            given = headers.get(b"authorization", b"")
            word, _, token = given.partition(b" ")
            if word.lower() != b"bearer":
                token = parse_qs(query.decode("latin-1")).get("token", [""])[0].encode()
            if not hmac.compare_digest(token, self._token.encode()):
                return "the token is missing or wrong: take the address that mpitrain serve has printed"
        elif not _is_own(headers.get(b"host", b"")):
            return "this service is for localhost only: serve --host gives it another address"
        origin = headers.get(b"origin")
        if origin is not None and not _is_same(origin, headers.get(b"host", b"")):
            return "pages of another origin may not ask"
        return ""


@functools.lru_cache(256)
def _is_own(host: bytes) -> bool:
    return is_own_name(host.decode("latin-1"))


@functools.lru_cache(256)
def _is_same(origin: bytes, host: bytes) -> bool:
    try:
        return urlsplit(origin).netloc == host
    except ValueError:
        return False
