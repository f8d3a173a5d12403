"""Options, printing and selections that several commands share."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codecbench.devices.profile import HOST, pick_device
from codecbench.errors import UsageError
from codecbench.links.files import pick_link
from codecbench.names import pick
from codecbench.registry import devices, links

if TYPE_CHECKING:
    import pluggy

    from codecbench.analysis.latency import Scenario
    from codecbench.results.record import Record
    from codecbench.results.store import Store

DEFAULT_LINK = "wifi-450"
DEFAULT_LINKS = (DEFAULT_LINK, "lte")
"""The default links of figures and of the report."""

MAX_MS = 3.6e6
"""The longest time that an option in milliseconds takes: an hour."""

DEFAULT_OUT = Path("codecbench-results")

Plugins = Annotated[
    list[Path] | None, typer.Option("--plugin", metavar="FILE", help="A .py file with more plugins; repeatable.")
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", metavar="DIR", help="The folder of fetched datasets.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="The results folder.")]
WorkloadName = Annotated[str, typer.Option("--workload", metavar="W", help="A workload's name.")]
OnlyWorkload = Annotated[str | None, typer.Option("--workload", metavar="W", help="Only this workload.")]
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
    str,
    typer.Option("--device", metavar="NAME|FILE", help="The device: host, as measured, or a profile that predicts."),
]
EdgeName = Annotated[
    str, typer.Option("--edge", metavar="NAME|FILE", help="The edge: host, as measured, or a profile that predicts.")
]


def show(text: str) -> None:
    """Writes a result to stdout. Ends the program silently if the pipe is closed (`codecbench list codecs | head`)."""
    try:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def echo(line: str) -> None:
    """Writes a message to stderr."""
    sys.stderr.write(line + "\n")


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


def some_records(store: Store) -> list[Record]:
    """Return the records of a folder. Raises UsageError, with the folder, where there are none."""
    records = store.records()
    if not records:
        command = shlex.join(["codecbench", "run", "--out", str(store.out)])
        raise UsageError(f"there are no records in {store.out}; `{command}` makes some")
    return records


def check_milliseconds(option: str, value: float) -> None:
    """Raise UsageError, with the option, unless the value is a number of milliseconds that one can wait."""
    if not 0 <= value <= MAX_MS:
        raise UsageError(f"{option} is a number of milliseconds from 0 on, not {value:g}")


def terminal_columns() -> int:
    """Returns the width of the terminal, or 120 where there is none."""
    return shutil.get_terminal_size((120, 24)).columns


def only(records: Sequence[Record], field: str, values: Sequence[str] | None) -> list[Record]:
    """Returns the records whose key has one of these values, or all. Raises UsageError for a value without records."""
    known = {str(getattr(record.key, field)): None for record in records}
    for name in values or ():
        pick(known, name, f"{field} in these records:")
    return [record for record in records if not values or getattr(record.key, field) in values]


def scenario(pm: pluggy.PluginManager, store: Store, link: str, device: str = HOST, edge: str = HOST) -> Scenario:
    """Returns the scenario that the options name. Raises UsageError for an unknown name or a missing file."""
    from codecbench.analysis.latency import Scenario

    profiles = devices(pm)
    device_profile, edge_profile = (None if name == HOST else pick_device(name, profiles) for name in (device, edge))
    layers = store.all_layers() if device_profile or edge_profile else {}
    return Scenario(pick_link(link, links(pm)), device_profile, edge_profile, layers)
