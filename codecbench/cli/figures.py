"""`codecbench figure`: draw figures from a results folder."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codecbench.cli.options import (
    DEFAULT_LINKS,
    DEFAULT_OUT,
    Budget,
    DeviceName,
    EdgeName,
    LinkNames,
    OnlyWorkload,
    Out,
    Plugins,
    SampleSet,
    check_writable,
    echo,
    only,
    scenario,
    show,
)
from codecbench.devices.profile import HOST
from codecbench.errors import UsageError
from codecbench.experiment.config import DEFAULT_WORKLOAD
from codecbench.names import pick
from codecbench.registry import manager, workloads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codecbench.results.record import Record

DEFAULT_FOLDER = Path("figures")


class FigureFormat(StrEnum):
    """The formats of `codecbench figure`."""

    SVG = "svg"
    PDF = "pdf"
    PNG = "png"


def figure(
    name: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Names of figures, see --list [default: all].", show_default=False),
    ] = None,
    out: Out = DEFAULT_OUT,
    into: Annotated[Path, typer.Option("--into", metavar="DIR", help="Where to write.")] = DEFAULT_FOLDER,
    format_: Annotated[
        list[FigureFormat] | None, typer.Option("--format", help="A format; repeatable [default: svg].")
    ] = None,
    link: LinkNames = None,
    device: DeviceName = HOST,
    edge: EdgeName = HOST,
    budget: Budget = None,
    all_rows: Annotated[bool, typer.Option("--all-rows", help="Show every row, not a readable selection.")] = False,
    workload: OnlyWorkload = None,
    sample_set: SampleSet = None,
    as_list: Annotated[bool, typer.Option("--list", help="List the figures and draw none.")] = False,
    plugin: Plugins = None,
) -> None:
    """Draw the counterparts of the paper's figures from a results folder."""
    from codecbench.analysis import study
    from codecbench.cli import catalogue
    from codecbench.figures.catalogue import KINDS, save_all
    from codecbench.results.store import Store

    if as_list:
        if name:
            raise UsageError(f"--list draws none: leave out --list to draw {', '.join(name)}, or the names to list all")
        show(catalogue.text([kind.row() for kind in KINDS.values()]))
        return
    pm = manager(plugin or ())
    store = Store(out)
    records, of_workload = _of_one_workload(store.records(), workload)
    check_writable("--into", into)
    if budget is None:
        budget = pick(workloads(pm), of_workload, "workload").budget
    scenarios = [scenario(pm, store, network, device, edge) for network in link or DEFAULT_LINKS]
    data = study.build(records, scenarios, budget, sample_set=sample_set, all_rows=all_rows)
    for path in save_all(data, into, [str(extension) for extension in format_ or [FigureFormat.SVG]], name or ()):
        echo(f"wrote {path}")


def _of_one_workload(records: Sequence[Record], workload: str | None) -> tuple[list[Record], str]:
    """Returns the records of one workload and its name: the one asked for, else the only one, else the default.

    Raises UsageError where there are no records of it.
    """
    known = {record.key.workload: None for record in records}
    if not known:
        raise UsageError("there are no records to draw; `codecbench run` makes some")
    name = workload or (next(iter(known)) if len(known) == 1 else DEFAULT_WORKLOAD)
    return only(records, "workload", [name]), name
