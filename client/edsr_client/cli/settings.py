"""Defaults from a file, ~/.config/edsr.toml: where the server is, the file of a token, any option of a command."""

from __future__ import annotations

import argparse
import os
import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from ..errors import SettingsError

NAME = "edsr.toml"
# For all commands: how to connect. The rest are tables called as the commands.
CONNECTION = (
    *("url", "protocol", "model", "timeout", "retries", "header"),
    *("ca-file", "cert-file", "key-file", "insecure", "shared-memory"),
)
TOKEN_FILE = "token-file"  # noqa: S105
COMMANDS = ("upscale", "batch", "video", "info", "doctor")
# What belongs to one call alone, and what would keep a secret in this file.
NEVER = ("help", "version", "token", "output", "overwrite", "from-file", "dry-run", "debug", "restart")


@dataclass(frozen=True)
class Settings:
    """What a file says.

    Attributes:
        path: of the file.
        text: its content, for the lines of mistakes.
        connection: options of all commands, by their long names.
        commands: options of a command, by its name.
        token: from the file that is named; None if none is.
        notes: what a person should know of it.
    """

    path: Path
    text: str = ""
    connection: Mapping[str, Any] = field(default_factory=dict)
    commands: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    token: str | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    def error(self, table: str, key: str, words: str) -> SettingsError:
        """About an entry, with its line."""
        return SettingsError(f"{self.path}, line {line_of(self.text, table, key)}: {words}")


def default_path() -> Path:
    """$XDG_CONFIG_HOME/edsr.toml, or ~/.config/edsr.toml."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()) / NAME


def read(path: Path) -> Settings:
    """What a file says; nothing where there is none.

    Raises:
        SettingsError: it cannot be read, is no TOML, or has a key that is not known; with file and line.
    """
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return Settings(path)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise SettingsError(f"Cannot read {path}: {getattr(error, 'strerror', None) or error}.") from None
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not TOML: {error}.") from None
    settings = Settings(path, text)
    connection: dict[str, Any] = {}
    commands: dict[str, dict[str, Any]] = {}
    token: str | None = None
    notes: tuple[str, ...] = ()
    for key, value in content.items():
        option = key.replace("_", "-")
        if key in COMMANDS and isinstance(value, dict):
            commands[key] = {name.replace("_", "-"): (name, each) for name, each in value.items()}
        elif option in CONNECTION:
            connection[option] = (key, value)
        elif option == TOKEN_FILE:
            token, notes = _token(settings, key, value)
        else:
            known = ", ".join((*CONNECTION, TOKEN_FILE, *(f"[{command}]" for command in COMMANDS)))
            raise settings.error("", key, f"there is no setting {key!r}. Known: {known}.")
    return Settings(path, text, connection, commands, token, notes)


def defaults(settings: Settings, command: str, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """The file's values for the options of a command, as its parser would have them.

    Args:
        settings: of the file.
        command: whose table is taken beside what holds for all.
        parser: of that command.

    Raises:
        SettingsError: an option that the command has not, or a value that it does not take.
    """
    actions = {name[2:]: action for action in parser._actions for name in action.option_strings if name[:2] == "--"}
    found = {}
    for table, entries in (("", settings.connection), (command, settings.commands.get(command, {}))):
        for option, (key, value) in entries.items():
            action = None if option in NEVER else actions.get(option)
            if action is None and not table:
                continue  # a command without a server
            if action is None:
                known = ", ".join(sorted(set(actions) - set(NEVER)))
                raise settings.error(table, key, f"`edsr {command}` has no setting {key!r}. Known: {known}.")
            try:
                found[action.dest] = _value(action, value)
            except (argparse.ArgumentTypeError, ValueError, TypeError) as error:
                raise settings.error(table, key, f"{key} = {value!r} cannot be: {error}.") from None
    return found


def line_of(text: str, table: str, key: str) -> int:
    """The number of the line where a key of a table ("" for none) is set; 1 if it is written in another way."""
    within = ""
    for number, line in enumerate(text.splitlines(), 1):
        if heading := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line):
            within = heading[1].strip("\"'")
            if not table and within == key:
                return number
        elif within == table and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]", line):
            return number
    return 1


def _value(action: argparse.Action, value: Any) -> Any:
    """One value as the parser makes it of the command line's text."""
    if action.nargs == 0:  # a switch
        if not isinstance(value, bool):
            raise ValueError("true or false is wanted")
        return value
    if isinstance(action, argparse._AppendAction):
        return [_text(action, each) for each in (value if isinstance(value, list) else [value])]
    converted = _text(action, value)
    if action.choices is not None and converted not in action.choices:
        raise ValueError(f"one of {', '.join(map(str, action.choices))} is wanted")
    return converted


def _text(action: argparse.Action, value: Any) -> Any:
    if isinstance(value, bool | dict | list):
        raise ValueError("a text or a number is wanted")
    convert: Any = action.type or str
    return convert(str(value))


def _token(settings: Settings, key: str, value: Any) -> tuple[str, tuple[str, ...]]:
    if not isinstance(value, str):
        raise settings.error("", key, "the name of a file is wanted.")
    path = Path(value).expanduser()
    path = path if path.is_absolute() else settings.path.parent / path
    try:
        token = path.read_text("utf-8").strip()
        mode = stat.S_IMODE(path.stat().st_mode)
    except (OSError, ValueError) as error:
        raise settings.error("", key, f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from None
    if not token:
        raise settings.error("", key, f"{path} is empty.")
    others = os.name == "posix" and mode & 0o077
    return token, (f"others may read {path}, which holds a token: chmod 600 {path}",) if others else ()
