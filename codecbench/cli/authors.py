"""`codecbench list`, `check` and `new-codec`: installed plugins, and tools for authors of codecs."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codecbench.cli.options import DataDir, Plugins, WorkloadName, debugging, echo, show
from codecbench.experiment.config import DEFAULT_WORKLOAD
from codecbench.locations import frames_of
from codecbench.names import pick
from codecbench.registry import codecs, devices, links, manager, workloads

if TYPE_CHECKING:
    from codecbench.testing import Outcome


class ListKind(StrEnum):
    """The kinds that `codecbench list` accepts."""

    CODECS = "codecs"
    WORKLOADS = "workloads"
    LINKS = "links"
    DEVICES = "devices"
    SPLITS = "splits"


def list_(
    kind: Annotated[ListKind, typer.Argument(help="The kind to list.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array of objects.")] = False,
    workload: WorkloadName = DEFAULT_WORKLOAD,
    plugin: Plugins = None,
    data_dir: DataDir = None,
) -> None:
    """List installed codecs, workloads, links, devices or a model's split points."""
    from codecbench.cli import catalogue
    from codecbench.descriptions.catalogue import LocalCatalogue

    pm = manager(plugin or ())
    if kind is ListKind.SPLITS:
        rows = catalogue.split_rows(pick(workloads(pm), workload, "workload"), data_dir)
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
    plugin: Plugins = None,
) -> None:
    """Check a codec against the contract with the conformance kit."""
    from codecbench import testing

    files = [Path(codec), *(plugin or [])] if codec.endswith(".py") else plugin or []
    known = codecs(manager(files))
    if codec.endswith(".py"):
        chosen = [
            c
            for c in known.values()
            if Path(sys.modules[c.__module__].__file__ or "").resolve() == Path(codec).resolve()
        ]
    else:
        chosen = [pick(known, codec, "codec")]
    outcomes = testing.run_checks(chosen, update_golden=update_golden, on_outcome=_show_outcome)
    failed = sum(outcome.status == "failed" for outcome in outcomes)
    echo(f"{len(outcomes)} checks, {failed} failed")
    if failed:
        raise typer.Exit(1)


def _show_outcome(outcome: Outcome) -> None:
    """Print an outcome, and with --debug the lines of the codec's own code where a check failed."""
    show(outcome.line())
    if debugging.get() and outcome.error is not None:
        for line in frames_of(outcome.error):
            show(f"  {line}")


def new_codec(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The codec's name: lower case, hyphens.")],
    folder: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where to write.")] = Path(),
) -> None:
    """Write a working plugin and its test, to start from."""
    from codecbench.cli import scaffold

    for path in scaffold.new_codec(name, folder):
        echo(f"wrote {path}")
