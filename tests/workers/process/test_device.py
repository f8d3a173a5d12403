"""The device's process: targets that are the full model's outputs, and split points that are chosen from the cuts."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from support.paths import TINY

from codecbench.checked_workload import CheckedWorkload
from codecbench.codec import TensorSpec
from codecbench.descriptions.data_hash import data_sha256
from codecbench.registry import load_file
from codecbench.workers.process import models as models_module
from codecbench.workers.process.device import DeviceProcess
from codecbench.workers.process.models import ModelHost
from codecbench.workers.protocol import Reply, unpack_columns
from codecbench.workers.tensor_file import TensorFile

Tiny = load_file(TINY).Tiny


class Agreeing(Tiny):  # type: ignore[misc, valid-type]
    """The tiny workload, scored by the distance of its outputs from the full model's."""

    targets_from_model = True
    default_splits = ()

    def targets(self, subset: Any, positions: Any) -> NoReturn:
        raise AssertionError("the targets are the model's outputs")

    def score(self, output: Any, target: Any) -> tuple[float, float]:
        return float(all(map(np.array_equal, output, target))), 1.0


@pytest.fixture
def device() -> DeviceProcess:
    found = DeviceProcess()
    found._models = ModelHost(CheckedWorkload(Agreeing()), "cpu")
    return found


def test_the_full_model_agrees_with_itself(device: DeviceProcess) -> None:
    for positions in (range(5), range(3, 40), range(7)):
        _, blobs = device.op_full_model(Reply({"subset": "test", "positions": list(positions)}, []))
        assert np.frombuffer(blobs[0]).tolist() == [1.0] * len(positions)


def test_targets_of_heads_are_the_outputs_of_the_full_model(device: DeviceProcess, tmp_path: Path) -> None:
    device.op_split(Reply({"split": "stem"}, []))
    positions, file = [3, 1, 8], TensorFile(tmp_path / "heads", TensorSpec((6, 4, 4)), 3)
    file.create()
    fields = {"subset": "fit", "positions": positions, "tensors": file.to_json(), "first_row": 0}
    _, (blob,) = device.op_head(Reply(fields, []))
    targets = pickle.loads(blob)
    models = device.models
    expected = models.run(models.full_model, models.workload.inputs("fit", positions))
    assert all(np.array_equal(found[0], want[0]) for found, want in zip(targets, expected, strict=True))


def test_kept_outputs_are_not_computed_again_and_have_a_limit(
    device: DeviceProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = device.models
    ran: list[int] = []
    run = ModelHost.run
    monkeypatch.setattr(ModelHost, "run", lambda self, model, xs: (ran.append(len(xs)), run(self, model, xs))[1])
    models._room_bytes = 3 * 4 * 4  # three samples of four logits
    inputs = models.workload.inputs("test", range(5))
    first = models.targets("test", range(5), inputs)
    again = models.targets("test", range(5), inputs)
    assert ran == [5, 2]
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first[:3], again[:3], strict=True))
    assert all(np.allclose(a[0], b[0], atol=1e-5) for a, b in zip(first, again, strict=True))
    assert models_module.KEPT_OUTPUTS_BYTES == 64 << 20


def test_the_data_hash_covers_the_inputs_only(device: DeviceProcess) -> None:
    fields, _ = device.op_data_hash(Reply({"positions": {"test": [0, 1], "fit": []}}, []))
    inputs = device.models.workload.inputs("test", [0, 1])
    assert fields["data_hash"] == data_sha256({"test": (inputs, ())})


def test_split_points_are_chosen_where_the_workload_names_none(device: DeviceProcess) -> None:
    fields, _ = device.op_describe_workload(Reply({}, []))
    assert fields["info"]["default_splits"][0] == "input"
    assert set(fields["info"]["default_splits"]) <= set(device.models.cut_model.cuts)
    assert len(fields["info"]["default_splits"]) == 4


def test_two_looks_are_scored_by_the_mean_of_the_outputs_for_an_image_and_its_mirror_image(
    device: DeviceProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Agreeing, "score", lambda self, output, target: (float(output[0].sum()), float(output[0][0])))
    fields, blobs = device.op_full_model(Reply({"subset": "test", "positions": [2, 5], "two_looks": True}, []))
    columns = unpack_columns(fields["outcomes"], blobs)
    models = device.models
    inputs = models.workload.inputs("test", [2, 5])
    one, other = (models.run(models.full_model, xs) for xs in (inputs, [x[..., ::-1].copy() for x in inputs]))
    means = [(a[0] + b[0]) / 2 for a, b in zip(one, other, strict=True)]
    assert columns["numerator"].tolist() == [float(a[0].sum()) for a in one]
    assert columns["two_looks_numerator"].tolist() == [float(mean.sum()) for mean in means]
    assert columns["two_looks_denominator"].tolist() == [float(mean[0]) for mean in means]


@pytest.mark.parametrize("output", [(np.zeros((2, 3)),), (np.zeros(3), np.zeros(3)), (np.zeros(3, np.int64),)])
def test_outputs_that_are_no_scores_of_classes_have_one_look(device: DeviceProcess, output: Any) -> None:
    assert device._mean_of_looks([np.zeros((3, 8, 8), np.float32)], [output]) is None
