"""A run leaves the layers of its model beside its records, and describes them again when they are not current."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.paths import TINY
from support.runs import KeptProcesses, execute

from codecbench.experiment.config import RunConfig
from codecbench.results.store import Store


def run(out: Path) -> list[str]:
    config = RunConfig(
        workload="tiny", samples=4, split=["stem"], codec=["raw:values=float32"], out=out,
        plugin=[TINY],
    )  # fmt: skip
    return execute(config)[1].logged


@pytest.fixture(scope="module")
def out(kept: KeptProcesses, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        kept.share(patch)
        assert run(folder) == []
    return folder


def test_a_run_describes_its_model(out: Path) -> None:
    layers = Store(out).layers("tiny")
    assert layers is not None
    assert len(layers.weights_sha256) == 64
    assert {"input", "stem", "block"} <= set(layers.before)
    (record,) = Store(out).records()
    assert record.cost is not None
    assert sum(layer.flop for layer in layers.head("stem")) == record.cost.head_flop > 0


def test_a_current_description_is_left_alone(out: Path, shared: KeptProcesses) -> None:
    path = out / "tiny" / "layers.json"
    before = path.stat().st_mtime_ns
    run(out)
    assert path.stat().st_mtime_ns == before


def test_one_of_other_weights_is_made_again_though_every_cell_is_there(out: Path, shared: KeptProcesses) -> None:
    store = Store(out)
    layers = store.layers("tiny")
    assert layers is not None
    store.write_layers("tiny", replace(layers, weights_sha256="other"))
    run(out)
    assert store.layers("tiny") == layers


def test_a_damaged_one_is_made_again_and_said(out: Path, shared: KeptProcesses) -> None:
    store = Store(out)
    layers = store.layers("tiny")
    (out / "tiny" / "layers.json").write_text("{")
    (said,) = run(out)
    assert "describing the model again" in said
    assert store.layers("tiny") == layers
