"""What a workload does wrong ends a run with its own line and is booked on no codec; a codec's fault is recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.paths import MISBEHAVING, TINY
from support.runs import execute, record_of, run

from codecbench.errors import DataError, PluginError
from codecbench.experiment.config import RunConfig
from codecbench.results.store import Store

pytestmark = pytest.mark.usefixtures("shared")

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the tiny workload under another name, with changes."""

    def write(name: str, *changes: tuple[str, str]) -> Path:
        source = TINY.read_text()
        for old, new in (('name = "tiny"', f'name = "{name}"'), *changes):
            assert old in source
            source = source.replace(old, new)
        path = tmp_path / f"{name.replace('-', '_')}.py"
        path.write_text(source)
        return path

    return write


def config(out: Path, path: Path, workload: str, *codecs: str, split: str = "stem") -> RunConfig:
    return RunConfig(
        workload=workload, samples="all", split=[split], codec=list(codecs), out=out, plugin=[path, MISBEHAVING]
    )


def test_a_score_that_raises_later_ends_the_run_with_its_line_and_keeps_what_is_finished(
    write: Write, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    path = write(
        "late",
        (
            "        return float(int(output[0].argmax()) == target), 1.0",
            "        from pathlib import Path\n        if Path(__file__).with_name('now').exists():\n"
            "            raise KeyError('label')\n        return 1.0, 1.0",
        ),
    )
    execute(config(out, path, "late", "steady:bits=32"))
    (path.parent / "now").touch()
    with pytest.raises(DataError, match=r"^workload 'late' \(.*late\.py, line \d+\): score raised KeyError: 'label'$"):
        execute(config(out, path, "late", "steady:bits=32", "steady:bits=16"))
    assert [record.status for record in Store(out).records()] == ["ok"]


def test_a_model_that_gives_nan_ends_the_run_before_any_cell(write: Write, tmp_path: Path) -> None:
    path = write("nan", ("self.classifier(torch.flatten", "float('nan') * self.classifier(torch.flatten"))
    text = r"output 0 of the model has NaN for 'choice' at position 0; mend the model, its weights or the input$"
    with pytest.raises(DataError, match=rf"^workload 'nan' \(.*nan\.py, line \d+\): {text}"):
        execute(config(tmp_path / "out", path, "nan", "steady:bits=32"))
    assert not list((tmp_path / "out").rglob("*.json"))


def test_texts_as_identifiers_are_kept_in_records_and_columns(write: Write, tmp_path: Path) -> None:
    path = write(
        "texts",
        (
            "        first, count = SUBSETS[subset]\n        return range(first, first + count)",
            "        first, count = SUBSETS[subset]\n        return [f'{i}.png' for i in range(first, first + count)]",
        ),
        ("        ids = self.sample_ids(subset)", "        ids = [int(i[:-4]) for i in self.sample_ids(subset)]"),
    )
    out = tmp_path / "out"
    execute(config(out, path, "texts", "steady:bits=32"))
    record = record_of(out, "steady")
    assert record.digests is not None
    assert {type(found.sample_id) for found in record.digests.samples} == {str}
    columns = Store(out).samples(record)
    assert list(columns["sample_id"][:2]) == ["2000.png", "2001.png"]
    assert np.unique(columns["sample_id"]).size == 88


def test_infinities_are_carried_or_are_the_reason(write: Write, tmp_path: Path) -> None:
    network = (
        "            return self.classifier(torch.flatten("
        "nn.functional.adaptive_avg_pool2d(self.block(self.stem(x)), 1), 1))",
        "            y = self.stem(x)\n            y = y.masked_fill(y > 0.4, float('inf'))\n"
        "            return self.classifier(y.clamp(max=9.0).mean((2, 3)))",
    )
    path = write("infinite", network, ('"stem", "block")', '"stem")'))
    out = tmp_path / "out"
    summary, _ = execute(
        config(out, path, "infinite", "raw:values=float32", "steady:bits=32", "interpolation", "decodes-nan",
               split="masked_fill")
    )  # fmt: skip
    assert record_of(out, "raw", "masked_fill").status == "ok"
    assert record_of(out, "steady", "masked_fill").status == "ok"
    assert len(summary.failures) == summary.failed >= 2
    assert {failure.partition(": ")[2] for failure in summary.failures} == {
        "the tensor has values that are not finite, which the codec does not carry"
    }


def test_one_value_a_sample_is_measured(write: Write, tmp_path: Path) -> None:
    network = (
        "self.classifier(torch.flatten(nn.functional.adaptive_avg_pool2d(self.block(self.stem(x)), 1), 1))",
        "self.classifier(self.block(self.stem(x)).mean((1, 2, 3)).unsqueeze(1).repeat(1, 6))",
    )
    out = tmp_path / "out"
    execute(config(out, write("single", network), "single", "raw:values=float32", "zstd", split="mean"))
    assert record_of(out, "raw", "mean").status == "ok"
    assert record_of(out, "zstd", "mean").status == "ok"


def test_a_model_with_other_weights_in_each_process_is_refused(write: Write, tmp_path: Path) -> None:
    path = write("unseeded", ("torch.manual_seed(1)", "torch.seed()"))
    with pytest.raises(PluginError, match="build_model gives another model in each process; load its weights from a"):
        execute(config(tmp_path / "out", path, "unseeded", "steady:bits=32"))
    assert not list((tmp_path / "out").rglob("*.json"))


def test_a_failed_record_keeps_the_lines_of_the_plugin(tmp_path: Path) -> None:
    summary, _ = run(tmp_path, "raises-in-encode", "raises-in-decode")
    for codec in ("raises-in-encode", "raises-in-decode"):
        record = record_of(tmp_path, codec)
        assert len(record.frames) == 1
        assert record.frames[0].startswith("misbehaving.py:")
        assert f" {codec.rpartition('-')[2]}: raise " in record.frames[0]
    assert sorted(summary.frames) == sorted(summary.failures)
    again, _ = run(tmp_path, "raises-in-encode", "raises-in-decode")
    assert sorted(map(list, again.frames.values())) == sorted(map(list, summary.frames.values()))
