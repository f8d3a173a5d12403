"""The tables of `codecbench table` and of `Results.table`, rendered when they are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from codecbench.api.choices import installed_budgets
from codecbench.errors import UsageError
from codecbench.names import pick
from codecbench.registry import workloads

if TYPE_CHECKING:
    import pluggy

    from codecbench.analysis.latency import Scenario
    from codecbench.analysis.published import PublishedPoint
    from codecbench.results.record import Record
    from codecbench.results.store import Store
    from codecbench.tables.papers.sheet import PaperOptions, Sheet
    from codecbench.tables.training import ModelTraining


Found = TypeVar("Found")


class TableKind(StrEnum):
    """The kinds of tables."""

    BUDGET = "budget"
    LATENCY = "latency"
    POINTS = "points"
    BD_RATE = "bd-rate"
    EQUAL_ACCURACY = "equal-accuracy"
    TRAINING = "training"


class TableFormat(StrEnum):
    """The formats of a table."""

    TEXT = "text"
    MD = "md"
    CSV = "csv"
    LATEX = "latex"
    HTML = "html"


@dataclass(frozen=True, eq=False)
class ResultTable:
    """A table of results; `print` shows it as text, a notebook as HTML."""

    _render: Callable[[str, int | None], str]

    def render(self, format_: str, width: int | None = None) -> str:
        """Return the table as `text`, `md`, `csv`, `latex` or `html`; `width` limits the columns of text."""
        return self._render(pick({each.value: each for each in TableFormat}, format_, "format"), width)

    def __str__(self) -> str:
        """Return the table as text."""
        return self.render(TableFormat.TEXT, 120)

    def _repr_html_(self) -> str:
        return self.render(TableFormat.HTML)


def paper_options(
    columns: Sequence[str], rows: Sequence[str], *, intervals: bool, best: bool, sort: str, width: str
) -> PaperOptions:
    """Return the options of a table; `columns` are names, each text one or several parted by commas.

    Raises UsageError for a width that is neither a name nor a number of points.
    """
    from codecbench.tables.papers.sheet import PaperOptions, width_of

    names = [name.strip() for each in columns for name in each.split(",")]
    return PaperOptions(tuple(filter(None, names)), tuple(rows), intervals, best, sort, width_of(width))


def table_of(
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
    mix_machines: bool = False,
    options: PaperOptions | None = None,
) -> ResultTable:
    """Return one table of these records of a store.

    The kinds budget and latency use the scenario, the budget (None means the workloads' own) and the paper's rows;
    times of latency are those of one machine unless it may `mix_machines`. The kind bd-rate uses the anchor, the kind
    equal-accuracy anchors, budget and per-sample outcomes. Installed workloads are asked for what older records do not
    hold. `options` choose columns, rows and more, see `tables.papers`; without any, a table has its usual ones. Raises
    UsageError where the records do not allow the table.
    """
    from codecbench.tables.papers import kinds

    budgets = installed_budgets(pm) if budget is None else budget
    if kind is TableKind.POINTS:
        from codecbench.analysis import curves
        from codecbench.tables import curves as curves_table

        points = curves.build(records, sample_set=sample_set)
        return _shown(curves_table.render, points, lambda found: kinds.of_curves(found, budgets), options)
    if kind is TableKind.TRAINING:
        from codecbench.tables import training as training_table

        times = training_table.build(records, model_trainings(pm), sample_set=sample_set)
        return _shown(training_table.render, times, kinds.of_trainings, options)
    if kind is TableKind.BD_RATE:
        return _bd_rates(records, anchors, sample_set, options)
    if kind is TableKind.EQUAL_ACCURACY:
        from codecbench.analysis import equal_accuracy
        from codecbench.tables import equal_accuracy as equal_accuracy_table

        rates = equal_accuracy.build(records, store.samples, budgets=budgets, anchors=anchors, sample_set=sample_set)
        return _shown(equal_accuracy_table.render, rates, kinds.of_equal_accuracy, options)
    return _within_budgets(
        records, chosen, budgets, paper=paper, sample_set=sample_set, latency=kind is TableKind.LATENCY,
        mix_machines=mix_machines, options=options,
    )  # fmt: skip


def _shown(
    render: Callable[[Sequence[Found], str, int | None], str],
    found: Sequence[Found],
    sheet: Callable[[Found], Sheet],
    options: PaperOptions | None,
) -> ResultTable:
    """Return a table that `render` writes, or, as LaTeX or with options, its sheets."""
    from codecbench.tables.papers import rendering
    from codecbench.tables.papers.sheet import PaperOptions

    used = options or PaperOptions()

    def shown(format_: str, width: int | None = None) -> str:
        if used.are_usual and format_ != TableFormat.LATEX:
            return render(found, format_, width)
        return rendering.render(map(sheet, found), used, format_, width)

    return ResultTable(shown)


def _bd_rates(
    records: Sequence[Record], anchors: Sequence[str], sample_set: str | None, options: PaperOptions | None
) -> ResultTable:
    from codecbench.analysis import bd_rate
    from codecbench.tables import bd_rate as bd_rate_table
    from codecbench.tables.papers import kinds

    anchor = anchors[0] if anchors else bd_rate.default_anchor(records, sample_set)
    if anchor is None:
        raise UsageError(
            "no row has the four operating points that a BD-rate takes; 'codecbench run --preset full' measures "
            "more of each codec than the quick preset"
        )
    rates = bd_rate.build(records, anchor, sample_set=sample_set)
    return _shown(bd_rate_table.render, rates, kinds.of_bd_rates, options)


def _within_budgets(
    records: Sequence[Record],
    chosen: Scenario,
    budgets: dict[str, float] | float,
    *,
    paper: bool,
    sample_set: str | None,
    latency: bool,
    mix_machines: bool,
    options: PaperOptions | None,
) -> ResultTable:
    from codecbench.analysis.paper import comparable_points
    from codecbench.api.headlines import headlines_of
    from codecbench.tables import budget as budget_table
    from codecbench.tables import latency as latency_table
    from codecbench.tables.formats import PROSE_WIDTH
    from codecbench.tables.papers import kinds

    built = budget_table.build(
        records, budgets=budgets, paper=paper, sample_set=sample_set, scenario=chosen,
        mix_machines=mix_machines or not (latency or (options is not None and options.names & kinds.TIMES)),
    )  # fmt: skip
    points = comparable_points(records) if paper else ()
    measured = [table for table in built if table.source == "measured"] if latency else built
    table = _shown(
        latency_table.render if latency else budget_table.render,
        measured,
        kinds.of_latency if latency else kinds.of_budget,
        options,
    )

    def render(format_: str, width: int | None = None) -> str:
        parts = [table.render(format_, width)]
        if points and format_ != TableFormat.CSV:
            parts.append(_shown(_published, [points], kinds.of_published, None).render(format_, width))
        if format_ == TableFormat.TEXT:  # in a terminal, the end is what one sees
            found = headlines_of(records, budgets, chosen, sample_set, mix_machines=mix_machines)
            parts += [headline.text(width or PROSE_WIDTH) for headline in found]
        return "\n".join(parts)

    return ResultTable(render)


def _published(found: Sequence[Sequence[PublishedPoint]], format_: str, width: int | None = None) -> str:
    from codecbench.tables import published

    return "\n".join(published.render(points, format_, width) for points in found)


def model_trainings(pm: pluggy.PluginManager) -> dict[str, ModelTraining]:
    """Return what installed workloads say of their models' training, by name."""
    from codecbench.tables.training import ModelTraining

    return {name: ModelTraining(kind().training_s, kind.training_note) for name, kind in workloads(pm).items()}
