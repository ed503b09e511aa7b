"""Requests that are refused."""

from http import HTTPStatus


class Refusal(Exception):
    """Raised for a request that is refused, with a sentence for whoever sent it.

    Parameters
    ----------
    status : int
        Of HTTP.
    text : str
    retry_after : int
        Seconds after which to try again; 0 where that does not help.
    """

    def __init__(self, status: int, text: str, retry_after: int = 0):
        super().__init__(text)
        self.status, self.text, self.retry_after = HTTPStatus(status), text, retry_after
