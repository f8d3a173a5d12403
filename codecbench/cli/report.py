"""`codecbench report` and `leaderboard`: write a results folder as one HTML page, and many as a site."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from codecbench.api.choices import DEFAULT_LINKS, DEFAULT_OUT, installed_budgets, only, scenario, some_records
from codecbench.cli.options import (
    Budget,
    DeviceName,
    EdgeName,
    LinkNames,
    MixMachines,
    OnlyWorkload,
    Out,
    Plugins,
    SampleSet,
    echo,
)
from codecbench.descriptions.catalogue import LocalCatalogue
from codecbench.errors import DataError
from codecbench.names import counted, pick
from codecbench.registry import devices, links, manager
from codecbench.system.files import require_writable, write_file

DEFAULT_FILE = Path("report.html")


def report(
    out: Out = DEFAULT_OUT,
    file: Annotated[Path, typer.Option("--file", metavar="FILE.html", help="The page to write.")] = DEFAULT_FILE,
    link: LinkNames = None,
    device: DeviceName = None,
    edge: EdgeName = None,
    budget: Budget = None,
    mix_machines: MixMachines = False,
    bd_rate: Annotated[
        str | None,
        typer.Option(
            "--bd-rate", metavar="ROW", help="The anchor row of BD-rates [default: the row with the most curves]."
        ),
    ] = None,
    paper: Annotated[bool, typer.Option("--paper/--no-paper", help="The comparison with the paper's rows.")] = True,
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="The figures, which take most time.")] = True,
    workload: OnlyWorkload = None,
    sample_set: SampleSet = None,
    plugin: Plugins = None,
) -> None:
    """Write all results of a folder to one HTML page, which needs no network."""
    from codecbench.report.build import Request, build
    from codecbench.report.choices import Choosable
    from codecbench.results.store import Store

    require_writable(file, advice="choose another --file", raises=DataError)
    pm = manager(plugin or ())
    store = Store(out)
    records = some_records(store)
    if workload is not None:
        records = only(records, "workload", [workload])
    if bd_rate is not None:
        pick({record.row: None for record in records}, bd_rate, "row in these records:")
    if not file.parent.is_dir() or file.is_dir():  # a page takes minutes where it has figures
        raise DataError(f"cannot write {file}: it is no file in a folder that is there; choose another --file")
    names = link or DEFAULT_LINKS
    flags = {"--no-figures": not figures, "--no-paper": not paper, "--mix-machines": mix_machines}
    request = Request(
        records=records,
        scenarios=[scenario(pm, store, name, device, edge) for name in names],
        budgets=installed_budgets(pm) if budget is None else budget,
        docstrings={codec.name: codec.docstring for codec in LocalCatalogue(pm).summaries()},
        sample_set=sample_set,
        anchor=bd_rate,
        paper=paper,
        figures=figures,
        mix_machines=mix_machines,
        command=_command(
            [
                ("--out", _shown(out)), *(("--link", _shown(Path(name))) for name in names), ("--device", device),
                ("--edge", edge), ("--budget", budget), ("--bd-rate", bd_rate), ("--workload", workload),
                ("--sample-set", sample_set), *(("--plugin", _shown(path)) for path in plugin or ()),
            ],
            [flag for flag, is_set in flags.items() if is_set],
        ),
        choosable=Choosable(tuple(devices(pm).values()), tuple(links(pm).values()), store.all_layers()),
    )  # fmt: skip
    page = build(request)
    write_file(file, page, advice="choose another --file", raises=DataError)
    echo(f"{counted(len(records), 'record')} reported in {file} ({len(page.encode()) / 1e6:.2f} MB)")


def leaderboard(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Results folders.")],
    into: Annotated[Path, typer.Option("--into", metavar="SITE", help="The folder to write.")],
    title: Annotated[str, typer.Option("--title", metavar="TEXT", help="The site's title.")] = "codecbench leaderboard",
    link: LinkNames = None,
    device: DeviceName = None,
    edge: EdgeName = None,
    budget: Budget = None,
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Figures in each report.")] = False,
    plugin: Plugins = None,
) -> None:
    """Verify results folders and write a site that ranks their codecs, with a report of each folder.

    Exit status 1 where a folder has a fault: the site shows it, and does not rank it.
    """
    from codecbench.leaderboard import write_site
    from codecbench.results.store import Store

    pm = manager(plugin or ())
    scenarios = [scenario(pm, Store(folders[0]), name, device, edge) for name in link or DEFAULT_LINKS]
    budgets = installed_budgets(pm) if budget is None else budget
    entrants = write_site(folders, into, scenarios, budgets, title=title, figures=figures)
    for entrant in entrants:
        for fault in entrant.found.faults:
            echo(f"{entrant.name}: {fault}")
    echo(f"{counted(len(entrants), 'results folder')} in {into / 'index.html'}")
    if any(entrant.found.faults for entrant in entrants):
        raise typer.Exit(1)


def _shown(path: Path) -> str:
    """Returns a path for the page: absolute paths without the folders of this machine."""
    return path.name if path.is_absolute() else str(path)


def _command(options: list[tuple[str, object]], flags: list[str]) -> str:
    """Returns the command line that makes the same page."""
    words = [word for name, value in options if value is not None for word in (name, f"{value}")]
    return shlex.join(["codecbench", "report", *words, *flags])
