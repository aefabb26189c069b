"""The version of the installed release."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("vjepa2-serve")
except PackageNotFoundError:
    VERSION = "unreleased"
