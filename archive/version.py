"""The version of the installed release, which results name."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from commandline.extras import DISTRIBUTION

try:
    VERSION = version(DISTRIBUTION)
except PackageNotFoundError:
    VERSION = "unreleased"
