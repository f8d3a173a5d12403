"""`codecbench list`, `check` and `new-codec`: installed plugins, and tools for authors of codecs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codecbench.cli.described import chosen_workload, describing
from codecbench.cli.options import DataDir, Plugins, check_data_dir, debugging, echo, show
from codecbench.errors import UsageError
from codecbench.experiment.config import DEFAULT_WORKLOAD
from codecbench.locations import frames_of
from codecbench.names import counted, pick
from codecbench.registry import codec_plugins, codecs, devices, links, manager, workloads

if TYPE_CHECKING:
    from codecbench.codec import Codec
    from codecbench.kit.runner import Outcome


class ListKind(StrEnum):
    """The kinds that `codecbench list` accepts."""

    CODECS = "codecs"
    WORKLOADS = "workloads"
    LINKS = "links"
    DEVICES = "devices"
    SPLITS = "splits"


@describing
def list_(
    described: dict[str, Any],
    kind: Annotated[ListKind, typer.Argument(help="The kind to list.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array of objects.")] = False,
    workload: Annotated[
        str | None,
        typer.Option(
            "--workload", metavar="W", help=f"The workload whose split points are listed [default: {DEFAULT_WORKLOAD}]."
        ),
    ] = None,
    plugin: Plugins = None,
    data_dir: DataDir = None,
) -> None:
    """List installed codecs, workloads, links, devices or a model's split points."""
    from codecbench.cli import catalogue
    from codecbench.descriptions.catalogue import LocalCatalogue

    asked = {"--workload": workload, "--data-dir": data_dir, **{f"--{key}": value for key, value in described.items()}}
    for option, value in asked.items():
        if value is not None and kind is not ListKind.SPLITS:
            raise UsageError(f"{option} is for 'codecbench list splits', not for 'codecbench list {kind}'")
    check_data_dir(data_dir)
    pm = manager(plugin or ())
    if kind is ListKind.SPLITS:
        rows = catalogue.split_rows(chosen_workload(workload, described, plugin or (), data_dir), data_dir)
    else:
        rows = {
            ListKind.CODECS: lambda: catalogue.codec_rows(LocalCatalogue(pm).summaries()),
            ListKind.WORKLOADS: lambda: catalogue.workload_rows(workloads(pm)),
            ListKind.LINKS: lambda: catalogue.link_rows(links(pm)),
            ListKind.DEVICES: lambda: catalogue.device_rows(devices(pm)),
        }[kind]()
    show(json.dumps(rows, indent=1) if as_json else catalogue.text(rows))


def check(
    codec: Annotated[
        str, typer.Argument(metavar="CODEC|FILE", help="A codec's name, or a plugin file: all its codecs.")
    ],
    update_golden: Annotated[
        bool, typer.Option("--update-golden", help="Write golden bitstreams that are missing or of an older version.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print failures and the sum only.")] = False,
    plugin: Plugins = None,
) -> None:
    """Check a codec against the contract with the conformance kit."""
    from codecbench import testing

    def print_outcome(outcome: Outcome) -> None:
        if not quiet or outcome.status == "failed":
            _show_outcome(outcome)

    outcomes = testing.run_checks(
        _codecs_to_check(codec, plugin or ()), update_golden=update_golden, on_outcome=print_outcome
    )
    failed = sum(outcome.status == "failed" for outcome in outcomes)
    echo(f"{counted(len(outcomes), 'check')}, {failed} failed")
    if failed:
        raise typer.Exit(1)


def _show_outcome(outcome: Outcome) -> None:
    """Print an outcome, and with --debug the lines of the codec's own code where a check failed."""
    show(outcome.line())
    if debugging.get() and outcome.error is not None:
        for line in frames_of(outcome.error):
            show(f"  {line}")


def _codecs_to_check(text: str, plugins: Sequence[Path]) -> list[type[Codec]]:
    """Return the codec of a name, or all that a plugin file registers. Raises UsageError where there are none."""
    path = Path(text)
    if not (path.suffix == ".py" or "/" in text or path.is_file()):
        known = codecs(manager(plugins))
        file = Path(f"{text.replace('-', '_')}.py")
        if text not in known and file.is_file():
            raise UsageError(f"no codec {text!r} is installed; a plugin file is named with its ending: {file}")
        return [pick(known, text, "codec")]
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a plugin file, or a codec")
    pm = manager([path, *(other for other in plugins if other.resolve() != path.resolve())])
    known, own = codecs(pm), codec_plugins(pm)
    chosen = [known[name] for name, hooks in own.items() if Path(hooks.file or "").resolve() == path.resolve()]
    if not chosen:
        raise UsageError(f"{path} registers no codec; return its classes from codecbench_register_codecs()")
    return chosen


def new_codec(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The codec's name: lower case, hyphens.")],
    folder: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where to write.")] = Path(),
) -> None:
    """Write a working plugin and its test, to start from."""
    from codecbench.cli import scaffold

    paths = scaffold.new_codec(name, folder)
    for path in paths:
        echo(f"wrote {path}")
    echo(f"next: {shlex.join(['codecbench', 'check', str(paths[0])])}")
