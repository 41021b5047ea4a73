"""The command line: one function a verb, each returns the exit status. Only here is anything printed."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from bnsuite import __version__
from bnsuite.launch.plan import PLANS, asked
from bnsuite.record.errors import InputError, NotMeasuredError

if TYPE_CHECKING:
    from bnsuite.launch.session import Session
    from bnsuite.record.reference import Reference
    from bnsuite.record.schema import Run

RESULTS = Path("results")
LATEST = RESULTS / "latest"
FINDINGS = "findings.json"


class _Parser(argparse.ArgumentParser):
    """argparse, but an error is one line that names the mend."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see `{self.prog} --help`")


def _parser(verb: str) -> _Parser:
    summary, _, add_options = VERBS[verb]
    epilog = None
    prog = f"bnsuite {verb}"
    if verb == "run":
        prog = "bnsuite"
        width = max(map(len, VERBS))
        verbs = "\n".join(f"  {name:{width}}  {text}" for name, (text, _, _) in VERBS.items())
        epilog = (
            f"verbs (`bnsuite VERB --help` tells more; without one: run):\n{verbs}\n\n"
            "exit status: 0 nothing wrong, 1 a regression, 2 usage or unusable input, 3 not measured as asked"
        )
    parser = _Parser(
        prog=prog,
        usage="bnsuite [VERB] [OPTION ...]" if verb == "run" else None,
        description=summary,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--version", action="version", version=f"bnsuite {__version__}")
    add_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status (see ``judge/verdict.py``)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `docker stop` ends a run as Ctrl-C does
    try:
        verb = arguments.pop(0) if arguments and not arguments[0].startswith("-") else "run"
        if verb not in VERBS:
            raise InputError(f"{verb!r} is not a verb; choose from {', '.join(VERBS)}, see `bnsuite --help`")
        options = _parser(verb).parse_args(arguments)
        status = VERBS[verb][1](options)
        sys.stdout.flush()
        return status
    except InputError as error:
        return _fail(error, 2, debug)
    except KeyboardInterrupt as error:
        return _fail(error, 3, debug, "interrupted")
    except NotMeasuredError as error:
        return _fail(error, 3, debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has left, as `head` does
        return 0
    except Exception as error:  # noqa: BLE001  # the last resort: still one line and the right status
        text = str(error).strip().splitlines()
        return _fail(error, 3, debug, f"{type(error).__name__}: {text[0] if text else ''}; --debug shows where")


def _fail(error: BaseException, status: int, debug: bool, text: str | None = None) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    print(f"bnsuite: {text or error}", file=sys.stderr)
    return status


# run: measure, judge, print


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto (default), cpu, cuda or cuda:N")
    parser.add_argument(
        "--profile", default="quick", choices=tuple(PLANS), help="how much is measured (default: quick)"
    )
    parser.add_argument("-k", metavar="EXPR", help="only the cases whose id matches, as in 'batch_norm2d and not nhwc'")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where results go (default: results/TIME)")
    parser.add_argument("--threads", type=_positive(int), default=1, metavar="N", help="CPU threads (default: 1)")
    parser.add_argument(
        "--timeout", type=_positive(float), default=120.0, metavar="S", help="seconds a case may take (default: 120)"
    )
    _baselines_option(parser)
    _verdict_options(parser)


def _run(options: argparse.Namespace) -> int:
    from bnsuite.launch.session import Session
    from bnsuite.record.files import make_folder
    from bnsuite.report.progress import listener

    request = asked(
        device=options.device,
        profile=options.profile,
        select=options.k,
        threads=options.threads,
        timeout_s=options.timeout,
    )
    folder = options.out or _default_out()
    make_folder(folder)
    shown, listen = listener(sys.stderr)
    unwritable: InputError | None = None
    with Session(request, folder, listen) as session:
        try:
            with shown:
                _measure(session, options)
        except KeyboardInterrupt:
            if session.run is None:
                raise
            session.end("interrupted")
        except InputError as error:
            if session.run is None:
                raise
            unwritable = error
        run = session.run
        assert run is not None
        for warning in session.warnings:
            print(f"bnsuite: {warning}", file=sys.stderr)
    if unwritable is None and options.out is None and "BNSUITE_OUT" not in os.environ:
        _point_latest_to(folder)
    status = _conclude(run, _reference(options, run), None if unwritable else folder, options)
    if unwritable is not None:
        raise unwritable
    return status


def _measure(session: Session, options: argparse.Namespace) -> None:
    from bnsuite.judge.gates import judge
    from bnsuite.judge.verdict import Verdict

    reference = _reference(options, session.prepare())  # unusable baselines are found before the measuring
    session.follow_curves()
    run = session.time()
    slower = {one.case for one in judge(run, reference) if (one.gate, one.verdict) == ("timing", Verdict.REGRESSED)}
    if slower:  # a slowdown is only believed when fresh launches show it again
        session.time(slower)
    session.end()


def _default_out() -> Path:
    """``$BNSUITE_OUT``, or a new folder named by the time."""
    chosen = os.environ.get("BNSUITE_OUT")
    return Path(chosen) if chosen else RESULTS / datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def _point_latest_to(folder: Path) -> None:
    """Make results/latest lead to the newest run; where a file system has no links, it just does not exist."""
    link = folder.parent / "latest"
    with contextlib.suppress(OSError):
        link.unlink(missing_ok=True)
        link.symlink_to(folder.name)


# check, show, accept, list


def _check_options(parser: argparse.ArgumentParser) -> None:
    _run_argument(parser)
    against = parser.add_mutually_exclusive_group()
    _baselines_option(against)
    against.add_argument("--against", type=Path, metavar="RUN", help="another run instead of the baselines")
    _verdict_options(parser)


def _check(options: argparse.Namespace) -> int:
    from bnsuite.record import store
    from bnsuite.record.key import machine_key
    from bnsuite.record.reference import from_run

    run = store.load(options.run)
    if options.against is None:
        return _conclude(run, _reference(options, run), None, options)
    other = from_run(store.load(options.against), str(options.against), machine_key(run))
    return _conclude(run, other, None, options)


def _show(options: argparse.Namespace) -> int:
    from bnsuite.judge.verdict import Judgement
    from bnsuite.record import store
    from bnsuite.record.files import read_text
    from bnsuite.report.table import terminal

    run = store.load(options.run)
    path = (options.run if options.run.is_dir() else options.run.parent) / FINDINGS
    if not path.exists():
        raise InputError(f"{path}: there are no verdicts yet; make them with `bnsuite check {options.run}`")
    text = read_text(path, "verdicts")
    judgement = store.parse(Judgement, text, path)
    print(text.rstrip() if options.json else terminal(run, list(judgement.findings), judgement.status))
    return 0


def _show_options(parser: argparse.ArgumentParser) -> None:
    _run_argument(parser)
    parser.add_argument("--json", action="store_true", help="findings for machines")


def _accept_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="*",
        type=Path,
        default=[LATEST],
        metavar="RUN",
        help=f"folders of runs of one machine; several tell how it drifts (default: {LATEST})",
    )
    _baselines_option(parser)
    parser.add_argument("--dry-run", action="store_true", help="show what would change and write nothing")


def _accept(options: argparse.Namespace) -> int:
    from bnsuite.record import baselines, store
    from bnsuite.report.table import changes as changes_table

    folder = _baselines(options)
    changes, files = baselines.accept([store.load(path) for path in options.runs], folder)
    print(changes_table(changes))
    if options.dry_run:
        print("nothing written (--dry-run)")
        return 0
    baselines.write(files)
    for path in files:
        print(f"wrote {path}")
    return 0


def _list_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--profile", default="full", choices=tuple(PLANS), help="the cases of a profile (default: full)"
    )
    parser.add_argument("-k", metavar="EXPR", help="only the cases whose id matches")


