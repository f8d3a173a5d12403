"""`codecbench table`, `compare`, `merge`, `verify` and `export`: what is asked of results folders."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from codecbench.api.choices import DEFAULT_LINK, DEFAULT_OUT, only, scenario, some_records
from codecbench.api.tables import TableFormat, TableKind, paper_options, table_of
from codecbench.cli.options import (
    Budget,
    CacheDir,
    DataDir,
    DeviceName,
    EdgeName,
    LinkName,
    MixMachines,
    OnlyWorkload,
    Out,
    Plugins,
    SampleSet,
    check_data_dir,
    echo,
    show,
    terminal_columns,
    warn_renamed,
)
from codecbench.errors import UsageError
from codecbench.names import counted
from codecbench.registry import manager


class BestStyle(StrEnum):
    """The ways of `codecbench table --best` to show the best of each column."""

    NONE = "none"
    BOLD = "bold"


class ComparisonFormat(StrEnum):
    """The formats of `codecbench compare`."""

    TEXT = "text"
    MD = "md"


Kind = Annotated[
    TableKind,
    typer.Option(
        "--kind",
        help="budget: the smallest payload within a budget; latency: end-to-end latency of the same points; points: "
        "every operating point with its Shannon bound; bd-rate: BD-rate of every row against --anchor; "
        "equal-accuracy: interpolated bytes at a loss of exactly the budget, with intervals, and their ratio to each "
        "--anchor; training: time to fit codecs, also as a share of the model's training.",
    ),
]
Anchor = Annotated[
    list[str] | None,
    typer.Option(
        "--anchor",
        metavar="ROW",
        help="The row that others are compared with; repeatable for equal-accuracy [default for bd-rate: the row with "
        "the most curves].",
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        metavar="NAMES",
        help="These columns, in this order, parted by commas; repeatable [default: those of the kind].",
    ),
]
Rows = Annotated[
    list[str] | None, typer.Option("--rows", metavar="ROW", help="Only this row, in the order given; repeatable.")
]
Intervals = Annotated[bool, typer.Option("--intervals/--no-intervals", help="Show the 95 % intervals.")]
Best = Annotated[
    BestStyle,
    typer.Option(
        "--best",
        help="Put the best of each column and split, among the codecs within the budget, into bold, and mark "
        "those that are Pareto-optimal.",
    ),
]
Sort = Annotated[
    str,
    typer.Option(
        "--sort",
        metavar="[-]COLUMN",
        help="Sort each split by this column or by row, with a hyphen from the highest down [default: by row].",
    ),
]
LatexWidth = Annotated[
    str, typer.Option("--width", metavar="page|column|PT", help="The width of a table in LaTeX; a number is in points.")
]
# Before --kind, each table except the first had its own option. Version 0.2 removes them.
OldLatency = Annotated[bool, typer.Option("--latency", hidden=True)]
OldPoints = Annotated[bool, typer.Option("--points", hidden=True)]
OldBdRate = Annotated[str | None, typer.Option("--bd-rate", metavar="ROW", hidden=True)]
OldTraining = Annotated[bool, typer.Option("--training", hidden=True)]


def table(
    out: Out = DEFAULT_OUT,
    kind: Kind = TableKind.BUDGET,
    anchor: Anchor = None,
    budget: Budget = None,
    link: LinkName = DEFAULT_LINK,
    device: DeviceName = None,
    edge: EdgeName = None,
    mix_machines: MixMachines = False,
    format_: Annotated[TableFormat, typer.Option("--format", help="How to print it.")] = TableFormat.TEXT,
    paper: Annotated[bool, typer.Option("--paper", help="Add the paper's published rows.")] = False,
    workload: OnlyWorkload = None,
    codec: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this codec; repeatable.")] = None,
    split: Annotated[list[str] | None, typer.Option(metavar="S", help="Only this split point; repeatable.")] = None,
    sample_set: SampleSet = None,
    columns: Columns = None,
    rows: Rows = None,
    intervals: Intervals = True,
    best: Best = BestStyle.NONE,
    sort: Sort = "",
    width: LatexWidth = "page",
    plugin: Plugins = None,
    latency: OldLatency = False,
    points: OldPoints = False,
    bd_rate: OldBdRate = None,
    training: OldTraining = False,
) -> None:
    """Print a table of a results folder; the default kind compares codecs at every split point within a budget."""
    from codecbench.results.store import Store

    old = {TableKind.LATENCY: latency, TableKind.POINTS: points, TableKind.TRAINING: training}
    kind, anchors = _with_old_options(kind, anchor or [], [known for known, is_set in old.items() if is_set], bd_rate)
    _check_anchors(kind, anchors)
    _check_scenario(
        kind,
        {
            "--budget": budget is not None and kind is not TableKind.EQUAL_ACCURACY, "--link": link != DEFAULT_LINK,
            "--device": device is not None, "--edge": edge is not None, "--paper": paper,
            "--mix-machines": mix_machines,
        },
    )  # fmt: skip
    options = paper_options(
        columns or (), rows or (), intervals=intervals, best=best is BestStyle.BOLD, sort=sort, width=width
    )
    pm = manager(plugin or ())
    store = Store(out)
    chosen = scenario(pm, store, link, device, edge)
    records = some_records(store)
    for field, values in (("workload", [workload] if workload else None), ("codec", codec), ("split", split)):
        records = only(records, field, values)
    found = table_of(
        store, records, pm, chosen, kind=kind, anchors=anchors, budget=budget, paper=paper, sample_set=sample_set,
        mix_machines=mix_machines, options=options,
    )  # fmt: skip
    show(found.render(format_, terminal_columns()))


def _check_anchors(kind: TableKind, anchors: Sequence[str]) -> None:
    if anchors and kind not in (TableKind.BD_RATE, TableKind.EQUAL_ACCURACY):
        raise UsageError(
            f"--anchor {shlex.quote(anchors[0])} is for --kind bd-rate and --kind equal-accuracy, not for --kind {kind}"
        )
    if kind is TableKind.BD_RATE and len(anchors) > 1:
        raise UsageError("--kind bd-rate takes one --anchor; give one, or --kind equal-accuracy")


def _check_scenario(kind: TableKind, used: Mapping[str, bool]) -> None:
    """Raises UsageError for an option of the scenario that a kind does not take; `used` says which are there."""
    unused = [option for option, is_used in used.items() if is_used]
    if unused and kind not in (TableKind.BUDGET, TableKind.LATENCY):
        raise UsageError(f"{unused[0]} is for --kind budget and --kind latency, not for --kind {kind}")


def _with_old_options(
    kind: TableKind, anchors: Sequence[str], old: Sequence[TableKind], bd_rate: str | None
) -> tuple[TableKind, Sequence[str]]:
    """Returns kind and anchors, also from the options that were replaced by --kind; prints the new spelling for these.

    Raises UsageError where more than one table is asked for.
    """
    old_kinds = [*old, *([TableKind.BD_RATE] if bd_rate is not None else [])]
    if len(old_kinds) > 1:
        raise UsageError("--latency, --points, --training and --bd-rate are tables of their own; ask for one")
    if not old_kinds:
        return kind, anchors
    if kind not in (TableKind.BUDGET, old_kinds[0]) or (bd_rate is not None and anchors):
        raise UsageError(
            f"--{old_kinds[0]} is the old spelling of --kind {old_kinds[0]}; give --kind and --anchor alone"
        )
    if bd_rate is None:
        warn_renamed(f"--{old_kinds[0]}", f"--kind {old_kinds[0]}")
        return old_kinds[0], anchors
    row = shlex.quote(bd_rate)
    warn_renamed(f"--bd-rate {row}", f"--kind bd-rate --anchor {row}")
    return TableKind.BD_RATE, [bd_rate]


def compare(
    out_a: Annotated[Path, typer.Argument(metavar="OUT_A", help="A results folder.")],
    out_b: Annotated[Path, typer.Argument(metavar="OUT_B", help="Another results folder.")],
    format_: Annotated[ComparisonFormat, typer.Option("--format", help="How to print it.")] = ComparisonFormat.TEXT,
) -> None:
    """Compare two results folders cell by cell, with paired tests."""
    from codecbench.results.store import Store
    from codecbench.tables import comparison

    stores = Store(out_a), Store(out_b)
    for store in stores:
        some_records(store)
    show(comparison.compare(*stores).render(str(format_)))


def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Results folders.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write; it may have results.")],
) -> None:
    """Merge results folders of several machines into one; what does not agree is left out and named."""
    from codecbench.analysis import merging

    merged = merging.merge(folders, out)
    echo(f"{counted(merged.records, 'record')} in {out}, {merged.added} of them new")
    for sentence in merged.left_out:
        echo(sentence)


def verify(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")] = DEFAULT_OUT,
    encode: Annotated[
        int, typer.Option("--encode", metavar="N", min=0, help="Encode digested samples of N records again.")
    ] = 0,
    plugin: Plugins = None,
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
) -> None:
    """Check that a results folder is as a run has written it: digests, and summaries by their samples.

    This is integrity, not authenticity. Exit status 1 where something is wrong.
    """
    from codecbench.experiment.config import load
    from codecbench.experiment.progress import reporter
    from codecbench.verification import EncodedAgain, encode_again
    from codecbench.verification import verify as verify_folder

    check_data_dir(data_dir)
    options = {"plugin": plugin, "data_dir": data_dir, "cache_dir": cache_dir}
    found, again = verify_folder(out), EncodedAgain(0, (), ())
    if encode:
        with reporter() as report:
            again = encode_again(load(None, options), found.intact, encode, report)
    for fault in (*found.faults, *again.faults):
        show(fault)
    for remark in (*found.remarks, *again.remarks):
        echo(remark)
    faults = len(found.faults) + len(again.faults)
    checked = f"{counted(found.records, 'record')} with {found.samples:,} samples"
    show(f"{checked}, {counted(again.payloads, 'payload')} encoded again: {counted(faults, 'fault')}")
    if faults:
        raise typer.Exit(1)


def export(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv|FILE.parquet", help="Where to write; the ending tells the format.")
    ],
    out: Out = DEFAULT_OUT,
) -> None:
    """Write all records as one flat table, one row for each cell."""
    from codecbench.results import export as exporting
    from codecbench.results.store import Store

    rows = exporting.export(some_records(Store(out)), file)
    echo(f"{counted(rows, 'record')} written to {file}")
