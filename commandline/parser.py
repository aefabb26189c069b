"""The parser of every command: its errors take two lines, and its help shows only defaults that tell something."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import configargparse

from commandline.programs import command
from commandline.suggestions import did_you_mean

USAGE_ERROR = 2


class HelpFormatter(configargparse.HelpFormatter):  # type: ignore[misc]
    """Adds ``(default: X)`` where the value says something: not for switches, nor where nothing is the default."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        default = action.default
        told = default not in (None, argparse.SUPPRESS, (), [], {}) and not isinstance(default, bool)
        if text is None or not told or "(default:" in text or "%(default)" in text:
            return text
        return f"{text} (default: %(default)s)"


class Parser(configargparse.ArgumentParser):  # type: ignore[misc]
    """Flags and environment variables of a command; an error ends the process with two lines and exit code 2."""

    def __init__(self, program: str, *words: str, env_prefix: str | None = None, **options: Any) -> None:
        """``program`` and ``words`` are the command, as for ``command``; ``options`` are those of configargparse."""
        self._command = command(program, *words)
        options.setdefault("formatter_class", HelpFormatter)
        super().__init__(prog=self._command, auto_env_var_prefix=env_prefix, **options)

    def parse_args(
        self,
        args: Sequence[str] | None = None,
        namespace: argparse.Namespace | None = None,
        env_vars: Mapping[str, str] = os.environ,
        **others: Any,
    ) -> argparse.Namespace:
        """Parse, and refuse what is left over; exits with code 2 after two lines."""
        values, unknown = self.parse_known_args(args, namespace, env_vars=env_vars, **others)
        if unknown:
            self.error(self._unknown(unknown))
        return values  # type: ignore[no-any-return]

    def error(self, message: str) -> NoReturn:
        """Print ``message`` in one line and where help is in another, and exit with code 2."""
        text = message.removeprefix("argument ")
        sys.stderr.write(f"ERROR {text}\nhelp: `{self._command} --help` explains all arguments\n")
        raise SystemExit(USAGE_ERROR)

    def _unknown(self, words: Sequence[str]) -> str:
        word = next((word for word in words if word.startswith("-")), words[0])
        flag = word.split("=", 1)[0]
        if not flag.startswith("-"):
            takes_many = any(action.nargs in ("*", "+") and not action.option_strings for action in self._actions)
            return f"{word} must be before the flags" if takes_many else f"{word} is one argument too many"
        flags = [name for action in self._actions for name in action.option_strings if action.help != argparse.SUPPRESS]
        return f"there is no flag {flag}{did_you_mean(flag, flags)}"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            accepted = [str(choice) for choice in action.choices]
            meant = did_you_mean(str(value), accepted)
            raise argparse.ArgumentError(action, f"{str(value)!r} is not one of {', '.join(accepted)}{meant}")
