"""Options, printing and selections that several commands share."""

from __future__ import annotations

import codecs
import functools
import inspect
import io
import os
import select
import shutil
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from codecbench.api.choices import DEFAULT_DEVICE, DEFAULT_EDGE, DEFAULT_LINKS
from codecbench.errors import UsageError
from codecbench.experiment.config import DEFAULT_WORKLOAD, load
from codecbench.names import pick
from codecbench.registry import manager, workloads
from codecbench.system.files import reason_of
from codecbench.workload import Workload

debugging: ContextVar[bool] = ContextVar("debugging", default=False)
"""True while a command runs with --debug."""

MAX_MS = 3.6e6
"""The longest time that an option in milliseconds takes: an hour."""

Plugins = Annotated[
    list[Path] | None, typer.Option("--plugin", metavar="FILE", help="A .py file with more plugins; repeatable.")
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", metavar="DIR", help="The folder of fetched datasets.")]
CacheDir = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir", metavar="DIR", help="The cache of fitted states [default: CODECBENCH_CACHE or the user's cache]."
    ),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="The results folder.")]
WorkloadName = Annotated[str, typer.Option("--workload", metavar="W", help="A workload's name.")]
OnlyWorkload = Annotated[str | None, typer.Option("--workload", metavar="W", help="Only this workload.")]
OneWorkload = Annotated[
    str | None,
    typer.Option(
        "--workload", metavar="W", help=f"The workload [default: the only one in the records, or {DEFAULT_WORKLOAD}]."
    ),
]
SampleSet = Annotated[
    str | None, typer.Option("--sample-set", metavar="ID", help="Only this sample set [default: the largest].")
]
Budget = Annotated[
    float | None,
    typer.Option("--budget", metavar="X", help="Accepted loss in the metric's own unit [default: the workload's]."),
]
LinkName = Annotated[
    str,
    typer.Option(
        "--link", metavar="NAME|FILE", help="The network: a link's name, a fitted link (.json) or a trace (.trace)."
    ),
]
LinkNames = Annotated[
    list[str] | None,
    typer.Option(
        "--link",
        metavar="NAME|FILE",
        help=f"A network, as in `plan`; repeatable [default: {', '.join(DEFAULT_LINKS)}].",
    ),
]
DeviceName = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME|FILE",
        help=f"The device: host, as measured, or a profile that predicts [default: {DEFAULT_DEVICE}].",
    ),
]
MixMachines = Annotated[
    bool, typer.Option("--mix-machines", help="Also take times of other machines than the one that timed most cells.")
]
EdgeName = Annotated[
    str | None,
    typer.Option(
        "--edge",
        metavar="NAME|FILE",
        help=f"The edge: host, as measured, or a profile that predicts [default: {DEFAULT_EDGE}].",
    ),
]


_PLAIN = {
    "\N{PLUS-MINUS SIGN}": "+/-", "\N{MULTIPLICATION SIGN}": "x", "\N{MINUS SIGN}": "-", "\N{EN DASH}": "-",
    "\N{EM DASH}": "-", "\N{LESS-THAN OR EQUAL TO}": "<=", "\N{GREATER-THAN OR EQUAL TO}": ">=",
    "\N{RIGHTWARDS ARROW}": "->", "\N{DOWNWARDS ARROW}": "v", "\N{UPWARDS ARROW}": "^", "\N{MIDDLE DOT}": ".",
    "\N{DAGGER}": "+", "\N{DOUBLE DAGGER}": "++", "\N{DEGREE SIGN}": "^", "\N{SECTION SIGN}": "#",
    "\N{LATIN SMALL LETTER O WITH STROKE}": "o", "\N{MICRO SIGN}": "u",
    "\N{LEFT SINGLE QUOTATION MARK}": "'", "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"', "\N{RIGHT DOUBLE QUOTATION MARK}": '"', "\N{BULLET}": "*",
}  # fmt: skip
"""Replacements for characters that a terminal lacks. Others become the letters that Unicode composes them of."""


def show(text: str) -> None:
    """Writes a result to stdout. Ends the program silently if the pipe is closed (`codecbench list codecs | head`)."""
    try:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
        raise SystemExit(0) from None
    except OSError as error:
        _discard(sys.stdout)
        raise UsageError(f"cannot write the output ({reason_of(error)}); send it elsewhere") from error


def echo(line: str) -> None:
    """Writes a message to stderr, if anybody is there to read it."""
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)


def close_output() -> bool:
    """Sends output whose reader has gone nowhere, as Python flushes it again at its exit; True if there is some."""
    gone = [stream for stream in (sys.stdout, sys.stderr) if _has_no_reader(stream)]
    for stream in gone:
        _discard(stream)
    return bool(gone)


