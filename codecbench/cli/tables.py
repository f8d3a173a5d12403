"""`codecbench table`, `compare` and `export`: tables of results folders."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codecbench.cli.options import (
    DEFAULT_LINK,
    DEFAULT_OUT,
    Budget,
    DeviceName,
    EdgeName,
    LinkName,
    OnlyWorkload,
    Out,
    Plugins,
    SampleSet,
    echo,
    installed_budgets,
    only,
    scenario,
    show,
    some_records,
    terminal_columns,
    warn_renamed,
)
from codecbench.devices.profile import HOST
from codecbench.errors import UsageError
from codecbench.names import counted
from codecbench.registry import manager, workloads

if TYPE_CHECKING:
    import pluggy

    from codecbench.analysis.latency import Scenario
    from codecbench.results.record import Record
    from codecbench.results.store import Store
    from codecbench.tables.training import ModelTraining


class TableKind(StrEnum):
    """The tables of `codecbench table`."""

    BUDGET = "budget"
    LATENCY = "latency"
    POINTS = "points"
    BD_RATE = "bd-rate"
    EQUAL_ACCURACY = "equal-accuracy"
    TRAINING = "training"


class TableFormat(StrEnum):
    """The formats of `codecbench table`."""

    TEXT = "text"
    MD = "md"
    CSV = "csv"
    LATEX = "latex"
    HTML = "html"


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
    device: DeviceName = HOST,
    edge: EdgeName = HOST,
    format_: Annotated[TableFormat, typer.Option("--format", help="How to print it.")] = TableFormat.TEXT,
    paper: Annotated[bool, typer.Option("--paper", help="Add the paper's published rows.")] = False,
    workload: OnlyWorkload = None,
    codec: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this codec; repeatable.")] = None,
    split: Annotated[list[str] | None, typer.Option(metavar="S", help="Only this split point; repeatable.")] = None,
    sample_set: SampleSet = None,
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
    if anchors and kind not in (TableKind.BD_RATE, TableKind.EQUAL_ACCURACY):
        raise UsageError(
            f"--anchor {shlex.quote(anchors[0])} is for --kind bd-rate and --kind equal-accuracy, not for --kind {kind}"
        )
    if kind is TableKind.BD_RATE and len(anchors) > 1:
        raise UsageError("--kind bd-rate takes one --anchor; give one, or --kind equal-accuracy")
    if kind not in (TableKind.BUDGET, TableKind.LATENCY):
        used = {
            "--budget": budget is not None and kind is not TableKind.EQUAL_ACCURACY, "--link": link != DEFAULT_LINK,
            "--device": device != HOST, "--edge": edge != HOST, "--paper": paper,
        }  # fmt: skip
        unused = [option for option, is_used in used.items() if is_used]
        if unused:
            raise UsageError(f"{unused[0]} is for --kind budget and --kind latency, not for --kind {kind}")
    pm = manager(plugin or ())
    store = Store(out)
    chosen = scenario(pm, store, link, device, edge)
    records = some_records(store)
    for field, values in (("workload", [workload] if workload else None), ("codec", codec), ("split", split)):
        records = only(records, field, values)
    print_table(
        store, records, pm, chosen, kind=kind, anchors=anchors, budget=budget, paper=paper, sample_set=sample_set,
        format_=format_,
    )  # fmt: skip


def print_table(
    store: Store,
    records: Sequence[Record],
    pm: pluggy.PluginManager,
    chosen: Scenario,
    *,
    kind: TableKind = TableKind.BUDGET,
    anchors: Sequence[str] = (),
    budget: float | None = None,
    paper: bool = False,
    sample_set: str | None = None,
    format_: TableFormat = TableFormat.TEXT,
) -> None:
    """Prints one table of these records of a store.

    The kinds budget and latency use the scenario, the budget (None means the workloads' own) and the paper's rows; the
    kind bd-rate uses the anchor, the kind equal-accuracy anchors, budget and per-sample outcomes. Installed workloads
    are asked for what older records do not hold. Raises UsageError where the records do not allow the table.
    """
    from codecbench.analysis import curves
    from codecbench.analysis.paper import comparable_points
    from codecbench.tables import budget as budget_table
    from codecbench.tables import curves as curves_table
    from codecbench.tables import latency as latency_table
    from codecbench.tables import published as published_table
    from codecbench.tables import training as training_table

    how = (str(format_), terminal_columns())
    if kind is TableKind.POINTS:
        show(curves_table.render(curves.build(records, sample_set=sample_set), *how))
    elif kind is TableKind.TRAINING:
        show(training_table.render(training_table.build(records, _model_trainings(pm), sample_set=sample_set), *how))
    elif kind is TableKind.BD_RATE:
        from codecbench.analysis import bd_rate
        from codecbench.tables import bd_rate as bd_rate_table

        anchor = anchors[0] if anchors else bd_rate.default_anchor(records, sample_set)
        if anchor is None:
            raise UsageError(
                "no row has the four operating points that a BD-rate takes; 'codecbench run --preset full' measures "
                "more of each codec than the quick preset"
            )
        show(bd_rate_table.render(bd_rate.build(records, anchor, sample_set=sample_set), *how))
    elif kind is TableKind.EQUAL_ACCURACY:
        from codecbench.analysis import equal_accuracy
        from codecbench.tables import equal_accuracy as equal_accuracy_table

        budgets = installed_budgets(pm) if budget is None else budget
        rates = equal_accuracy.build(records, store.samples, budgets=budgets, anchors=anchors, sample_set=sample_set)
        show(equal_accuracy_table.render(rates, *how))
    else:
        budgets = installed_budgets(pm) if budget is None else budget
        built = budget_table.build(records, budgets=budgets, paper=paper, sample_set=sample_set, scenario=chosen)
        text = (latency_table if kind is TableKind.LATENCY else budget_table).render(built, *how)
        points = comparable_points(records) if paper and format_ is not TableFormat.CSV else ()
        show(f"{text}\n{published_table.render(points, *how)}" if points else text)


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


def _model_trainings(pm: pluggy.PluginManager) -> dict[str, ModelTraining]:
    from codecbench.tables.training import ModelTraining

    return {name: ModelTraining(kind().training_s, kind.training_note) for name, kind in workloads(pm).items()}


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
