"""Defaults of options from a file: ``bnsuite.toml``, or ``[tool.bnsuite]`` in ``pyproject.toml``.

The file is the first one found from the current folder upwards. click gets its values as the ``default_map`` of the
verb, so that the command line and environment variables win over them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bnsuite.record.errors import InputError
from bnsuite.record.folder import LATEST, RESULTS
from bnsuite.record.functions import ROLES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: The file of bnsuite's own, and the one that other tools have a part of.
OWN, SHARED = "bnsuite.toml", "pyproject.toml"
#: In the place of a file: read none.
NONE = "none"
#: The name of what was read in click's ``Context.meta``.
_META = "bnsuite.config"


@dataclass(frozen=True)
class Kind:
    """The type of a value: in words, whether TOML's value is one, and how it is taken from the file's folder."""

    words: str
    holds: Callable[[object], bool]
    located: Callable[[Any, Path], Any] = lambda value, _folder: value


def _file(value: str, folder: Path) -> str:
    """Returns ``FILE.py:NAME`` as it is found from the current folder; ``package.module:NAME`` stays."""
    path, colon, name = value.partition(":")
    return f"{folder / path}{colon}{name}" if path.endswith(".py") else value


def _environment(value: str, folder: Path) -> str:
    kind, colon, path = value.partition(":")
    return f"{kind}{colon}{folder / path}" if kind == "python" and "/" in path else value


def _is_list(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


TEXT = Kind("a string", lambda value: isinstance(value, str))
CODE = replace(TEXT, located=_file)
ENVIRONMENT = replace(TEXT, located=_environment)
TEXTS = Kind("a list of strings", _is_list)
ENVIRONMENTS = replace(TEXTS, located=lambda value, folder: [_environment(one, folder) for one in value])
FOLDER = replace(TEXT, located=lambda value, folder: str(folder / value) if value else "")
FILES = replace(TEXTS, located=lambda value, folder: [_file(one, folder) for one in value])
WHOLE = Kind("a whole number", lambda value: _is_number(value) and isinstance(value, int))
NUMBER = Kind("a number", _is_number)
SWITCH = Kind("true or false", lambda value: isinstance(value, bool))


@dataclass(frozen=True)
class Key:
    """A key of the file: the parameter that it is the default of, its type, and the verbs that read it."""

    param: str
    kind: Kind
    verbs: tuple[str, ...]
    #: Whether it stands in a table of one verb alone.
    own: bool = False


_MEASURE = ("run", "ab", "bisect")
_TRIAL = (*_MEASURE, "selftest")
#: Verbs that write or read results where nothing else is named.
_RESULTS = (*_TRIAL, "check", "accept", "calibrate", "show", "report", "export", "claims", "figures", "doctor")

KEYS: dict[str, Key] = {
    "workloads": Key("workloads", FILES, (*_TRIAL, "list")),
    "cases": Key("cases", FILES, (*_MEASURE, "list")),
    "select": Key("select", TEXT, (*_MEASURE, "list")),
    "profile": Key("profile", TEXT, (*_TRIAL, "list")),
    "device": Key("device", TEXT, (*_TRIAL, "calibrate", "doctor")),
    "threads": Key("threads", WHOLE, (*_TRIAL, "calibrate", "doctor")),
    "timeout": Key("timeout", NUMBER, (*_TRIAL, "calibrate")),
    "budget": Key("budget", TEXT, _TRIAL),
    "strict": Key("strict", SWITCH, ("run", "ab", "check")),
    "seed": Key("seed", WHOLE, ("ab", "bisect")),
    "baselines": Key("baselines", FOLDER, (*_MEASURE, "check", "accept", "calibrate", "report", "doctor")),
    "data": Key("data_dir", FOLDER, (*_MEASURE, "list", "check", "calibrate", "doctor")),
    "results": Key("results", FOLDER, _RESULTS),
    "environment": Key("environment", ENVIRONMENT, ("run",), own=True),
    "impl": Key("impl", CODE, ("run",), own=True),
    "supports": Key("supports", TEXTS, ("run",), own=True),
    **{role.option[2:]: Key(role.name, CODE, ("run",), own=True) for role in ROLES.values()},
    "a": Key("a", ENVIRONMENT, ("ab",), own=True),
    "b": Key("b", ENVIRONMENT, ("ab",), own=True),
    "impl-b": Key("impl_b", CODE, ("ab",), own=True),
    "supports-b": Key("supports", TEXTS, ("ab",), own=True),
    **{f"{role.option[2:]}-b": Key(role.name, CODE, ("ab",), own=True) for role in ROLES.values()},
    "good": Key("good", TEXT, ("bisect",), own=True),
    "bad": Key("bad", TEXT, ("bisect",), own=True),
    "environments": Key("environments", ENVIRONMENTS, ("bisect",), own=True),
    "index-url": Key("index_url", TEXT, ("ab", "bisect"), own=True),
    "pre": Key("pre", SWITCH, ("ab", "bisect"), own=True),
    "gate": Key("gate", TEXT, ("bisect",), own=True),
    "kind": Key("kinds", TEXT, ("selftest",), own=True),
    "trials": Key("trials", WHOLE, ("selftest",), own=True),
}
#: The verbs that have a table of their own.
TABLES = tuple(dict.fromkeys(verb for key in KEYS.values() for verb in key.verbs))


@dataclass(frozen=True)
class Config:
    """A file that was read: its path, what messages call it, and its values, which are checked."""

    path: Path
    name: str
    values: Mapping[str, Any]

    def defaults(self, verb: str) -> dict[str, tuple[str, Any]]:
        """Returns for each parameter of a verb its key and its value; a verb's own table wins."""
        found: dict[str, tuple[str, Any]] = {}
        for prefix, table in (("", self.values), (f"{verb}.", self.values.get(verb, {}))):
            for key, value in table.items():
                if key in KEYS and verb in KEYS[key].verbs:
                    found[KEYS[key].param] = (f"{prefix}{key}", KEYS[key].kind.located(value, self.path.parent))
        return found