def drop_unwritten() -> None:
    """Gives up what cannot be written, as on a full disk: Python would try again at its exit, and say so."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _discard(stream)


def _has_no_reader(stream: TextIO) -> bool:
    poll = select.poll()
    try:
        poll.register(stream.fileno(), select.POLLOUT)
    except (OSError, ValueError):
        return False
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def _discard(stream: TextIO) -> None:
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def print_any_text() -> None:
    """Lets stdout and stderr take every text: what their encoding lacks is replaced by simpler characters.

    Where one of them is closed, texts go nowhere, and no other file gets its descriptor.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    codecs.register_error("codecbench-plain", _in_plain_characters)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="codecbench-plain")


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    found = error.object[error.start : error.end]
    return "".join(map(_plain, found)), error.end


def _plain(character: str) -> str:
    simpler = _PLAIN.get(character) or unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return simpler or "?"


def warn_renamed(old: str, new: str) -> None:
    """Prints that an option or command has a new name; the old one works for one more version."""
    echo(f"{old} is now {new}; the next version removes the old spelling")


def check_data_dir(folder: Path | None) -> None:
    """Raise UsageError unless the folder of datasets, if one is given, is there."""
    if folder is not None and not folder.is_dir():
        raise UsageError(f"--data-dir {folder}: there is no such folder; 'codecbench data get' fetches data into one")


def check_writable(option: str, folder: Path) -> None:
    """Raise UsageError, with the option, unless files can be written in the folder. Folders made meanwhile are removed.

    It is asked before long work whose result would otherwise be lost.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"{option}: cannot write to {folder} ({error.strerror}); choose another folder") from error
    finally:
        for each in made:
            with suppress(OSError):
                each.rmdir()


def check_file(option: str, path: Path | None) -> None:
    """Raise UsageError, with the option, unless a file of this name can be written in a folder that is there."""
    if path is None:
        return
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path} ({option}): there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise UsageError(f"cannot write {path} ({option}): it is a folder; name a file")
    check_writable(option, path.parent)


def check_milliseconds(option: str, value: float) -> None:
    """Raise UsageError, with the option, unless the value is a number of milliseconds that one can wait."""
    if not 0 <= value <= MAX_MS:
        raise UsageError(f"{option} is a number of milliseconds from 0 on, not {value:g}")


def terminal_columns() -> int:
    """Returns the width of the terminal, or 120 where there is none."""
    return shutil.get_terminal_size((120, 24)).columns


def columns_of_a_terminal() -> int | None:
    """Returns the width of the terminal that is written to; None for a file or a pipe, whose lines may be long."""
    return terminal_columns() if sys.stdout.isatty() else None


PANEL: dict[str, Any] = {
    "model": Annotated[
        str | None,
        typer.Option("--model", metavar="KIND:NAME", help="Describe a workload: its model, such as hf:NAME-OR-FOLDER."),
    ],
    "data": Annotated[
        str | None, typer.Option("--data", metavar="KIND:PLACE", help="Its data, such as imagefolder:DIR.")
    ],
    "task": Annotated[
        str | None, typer.Option("--task", metavar="TASK", help="Its task, such as classification or agreement.")
    ],
    "weights": Annotated[
        str | None,
        typer.Option("--weights", metavar="FILE", help="The model's weights, .safetensors; or random, to try it out."),
    ],
    "name": Annotated[
        str | None, typer.Option("--name", metavar="W", help="The described workload's name [default: made of it].")
    ],
    "size": Annotated[
        int | None, typer.Option("--size", metavar="N", help="Side of the model's pictures [default: the model's].")
    ],
    "shape": Annotated[
        str | None,
        typer.Option("--shape", metavar="AxBxC", help="Shape of other inputs; ..N for an axis that varies up to N."),
    ],
    "labels": Annotated[
        str | None, typer.Option("--labels", metavar="FILE", help="Names of the model's classes in order, one a line.")
    ],
    "budget": Annotated[
        float | None, typer.Option("--budget", metavar="X", help="Usual accepted loss of the described workload.")
    ],
}  # fmt: skip
"""The type and help of each option, by its key in a description."""
ARGUMENT = "described"
"""The argument in which a command gets these options."""


def describing(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with these options in the place of its argument `described`, a mapping of the used ones."""
    signature = inspect.signature(command, eval_str=True)
    options = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for key, kind in PANEL.items()
    ]
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values() if parameter.name != ARGUMENT
    ]  # fmt: skip
    at = next((n for n, parameter in enumerate(own) if parameter.name == "workload"), -1) + 1

    @functools.wraps(command)
    def with_options(**values: Any) -> None:
        described = {key: found for key in PANEL if (found := values.pop(key)) is not None}
        command(**values, **{ARGUMENT: described})

    parameters = [*own[:at], *options, *own[at:]]
    with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options


def chosen_workload(
    workload: str | None, described: Mapping[str, Any], plugins: Sequence[Path], data_dir: Path | None
) -> type[Workload]:
    """Return the workload of a name or of a description. Raises UsageError where there is none."""
    if described:
        from codecbench.adapters.described import workload_class

        config = load(None, {"workload": workload, "data_dir": data_dir, **described})
        assert config.description is not None
        return workload_class(config.description)
    return pick(workloads(manager(plugins)), workload or DEFAULT_WORKLOAD, "workload")
