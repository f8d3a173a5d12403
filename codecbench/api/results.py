"""The results of a folder, as Python values: tables, figures, plans, a data frame."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench.api.choices import (
    DEFAULT_LINK,
    DEFAULT_LINKS,
    DEFAULT_OUT,
    installed_budgets,
    of_one_workload,
    only,
    scenario,
    some_records,
)
from codecbench.api.tables import ResultTable, TableKind, paper_options, table_of
from codecbench.errors import UsageError
from codecbench.names import counted, pick
from codecbench.registry import manager
from codecbench.results.store import Store

if TYPE_CHECKING:
    import pandas
    import pluggy

    from codecbench.api.plans import ResultPlan
    from codecbench.figures.drawing import Drawing
    from codecbench.results.record import Record


@dataclass(frozen=True, eq=False)
class Results:
    """Records of a results folder. Nothing is measured and nothing is written.

    `records` are those shown: all of the folder, unless `where` selected some. `failures` are the failed cells of the
    run that made them, one line each. `plugins` are files with more links and devices.
    """

    out: Path
    records: Sequence[Record]
    failures: Sequence[str] = ()
    plugins: Sequence[Path] = ()

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.records)

    def __repr__(self) -> str:
        """Return the number of records, the workloads and the folder."""
        names = ", ".join(dict.fromkeys(record.key.workload for record in self.records))
        return f"<Results: {counted(len(self.records), 'record')} of {names} in {self.out}>"

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def where(
        self,
        *,
        workload: str | Sequence[str] | None = None,
        codec: str | Sequence[str] | None = None,
        split: str | Sequence[str] | None = None,
    ) -> Results:
        """Return the records of these workloads, codecs and splits. Raises UsageError for a name without records."""
        records = self.records
        for field, values in (("workload", workload), ("codec", codec), ("split", split)):
            records = only(records, field, [values] if isinstance(values, str) else values)
        return replace(self, records=records)

    def table(
        self,
        kind: str = TableKind.BUDGET,
        *,
        budget: float | None = None,
        link: str = DEFAULT_LINK,
        device: str | None = None,
        edge: str | None = None,
        paper: bool = False,
        anchors: Sequence[str] = (),
        sample_set: str | None = None,
        mix_machines: bool = False,
        columns: Sequence[str] = (),
        rows: Sequence[str] = (),
        intervals: bool = True,
        best: bool = False,
        sort: str = "",
        width: str = "page",
    ) -> ResultTable:
        """Return a table of a kind of `codecbench table`; arguments are the options of that command.

        With `best`, the best of each column is bold. Raises UsageError for an unknown kind, or where the records do not
        allow the table; rendering it raises UsageError for an unknown column or row.
        """
        options = paper_options(columns, rows, intervals=intervals, best=best, sort=sort, width=width)
        known = pick({each.value: each for each in TableKind}, kind, "kind of table")
        chosen = scenario(self._manager, self._store, link, device, edge)
        return table_of(
            self._store, self.records, self._manager, chosen, kind=known, anchors=anchors, budget=budget, paper=paper,
            sample_set=sample_set, mix_machines=mix_machines, options=options,
        )  # fmt: skip

    def plan(
        self,
        *,
        link: str = DEFAULT_LINK,
        device: str | None = None,
        edge: str | None = None,
        budget: float | None = None,
        max_latency_ms: float | None = None,
        max_device_ms: float | None = None,
        workload: str | None = None,
        sample_set: str | None = None,
        mix_machines: bool = False,
    ) -> ResultPlan:
        """Return the split, codec and point of lowest latency within the limits, as `codecbench plan` does.

        `budget` is the accepted loss in the metric's own unit, by default the workload's.
        """
        from codecbench.api.plans import plan_of

        chosen = scenario(self._manager, self._store, link, device, edge)
        return plan_of(
            of_one_workload(self.records, workload), self._budgets(budget), chosen, max_latency_ms=max_latency_ms,
            max_device_ms=max_device_ms, sample_set=sample_set, mix_machines=mix_machines,
        )  # fmt: skip

    def figure(
        self,
        name: str,
        *,
        link: str | Sequence[str] = DEFAULT_LINKS,
        device: str | None = None,
        edge: str | None = None,
        budget: float | None = None,
        size: str = "paper",
        all_rows: bool = False,
        workload: str | None = None,
        sample_set: str | None = None,
        mix_machines: bool = False,
    ) -> Drawing:
        """Return a figure of `codecbench figure --list`, which a notebook shows; its `save` writes it to a file.

        A figure for one link shows the first. `size` is `paper` or `talk`. Raises UsageError for an unknown name or
        size, or without matplotlib.
        """
        from codecbench.analysis import study
        from codecbench.figures.catalogue import draw
        from codecbench.figures.sizes import SIZES

        names = [link] if isinstance(link, str) else link
        scenarios = [scenario(self._manager, self._store, each, device, edge) for each in names]
        records = of_one_workload(self.records, workload)
        shown = study.build(
            records,
            scenarios,
            self._budgets(budget),
            sample_set=sample_set,
            all_rows=all_rows,
            mix_machines=mix_machines,
        )
        return draw(name, shown, pick(SIZES, size, "size"))

    def to_pandas(self) -> pandas.DataFrame:
        """Return a row for each record, with the columns of `codecbench export`. Raises UsageError without pandas."""
        try:
            import pandas
        except ImportError as error:
            raise UsageError("a data frame needs pandas; pip install 'codecbench[notebook]'") from error
        from codecbench.results.export import columns, rows

        return pandas.DataFrame(rows(self.records), columns=list(columns()))

    def _budgets(self, budget: float | None) -> dict[str, float] | float:
        return installed_budgets(self._manager) if budget is None else budget

    @cached_property
    def _store(self) -> Store:
        return Store(self.out)

    @cached_property
    def _manager(self) -> pluggy.PluginManager:
        return manager(self.plugins)


def load(out: str | Path = DEFAULT_OUT, *, plugins: Iterable[str | Path] = ()) -> Results:
    """Return the results of a folder that `run` wrote to. Raises UsageError where it holds no records."""
    folder = Path(out)
    return Results(folder, some_records(Store(folder)), plugins=tuple(map(Path, plugins)))


def run(config: str | Path | None = None, *, progress: bool = True, **options: Any) -> Results:
    """Measure codecs at split points as `codecbench run` does, and return the records of this configuration.

    `options` are those of the command, by name, such as `workload`, `codec`, `split`, `samples`, `preset` and `out`; a
    TOML file has the same ones. What is measured already is not measured again. Progress goes to stderr, with all that
    the command would say meanwhile; with `progress=False`, nothing is written there.

    Raises UsageError for options that cannot be used. Failed cells raise nothing: `Results.failures` has them.
    """
    from codecbench.executors.choice import check_executor
    from codecbench.experiment.config import RunConfig
    from codecbench.experiment.config import load as configuration
    from codecbench.experiment.progress import reporter
    from codecbench.experiment.run_status import StatusFile
    from codecbench.harness.run import Run

    lists = {name for name, field in RunConfig.model_fields.items() if isinstance(field.default, list)}
    used: dict[str, Any] = {
        name: [value] if name in lists and isinstance(value, str | Path) else value for name, value in options.items()
    }
    settings = configuration(None if config is None else Path(config), used)
    check_executor(settings)
    store = Store(settings.out)
    with reporter(progress=progress) as report, store.locked(), Run(settings, StatusFile(report, settings.out)) as job:
        summary = job.execute()
        records, _ = job.current(store.records())
    if not records and summary.scored:
        raise UsageError("no cell has its times yet: all that were scored wait for run(measure='timing')")
    if not records:
        command = shlex.join(["codecbench", "run", "--out", str(settings.out)])
        raise UsageError(f"no cell of this configuration was measured; `{command}` says why")
    return Results(settings.out, records, tuple(summary.failures), tuple(settings.plugin))
