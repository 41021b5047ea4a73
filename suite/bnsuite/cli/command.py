"""From arguments to exit status: the verbs there are, and how every error ends in one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from bnsuite import __version__
from bnsuite.cli import ab, accept, bisect, check, claims, figures, list_cases, output, run, selftest, show
from bnsuite.launch.process import interrupts
from bnsuite.record.errors import InputError, NotMeasuredError, one_line

#: A verb is a module with SUMMARY, add_options(parser) and main(options) -> exit status; without a verb: run.
VERBS: dict[str, ModuleType] = {
    "run": run,
    "list": list_cases,
    "ab": ab,
    "bisect": bisect,
    "check": check,
    "accept": accept,
    "show": show,
    "claims": claims,
    "figures": figures,
    "selftest": selftest,
}


class _Parser(argparse.ArgumentParser):
    """argparse, but an error is one line that names the hint."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see `{self.prog} --help`")


def _parser(verb: str) -> _Parser:
    alone = verb == "run"
    parser = _Parser(
        prog="bnsuite" if alone else f"bnsuite {verb}",
        usage="bnsuite [VERB] [OPTION ...]" if alone else None,
        description=VERBS[verb].SUMMARY,
        epilog=_overview() if alone else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--version", action="version", version=f"bnsuite {__version__}")
    VERBS[verb].add_options(parser)
    return parser


def _overview() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:{width}}  {verb.SUMMARY}" for name, verb in VERBS.items())
    return (
        f"verbs (`bnsuite VERB --help` tells more; without one: run):\n{verbs}\n\n"
        "exit status: 0 nothing wrong, 1 a regression, 2 usage or unusable input, 3 not measured as asked"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status (see ``judge/verdict.py``)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    output.prepare()
    interrupts.raise_interrupt()
    try:
        verb = arguments.pop(0) if arguments and not arguments[0].startswith("-") else "run"
        if verb not in VERBS:
            raise InputError(f"{verb!r} is not a verb; choose from {', '.join(VERBS)}, see `bnsuite --help`")
        status: int = VERBS[verb].main(_parser(verb).parse_args(arguments))
        return status
    except InputError as error:
        return _fail(error, 2, debug)
    except NotMeasuredError as error:
        return _fail(error, 3, debug)
    except KeyboardInterrupt as error:
        return _fail(error, interrupts.STATUS, debug, "interrupted")
    except Exception as error:  # noqa: BLE001  # the last resort: still one line and a status that is no verdict
        if isinstance(error, PermissionError) and error.filename is not None:
            text = f"{error.filename}: {error.strerror}; give this user access (in a container: docker run --user)"
            return _fail(error, 2, debug, text)
        return _fail(
            error, 3, debug, "interrupted" if interrupts.received() else f"{one_line(error)}; --debug shows where"
        )


def _fail(error: BaseException, status: int, debug: bool, text: str | None = None) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    output.remark(text or str(error))
    return status
