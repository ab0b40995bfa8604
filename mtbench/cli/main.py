"""The entry point: verbs, exit codes, and errors as one message."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

import mtbench
from mtbench import interrupts
from mtbench.errors import DataError, MtbenchError, StoreError

VERBS = (
    "run", "sweep", "tune", "leaderboard", "compare", "plot", "ls", "info", "prepare", "score", "export", "doctor",
    "clean",
)  # fmt: skip
GROUPS = ("check", "new")
_WRONG_PATH = {errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS}
"""What a path that a user named wrongly gives; other errors of the file system, such as a full disk, fail the run."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
# typer carries its own copy of click, or uses the installed one: its base error is found through a public child
_CLICK_ERROR: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def build_app() -> typer.Typer:
    """All verbs; each file imports its heavy libraries when it is called."""
    import importlib

    app = typer.Typer(
        name="mtbench",
        help="A benchmark harness for multitask optimizers in dense retrieval.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_version_option)
    for verb in VERBS:
        module = importlib.import_module(f"mtbench.cli.{verb}")
        app.command(verb)(module.command)
    for group in GROUPS:
        module = importlib.import_module(f"mtbench.cli.{group}")
        app.add_typer(module.app, name=group)
    return app


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"mtbench {mtbench.__version__}")
        raise typer.Exit


def _version_option(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 a run failed, 2 a user's mistake, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1":
        return _as_rank(arguments)
    return _run(arguments)


def _as_rank(arguments: list[str]) -> int:
    """One of several processes that ``torchrun`` has started."""
    from mtbench.pipeline.followers import with_ranks

    return with_ranks(lambda: _run(arguments))


@contextlib.contextmanager
def _any_name_printed() -> Iterator[None]:
    """The name of a file may have bytes that are no UTF-8: they are printed as escapes."""
    strict = [s for s in (sys.stdout, sys.stderr) if isinstance(s, io.TextIOWrapper) and s.errors == "strict"]
    for stream in strict:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream in strict:
            with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads any more
                stream.reconfigure(errors="strict")


def _run(arguments: list[str]) -> int:
    with interrupts.told_to_end(), _any_name_printed():
        return _run_command(arguments)


def _run_command(arguments: list[str]) -> int:
    command = typer.main.get_command(build_app())
    try:
        code = command.main(args=arguments, prog_name="mtbench", standalone_mode=False)
        if code == 130:
            return _interrupted(arguments)
        return code if isinstance(code, int) else 0
    except MtbenchError as error:
        place = error.place if isinstance(error, DataError) else None
        return _tell(arguments, type(error).__name__, str(error), place, error.exit_code)
    except typer.Exit as stop:
        return _interrupted(arguments) if stop.exit_code == 130 else int(stop.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(arguments)
    except _CLICK_ERROR as error:
        if type(error).__name__ == "NoArgsIsHelpError" or not _as_json(arguments):
            error.show()  # type: ignore[attr-defined]
            return 0 if type(error).__name__ == "NoArgsIsHelpError" else 2
        return _tell(arguments, "UsageError", error.format_message(), None, 2)  # type: ignore[attr-defined]
    except SystemExit as stop:  # what the command line library makes of a reader that has gone
        if isinstance(stop.__context__, OSError) and stop.__context__.errno == errno.EPIPE:
            return 0
        raise
    except OSError as error:
        if error.errno == errno.EPIPE:
            return 0
        if error.filename is None and error.errno not in _FULL:
            raise
        place = error.filename or "cannot write (output, results or store)"
        code = 2 if error.errno in _WRONG_PATH else StoreError.exit_code
        return _tell(arguments, type(error).__name__, f"{place}: {error.strerror}", str(place), code)


def _as_json(arguments: list[str]) -> bool:
    return "--json" in arguments


def _tell(arguments: list[str], kind: str, message: str, place: str | None, code: int) -> int:
    """One message on standard error; with ``--json`` one object on standard output. Returns ``code``."""
    if not _as_json(arguments):
        print(f"mtbench: {message}", file=sys.stderr)
        return code
    from mtbench.cli.common import emit_json, error_object

    records: dict[str, list[object]] = {"records": []} if code == 1 else {}
    emit_json({"error": error_object(kind, message, place), **records})
    return code


def _interrupted(arguments: list[str]) -> int:
    resume = shlex.join(["mtbench", *arguments])
    print(f"\nmtbench: interrupted; nothing is lost. Go on with:\n  {resume}", file=sys.stderr)
    return 130


def entry() -> None:
    """The console script."""
    from mtbench.allocator import keep_freed_memory

    keep_freed_memory()
    code = main()
    try:
        sys.stdout.flush()
    except OSError as error:  # what is left cannot be written: neither now nor when the interpreter ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno != errno.EPIPE:
            code = code or StoreError.exit_code
    # Where Ctrl-C came while Python ran a piece of source text (dataclasses and torch do, when they are imported),
    # CPython remembers it, and `python -m mtbench` would die of SIGINT whatever the code. The next text clears that.
    exec("")
    sys.exit(code)
