"""`codecbench figure`: draw figures from a results folder."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from codecbench.api.choices import DEFAULT_LINKS, DEFAULT_OUT, installed_budgets, of_one_workload, scenario
from codecbench.cli.options import (
    Budget,
    DeviceName,
    EdgeName,
    LinkNames,
    MixMachines,
    OneWorkload,
    Out,
    Plugins,
    SampleSet,
    check_writable,
    echo,
    show,
)
from codecbench.errors import UsageError
from codecbench.registry import manager

DEFAULT_FOLDER = Path("figures")


class FigureFormat(StrEnum):
    """The formats of `codecbench figure`."""

    SVG = "svg"
    PDF = "pdf"
    PNG = "png"


class FigureSize(StrEnum):
    """The sizes of figures."""

    PAPER = "paper"
    TALK = "talk"


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
    device: DeviceName = None,
    edge: EdgeName = None,
    budget: Budget = None,
    size: Annotated[
        FigureSize, typer.Option("--size", help="paper: for a page; talk: larger text, for a slide.")
    ] = FigureSize.PAPER,
    mix_machines: MixMachines = False,
    all_rows: Annotated[bool, typer.Option("--all-rows", help="Show every row, not a readable selection.")] = False,
    workload: OneWorkload = None,
    sample_set: SampleSet = None,
    as_list: Annotated[bool, typer.Option("--list", help="List the figures and draw none.")] = False,
    plugin: Plugins = None,
) -> None:
    """Draw the counterparts of the paper's figures from a results folder."""
    from codecbench.analysis import study
    from codecbench.cli import catalogue
    from codecbench.figures.catalogue import KINDS, save_all
    from codecbench.figures.sizes import SIZES
    from codecbench.results.store import Store

    if as_list:
        if name:
            raise UsageError(f"--list draws none: leave out --list to draw {', '.join(name)}, or the names to list all")
        show(catalogue.text([kind.row() for kind in KINDS.values()]))
        return
    pm = manager(plugin or ())
    store = Store(out)
    records = of_one_workload(store.records(), workload)
    check_writable("--into", into)
    scenarios = [scenario(pm, store, network, device, edge) for network in link or DEFAULT_LINKS]
    budgets = installed_budgets(pm) if budget is None else budget
    data = study.build(records, scenarios, budgets, sample_set=sample_set, all_rows=all_rows, mix_machines=mix_machines)
    for remark in data.left_out:
        echo(remark)
    formats = [str(extension) for extension in format_ or [FigureFormat.SVG]]
    for path in save_all(data, into, formats, name or (), SIZES[size]):
        echo(f"wrote {path}")