@dataclass(frozen=True)
class _Used:
    """A file, the verb's context, and the key that each of its parameters may come from."""

    config: Config
    context: click.Context
    keys: Mapping[str, str]
    results: Path | None


def find(folder: Path | None = None) -> Config | None:
    """Returns the file that is nearest to a folder (the current one), from there upwards; None if there is none."""
    try:
        here = folder or Path.cwd()
    except FileNotFoundError:  # the current folder was removed
        return None
    for place in (here, *here.parents):
        own, shared = _read(place / OWN), _read(place / SHARED)
        if own and shared:
            raise InputError(f"{place}: has both {OWN} and [tool.bnsuite] in {SHARED}; keep one of them")
        if own or shared:
            return own or shared
    return None


def read(path: Path) -> Config:
    """Returns the file that was named; InputError if it can't be used."""
    config = _read(path.absolute())
    if config is None and path.is_file():
        raise InputError(f"--config {path}: has no [tool.bnsuite]; add that table or name another file")
    if config is None:
        raise InputError(f"--config {path}: there is no such file; name one, or {NONE}")
    return config


def _content(path: Path) -> bytes | None:
    """Returns the bytes of a file; None if it is not there, or in a folder that is closed to this user."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        if isinstance(error, PermissionError) and not os.access(path.parent, os.X_OK):
            return None
        raise InputError(f"{path}: cannot be read: {error.strerror}; `--config {NONE}` does without it") from None


def _read(path: Path) -> Config | None:
    """Returns what a file says to bnsuite; None if it is not there, or is a pyproject.toml without a word to it."""
    content = _content(path)
    if content is None:
        return None
    shared = path.name == SHARED
    if shared and b"bnsuite" not in content:  # most are long, and none of our business
        return None
    shown = path.name if path.parent == _here() else str(path)
    try:
        values = tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{shown}: is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{shown}: is no TOML: {error}; correct that line") from None
    if shared:
        tool = values.get("tool")
        values = tool.get("bnsuite") if isinstance(tool, dict) else None
        if values is None:
            return None
    name = f"{shown} [tool.bnsuite]" if shared else shown
    if not isinstance(values, dict):
        raise InputError(f"{name}: is {_words(values)}; write it as a table")
    for problem in _problems(values):
        raise InputError(f"{name}: {problem}")
    return Config(path, name, values)


def _here() -> Path | None:
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def _problems(values: Mapping[str, Any]) -> Iterator[str]:
    """Yields what is wrong with the keys and values of a file."""
    shared = [name for name, key in KEYS.items() if not key.own]
    for name, value in values.items():
        if name in TABLES and isinstance(value, dict):
            for key, inner in value.items():
                known = [one for one in KEYS if name in KEYS[one].verbs]
                yield from _problem(key, inner, known, f"{name}.")
        elif name in TABLES:
            yield f"{name} is {_words(value)}; write it as a table of options of `bnsuite {name}`"
        else:
            yield from _problem(name, value, [*shared, *TABLES], "")


def _problem(name: str, value: object, known: list[str], prefix: str) -> Iterator[str]:
    if name not in known:
        if name in KEYS:
            where = f"it is for the table{'s' if len(KEYS[name].verbs) > 1 else ''} of {', '.join(KEYS[name].verbs)}"
        elif near := get_close_matches(name, known, 1):
            where = f"did you mean {prefix}{near[0]}?"
        else:
            where = f"choose from {', '.join(known)}"
        yield f"there is no key {prefix}{name}; {where}"
    elif not KEYS[name].kind.holds(value):
        example = ' such as ["one.py", "two.py"]' if KEYS[name].kind.holds([]) else ""
        yield f"{prefix}{name} is {_words(value)}; write {KEYS[name].kind.words}{example}"


def _words(value: object) -> str:
    """Returns a value of TOML with its type, such as "the string '2'"."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    kind = {str: "the string ", int: "the number ", float: "the number "}.get(type(value), "")
    return f"{kind}{value!r}" if kind else f"a {type(value).__name__}"


