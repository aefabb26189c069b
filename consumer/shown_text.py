"""What others wrote, as log lines and messages may show it: cut, escaped, without passwords."""

from __future__ import annotations

import re

from yarl import URL

MOST_SHOWN_CHARACTERS = 500

_USER = re.compile(r"(?<=://)[^\s/?#'\"]*@")
# Where a URL cannot be parsed, its password may contain any character.
_USER_OF_BROKEN_URL = re.compile(r"(?<=//).*@")
# Some cameras take the password in the query, others in the path: /user=admin_password=secret_channel=1.
_SECRET = re.compile(
    r"(?i)([?&;/_](?:\w*(?:passw|pwd|token|secret|apikey|api_key)\w*|pass|key)=).*?(?=_channel=|[&;#/\s'\"]|$)"
)


def shown(text: str) -> str:
    """``text`` cut to 500 characters, and with everything escaped that cannot be printed."""
    return escaped(text[:MOST_SHOWN_CHARACTERS])


def escaped(text: str) -> str:
    """``text`` with everything escaped that cannot be printed, so that it stays in its line of the log."""
    return text if text.isprintable() else repr(text)[1:-1]


def without_credentials(text: str) -> str:
    """A URL, or a text with URLs, without users and passwords; passwords in a query become ``***``."""
    return _SECRET.sub(r"\1***", _USER.sub("", text))


def shown_url(url: str) -> str:
    """A URL that a user wrote, valid or not, quoted and without credentials."""
    try:
        valid = bool(URL(url).host and URL(url).scheme)
    except ValueError:
        valid = False
    return repr(without_credentials(url if valid else _USER_OF_BROKEN_URL.sub("", url)))
