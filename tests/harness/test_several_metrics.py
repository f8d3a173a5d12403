"""Runs of workloads with several metrics, one of a whole set: what is recorded, resumed, compared and shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.paths import MISBEHAVING, SEVERAL, TINY
from support.runs import KeptProcesses, RecordingReporter, content_of, execute, record_of

from codecbench.analysis.latency import Scenario
from codecbench.errors import DataError
from codecbench.experiment.cells import Summary
from codecbench.experiment.config import RunConfig
from codecbench.harness import split_run
from codecbench.harness.timing import TimingPass
from codecbench.registry import load_file
from codecbench.results.outcomes import FULL_MODEL, set_columns, set_outcomes
from codecbench.results.record import Record
from codecbench.results.set_values import RESAMPLES
from codecbench.results.store import Store
from codecbench.tables import budget
from codecbench.tables.comparison import compare

CODECS = ("raw:values=float32", "quant-rans")
Several = load_file(SEVERAL).Several
AUC = Several.metrics[2]


def config(out: Path, *codecs: str, plugin: Path = SEVERAL, **options: Any) -> RunConfig:
    given = {"workload": "several", "samples": "all", "split": ["0"], "codec": list(codecs or CODECS), **options}
    return RunConfig(**given, out=out, plugin=[plugin, MISBEHAVING])


def run(out: Path, *codecs: str, **options: Any) -> tuple[Summary, RecordingReporter]:
    return execute(config(out, *codecs, **options))


@pytest.fixture(scope="module")
def several(kept: KeptProcesses, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a codec that changes nothing and of one that rounds coarsely; nothing writes to them."""
    out = tmp_path_factory.mktemp("several")
    with pytest.MonkeyPatch.context() as patch:
        kept.share(patch)
        patch.setattr("codecbench.harness.chunks.BATCH", 32)
        summary, _ = run(out)
    assert (summary.ok, summary.failed) == (2, 0)
    return out


def of_test(store: Store, record: Record) -> dict[str, Any]:
    columns = store.samples(record)
    return {name: column[columns["subset"] == "test"] for name, column in columns.items()}


def test_the_first_metric_decides_and_the_others_are_recorded_beside_it(several: Path) -> None:
    record = record_of(several, "quant-rans", "0")
    assert record.task is not None
    assert record.choice is not None
    assert [record.task.metric, *(other.metric for other in record.others)] == ["top-1", "probability", "AUC"]
    columns = of_test(Store(several), record)
    assert record.task.value == pytest.approx(100 * columns["numerator"].mean())
    probability, auc = record.others
    assert probability.value == pytest.approx(columns["numerator:probability"].mean())
    assert probability.uncompressed == pytest.approx(columns["uncompressed_numerator:probability"].mean())
    for value, full_model in ((auc.value, False), (auc.uncompressed, True)):
        outcomes = set_outcomes(AUC, set_columns(AUC, columns, full_model=full_model))
        assert AUC.values(outcomes, np.ones((1, 48), np.int64)).tolist() == [value]
    assert auc.value != auc.uncompressed
    assert auc.low < auc.value < auc.high
    assert auc.change == pytest.approx(auc.value - auc.uncompressed)
    assert auc.change_low < auc.change < auc.change_high
    assert 0 < auc.p_value <= 1


def test_a_codec_that_changes_nothing_takes_all_outcomes_of_the_full_model(several: Path) -> None:
    record = record_of(several, "raw", "0")
    columns = Store(several).samples(record)
    outcomes = [name for name in columns if FULL_MODEL + name in columns]
    assert len(outcomes) == 6
    for name in outcomes:
        assert [np.asarray(row).tolist() for row in columns[name]] == [
            np.asarray(row).tolist() for row in columns[FULL_MODEL + name]
        ]
    assert all((task.change, task.p_value) == (0.0, 1.0) for task in (record.task, *record.others) if task)


def test_values_for_resamples_are_kept_and_those_of_two_records_are_paired(several: Path) -> None:
    store = Store(several)
    raw, coarse = (record_of(several, name, "0") for name in ("raw", "quant-rans"))
    found = [store.set_values(record, record.others[1]) for record in (raw, coarse)]
    assert [len(values.resampled) for values in found] == [RESAMPLES] * 2
    changes = found[1].resampled - found[0].resampled
    auc = coarse.others[1]
    assert np.quantile(changes, [0.025, 0.975]).tolist() == pytest.approx([auc.change_low, auc.change_high])


def test_a_table_shows_all_metrics_and_chooses_by_the_first(several: Path) -> None:
    from codecbench.links.model import FixedRateLink

    records = Store(several).records()
    (table,) = budget.build(records, budgets=5.0, scenario=Scenario(FixedRateLink("l", 1e6)))
    text = table.render("text", width=200)
    assert "probability" in text
    assert "AUC" in text
    (line,) = (line for line in text.split("\n") if line.startswith("raw (float32)"))
    assert line.split()[-1] == f"{record_of(several, 'raw', '0').others[1].value:.3f}"


# --- a set metric that decides ---------------------------------------------------------------------------------------


def deciding(folder: Path, name: str = "reversed", *edits: tuple[str, str]) -> Path:
    """The workload with the area under the curve first."""
    source = SEVERAL.read_text()
    first = '        AreaUnderCurve("AUC", "", higher_is_better=True, decimals=3, outcome="scores"),\n'
    for old, new in ((first, ""), ("metrics = (\n", f"metrics = (\n{first}"), ('"several"', f'"{name}"'), *edits):
        assert old in source
        source = source.replace(old, new)
    path = folder / f"{name}.py"
    path.write_text(source)
    return path