def _use(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    """Make the values of a file the defaults of a verb."""
    if ctx.resilient_parsing or value == NONE:
        return
    config = find() if value is None else read(Path(value))
    if config is None:
        return
    found = config.defaults(str(ctx.info_name))
    params = {one.name for one in ctx.command.params}
    results = Path(found.pop("results")[1]) if "results" in found else None
    ctx.default_map = {name: given for name, (_, given) in found.items()}
    if results is not None and "run" in params:
        ctx.default_map["run"] = results / LATEST.name
    keys = {param: key for param, (key, _) in found.items()}
    ctx.meta[_META] = _Used(config, ctx, keys, results)


option = click.option(
    "--config",
    is_eager=True,
    expose_value=False,
    callback=_use,
    envvar="BNSUITE_CONFIG",
    metavar="FILE",
    help=f"Take defaults of options from this file (default: the nearest {OWN}, or {SHARED} with [tool.bnsuite]; "
    f"{NONE}: no file).",
)


def _used(ctx: click.Context | None = None) -> _Used | None:
    context = ctx or click.get_current_context(silent=True)
    found = context.meta.get(_META) if context is not None else None
    return found if isinstance(found, _Used) else None


def used() -> str | None:
    """Returns the path of the file that the verb takes defaults from, or None."""
    found = _used()
    return str(found.config.path) if found is not None and (found.keys or found.results) else None


def results() -> Path:
    """Returns the folder that has a folder of each run, where none is named."""
    found = _used()
    return found.results if found is not None and found.results is not None else RESULTS


def given_as(ctx: click.Context, name: str) -> str | None:
    """Returns the option or the variable that the value of a parameter was given by; None for a default."""
    source = ctx.get_parameter_source(name)
    param = next(one for one in ctx.command.params if one.name == name)
    if source is ParameterSource.ENVIRONMENT:
        return str(param.envvar)
    return None if source in {ParameterSource.DEFAULT, None} else param.opts[0]


def is_given(ctx: click.Context, name: str) -> bool:
    """Returns True if a parameter has its value from the command line or a variable."""
    return ctx.get_parameter_source(name) in {ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT}


def is_default(ctx: click.Context, name: str) -> bool:
    """Returns True if a parameter has its value from a file."""
    return ctx.get_parameter_source(name) is ParameterSource.DEFAULT_MAP


def blamed(text: str, context: click.Context) -> str:
    """Returns an error that begins with an option, with the file and the key that gave its value in that place."""
    found = _used(context)
    if found is None:
        return text
    for param in found.context.command.params:
        name = str(param.name)
        if name in found.keys and is_default(found.context, name):
            names = param.opts if isinstance(param, click.Option) else [param.make_metavar(found.context)]
            for one in names:
                if text.startswith((f"{one} ", f"{one}: ")):
                    return f"{found.config.name}: {found.keys[name]}{text[len(one) :]}"
    return text
