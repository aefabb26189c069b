"""The types of the consumer's own flags, with error messages that say what is accepted."""

from __future__ import annotations

import argparse

from yarl import URL

from consumer.shown_text import shown_url


def http_url(text: str) -> str:
    """A flag type for http:// and https:// URLs."""
    try:
        url = URL(text)
        (url.host or "").encode("idna")
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise argparse.ArgumentTypeError(f"{shown_url(text)} is not an http:// or https:// URL")
    return text
