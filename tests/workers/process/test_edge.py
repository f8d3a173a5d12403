"""The edge's model process: which outcomes are taken from the full model, and what a decoder may have written."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.paths import TINY

from codecbench import TensorSpec
from codecbench.errors import CodecFailure, FailureCode
from codecbench.results.outcomes import replaced
from codecbench.workers.process.edge import EdgeProcess
from codecbench.workers.process.models import ModelHost
from codecbench.workers.protocol import MODEL_BATCH, Reply, unpack_columns
from codecbench.workers.tensor_file import TensorFile

STEM = TensorSpec((6, 4, 4))
COUNT = 2 * MODEL_BATCH + 6
KEPT = {"numerator": np.full(COUNT, 0.25), "denominator": np.full(COUNT, 8.0)}
"""Outcomes of the full model that no tail gives."""


@pytest.fixture
def edge() -> EdgeProcess:
    process = EdgeProcess()
    process.op_workload(
        Reply({"workload": f"{TINY}:Tiny", "data_dir": "", "weights_folders": [], "torch_device": "cpu"}, [])
    )
    process.op_split(Reply({"split": "stem"}, []))
    return process


@pytest.fixture
def batches(edge: EdgeProcess, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that have run."""
    ran: list[int] = []
    run = ModelHost.run

    def counted(host: ModelHost, model: Any, xs: Sequence[Any]) -> Any:
        ran.append(len(xs))
        return run(host, model, xs)

    monkeypatch.setattr(ModelHost, "run", counted)
    return ran


@pytest.fixture
def tensors(tmp_path: Path) -> TensorFile:
    """A chunk's file with what a decoder wrote."""
    file = TensorFile(tmp_path / "decoded", STEM, COUNT).create()
    for row in range(COUNT):
        file.write(row, np.random.default_rng(row).random((6, 4, 4), np.float32))
    return file


def score(edge: EdgeProcess, tensors: TensorFile, exact: Sequence[bool], first: int = 0) -> list[tuple[float, float]]:
    count = len(exact)
    fields = {
        "tensors": tensors.to_json(), "first_row": first, "shapes": [[6, 4, 4]] * count, "exact": list(exact),
        "finite": [True] * count,
    }  # fmt: skip
    reply, blobs = edge.op_score(Reply(fields, [pickle.dumps([1] * count)]))
    kept = {name: column[:count] for name, column in KEPT.items()}
    columns = replaced(kept, ~np.array(exact), unpack_columns(reply["outcomes"], blobs))
    return list(zip(*(column.tolist() for column in columns.values()), strict=True))


def alone(edge: EdgeProcess, tensors: TensorFile) -> list[tuple[float, float]]:
    """The outcomes of the rows, each in a request of its own."""
    return [score(edge, tensors, [False], first=row)[0] for row in range(COUNT)]


def test_changed_tensors_are_scored_by_the_tail(edge: EdgeProcess, tensors: TensorFile, batches: list[int]) -> None:
    found = score(edge, tensors, [False] * COUNT)
    assert batches == [MODEL_BATCH, MODEL_BATCH, 6]
    assert found == alone(edge, tensors)
    assert set(found) <= {(0.0, 1.0), (1.0, 1.0)}


def test_exact_tensors_take_the_full_models_outcome_and_their_batches_do_not_run(
    edge: EdgeProcess, tensors: TensorFile, batches: list[int]
) -> None:
    exact = [row < MODEL_BATCH or row % 2 == 0 or row >= 2 * MODEL_BATCH for row in range(COUNT)]
    found = score(edge, tensors, exact)
    assert batches == [MODEL_BATCH]
    by_tail = alone(edge, tensors)
    assert found == [(0.25, 8.0) if same else by_tail[row] for row, same in enumerate(exact)]


def test_nothing_runs_where_all_tensors_are_exact(edge: EdgeProcess, tensors: TensorFile, batches: list[int]) -> None:
    assert score(edge, tensors, [True] * COUNT) == [(0.25, 8.0)] * COUNT
    assert batches == []


def test_rows_behind_the_first_are_scored_with_their_own_targets(edge: EdgeProcess, tensors: TensorFile) -> None:
    assert score(edge, tensors, [False] * 5, first=40) == alone(edge, tensors)[40:45]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_the_codecs_failure(
    edge: EdgeProcess, tensors: TensorFile, batches: list[int], value: float
) -> None:
    wrong = np.zeros((6, 4, 4), np.float32)
    wrong[5, 3, 3] = value
    tensors.write(MODEL_BATCH + 3, wrong)
    with pytest.raises(CodecFailure, match=r"^decode gave values that are not finite$") as caught:
        score(edge, tensors, [False] * COUNT)
    assert caught.value.code == FailureCode.NOT_FINITE
    assert batches == [MODEL_BATCH]