def _list(options: argparse.Namespace) -> int:
    from bnsuite.launch.inquiry import catalogue
    from bnsuite.report.table import cases as cases_table

    print(cases_table(catalogue(options.profile, options.k)))
    return 0


# What several verbs share


def _positive(kind: type[int | float]) -> Callable[[str], int | float]:
    def parse(text: str) -> int | float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(0)
        if not 0 < value < 1e9:
            raise argparse.ArgumentTypeError(f"{text!r} is not a positive {'whole ' if kind is int else ''}number")
        return value

    return parse


def _run_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", nargs="?", type=Path, default=LATEST, metavar="RUN", help=f"the folder of a run (default: {LATEST})"
    )


def _baselines_option(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--baselines", type=Path, metavar="DIR", help="accepted references (default: $BNSUITE_BASELINES or baselines/)"
    )


def _verdict_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--strict", action="store_true", help="INCONCLUSIVE, NO_BASELINE and SKIPPED end with status 3, not 0"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON instead of the table")


def _baselines(options: argparse.Namespace) -> Path:
    named: Path | None = options.baselines
    return named or Path(os.environ.get("BNSUITE_BASELINES", "baselines"))


def _reference(options: argparse.Namespace, run: Run) -> Reference:
    """The baselines for `run`; only a folder that was named must be there."""
    from bnsuite.record import baselines
    from bnsuite.record.reference import Reference

    folder = _baselines(options)
    if folder.is_dir():
        return baselines.load(folder, run)
    if options.baselines is not None:
        raise InputError(f"--baselines {folder}: there is no such folder; `bnsuite accept` makes one")
    return Reference(name=f"{folder}/", no_timing=f"there is no {folder}/ here; name it with --baselines")


def _conclude(run: Run, reference: Reference, folder: Path | None, options: argparse.Namespace) -> int:
    """Judge, print, and write the verdicts into `folder` if there is one; returns the exit status."""
    from bnsuite.judge.gates import judge
    from bnsuite.judge.verdict import SCHEMA, Judgement, exit_status
    from bnsuite.record.files import write_atomically
    from bnsuite.report.table import markdown, terminal

    findings = judge(run, reference)
    status = exit_status(findings, finished=run.finished, strict=options.strict)
    judgement = Judgement(schema=SCHEMA, reference=reference.name, status=status, findings=tuple(findings))
    text = judgement.model_dump_json(by_alias=True, indent=1)
    print(text if options.json else terminal(run, findings, status), flush=True)
    if folder is not None:
        write_atomically(folder / FINDINGS, text + "\n")
        write_atomically(folder / "report.md", markdown(run, findings, status))
    return status


AddOptions = Callable[[argparse.ArgumentParser], None]
Verb = Callable[[argparse.Namespace], int]

VERBS: dict[str, tuple[str, Verb, AddOptions]] = {
    "run": ("measure, judge and print the verdict table", _run, _run_options),
    "list": ("the cases there are", _list, _list_options),
    "check": ("judge a run again, against baselines or another run", _check, _check_options),
    "accept": ("make runs the baseline, after showing what changes", _accept, _accept_options),
    "show": ("a run's verdict table again", _show, _show_options),
}