def test_a_set_metric_may_decide(tmp_path: Path, shared: KeptProcesses) -> None:
    plugin = deciding(tmp_path)
    for out in ("a", "b"):
        run(tmp_path / out, plugin=plugin, workload="reversed", seed=0)
    record = record_of(tmp_path / "a", "quant-rans", "0")
    assert record.task is not None
    assert record.choice is not None
    assert (record.task.metric, record.task.scale, record.task.test) == ("AUC", None, "paired-bootstrap")
    assert [other.metric for other in record.others] == ["top-1", "probability"]
    assert record.others[0].test == "mcnemar"
    assert record.choice.change == pytest.approx(record.choice.value - record.choice.uncompressed)
    assert "numerator:top-1" in Store(tmp_path / "a").samples(record)
    pairs = compare(Store(tmp_path / "a"), Store(tmp_path / "b")).pairs
    assert [(pair.change, pair.change_low, pair.change_high, pair.p_value) for pair in pairs] == [(0, 0, 0, 1)] * 2


def test_a_set_metric_without_a_value_is_null_and_the_run_says_why(tmp_path: Path, shared: KeptProcesses) -> None:
    nothing = ("return np.where(pairs > 0, won / np.maximum(pairs, 1), np.nan)", "return np.full(len(counts), np.nan)")
    summary, reporter = run(tmp_path, "raw", plugin=deciding(tmp_path, "nothing", nothing), workload="nothing")
    assert summary.ok == 1
    (record,) = Store(tmp_path).records()
    assert record.task is not None
    assert (record.task.value, record.task.change, record.task.p_value) == (None, None, None)
    said = [line for line in reporter.logged if "undefined" in line]
    assert said[0].endswith("AUC is undefined: it gives no finite value; see the workload's score")
    assert len(said) == 2


@pytest.mark.parametrize(
    ("edit", "mistake"),
    [
        (("return np.where(pairs > 0,", "return np.ones(7)\n        return np.where(pairs > 0,"),
         "values of 'AUC' gave an array of float64 of the shape (7,) for 1 sets; return an array of 1 numbers"),
        (("return np.where(pairs > 0,", "return outcomes.area\n        return np.where(pairs > 0,"),
         "values of 'AUC' raised AttributeError: 'list' object has no attribute 'area'"),
        (('"probability": (', '"chance": ('),
         "score gave {'top-1', 'chance', 'scores'}; return a dict with 'scores', 'top-1', 'probability'"),
    ],
    ids=["shape", "raises", "names"],
)  # fmt: skip
def test_a_mistake_in_a_metric_is_named_before_any_cell_is_measured(
    tmp_path: Path, shared: KeptProcesses, edit: tuple[str, str], mistake: str
) -> None:
    plugin = deciding(tmp_path, "wrong", edit)
    with pytest.raises(DataError) as caught:
        run(tmp_path / "out", plugin=plugin, workload="wrong")
    text = str(caught.value)
    assert text.startswith(f"workload 'wrong' ({plugin}, line ")
    assert text.endswith(f"): {mistake}")
    assert not list(tmp_path.glob("out/*/*"))


# --- interrupted runs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["timing", "chunk"])
def test_an_interrupted_run_goes_on_with_its_arrays(
    tmp_path: Path, shared: KeptProcesses, several: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    monkeypatch.setattr("codecbench.harness.chunks.BATCH", 32)
    chunks = split_run.chunks_of
    monkeypatch.setattr(split_run, "chunks_of", lambda counts, *_: chunks(counts, 1, 33e-9 * split_run.SHARES))

    def end(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*{"timing": (TimingPass, "measure"), "chunk": (split_run.SplitRun, "_keep_timed")}[moment], end)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    rows = [pq.read_table(path).num_rows for path in tmp_path.rglob("*.parquet")]
    assert rows == [72 if moment == "timing" else 32] * 2
    summary, _ = run(tmp_path)
    assert summary.ok == 2
    found, expected = content_of(tmp_path), content_of(several)
    assert found == expected


# --- workloads of earlier versions -----------------------------------------------------------------------------------


def test_a_workload_with_the_old_attribute_runs_and_is_told_so_once(tmp_path: Path, shared: KeptProcesses) -> None:
    source = TINY.read_text()
    new = 'metrics = (RatioMetric("top-1", "%", higher_is_better=True, scale=100.0, binary=True),)'
    assert new in source
    old = 'metric = Metric("top-1", "%", higher_is_better=True, scale=100.0, binary=True)'
    file = tmp_path / "old.py"
    file.write_text(source.replace(new, old).replace("RatioMetric", "Metric").replace('name = "tiny"', 'name = "old"'))
    summary, reporter = run(tmp_path / "out", "raw", plugin=file, workload="old", split=["input", "stem"])
    assert summary.ok >= 2
    assert [line for line in reporter.logged if "metric" in line] == [
        "workload 'old': `metric` is now `metrics`, a tuple; the next version no longer takes the old name"
    ]
    record = record_of(tmp_path / "out", "raw", "stem")
    assert record.task is not None
    assert (record.task.metric, record.task.test, record.others) == ("top-1", "mcnemar", [])
