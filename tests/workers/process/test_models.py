"""A workload's model is checked before anything is measured: outputs, repeats, split points, a few samples."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.onnx_models import residual, written
from support.paths import TINY
from torch import Tensor, nn

from codecbench.checked_workload import CheckedWorkload
from codecbench.codec import TensorSpec
from codecbench.errors import DataError, PluginError
from codecbench.registry import load_file
from codecbench.workers.process.device import DeviceProcess
from codecbench.workers.process.models import ModelHost
from codecbench.workers.protocol import Reply
from codecbench.workers.tensor_file import TensorFile
from codecbench.workload import OnnxModel

Tiny = load_file(TINY).Tiny


def host(forward: Any, **changes: Any) -> ModelHost:
    """A workload whose model ends with this function of 8 x 8 images after a 1 x 1 convolution."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.stem = nn.Conv2d(3, 4, 1)
            self.gru = nn.GRU(4, 4, 2, batch_first=True)

        def forward(self, x: Tensor) -> Any:
            return forward(self, self.stem(x))

    methods = {"build_model": lambda _: Net().eval(), "__module__": __name__, **changes}
    return ModelHost(CheckedWorkload(type("Changed", (Tiny,), methods)()), "cpu")


def refused(forward: Any, **changes: Any) -> str:
    with pytest.raises((DataError, PluginError)) as caught:
        host(forward, **changes)
    text = str(caught.value)
    assert text.startswith("workload 'tiny' (")
    assert "\n" not in text
    return text.partition("): ")[2]


def logits(_net: Any, y: Tensor) -> Tensor:
    return y.mean((2, 3))


def last_state(net: Any, y: Tensor) -> Any:
    values, state = net.gru(y.flatten(2).transpose(1, 2))
    return state, values[:, -1]


def test_an_output_whose_first_axis_is_not_the_batch_is_refused_at_any_batch_size() -> None:
    # The GRU has two layers, and one of the probes is a batch of two.
    assert refused(last_state) == (
        "output 0 of the model has the shape (2, 3, 4) for a batch of 3; axis 0 of every output must be the batch"
    )
    assert "output 1 of the model has the shape ()" in refused(lambda _, y: (logits(None, y), y.mean()))


def test_outputs_are_tensors() -> None:
    assert refused(lambda _, y: (logits(None, y), "a")) == "output 1 of the model is str; return tensors only"
    assert refused(lambda _, _y: ()) == "the model gives no output; return at least one tensor"


def test_none_and_numbers_among_outputs_are_left_out() -> None:
    found = host(lambda _, y: {"loss": None, "count": 4, "logits": logits(None, y), "nested": [(y, None)]})
    (sample,) = found.run(found.full_model, found.workload.inputs("test", [0]))
    assert [array.shape for array in sample] == [(4,), (4, 8, 8)]


def test_a_model_that_takes_batches_of_one_runs_sample_by_sample() -> None:
    found = host(lambda _, y: y.reshape(1, 4, 64).mean(2))
    head, tail = found.split("stem")
    inputs = found.workload.inputs("test", range(5))
    activations = [values for (values,) in found.run(head, inputs)]
    for whole, parts in zip(found.run(found.full_model, inputs), found.run(tail, activations), strict=True):
        assert np.array_equal(whole[0], parts[0])


def test_outputs_of_two_bytes_are_scored_as_float32() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.stem(x).mean((2, 3))

    found = host(logits, build_model=lambda _: Half().eval().bfloat16())
    (sample,) = found.run(found.full_model, found.workload.inputs("test", [0]))
    assert [array.dtype for array in sample] == [np.float32]


@pytest.mark.parametrize(
    "forward",
    [lambda _, y: nn.functional.dropout(logits(None, y), 0.5, training=True), lambda _, y: torch.rand_like(y)],
)
def test_a_model_that_does_not_repeat_itself_is_refused(forward: Any) -> None:
    assert refused(forward).startswith("the model gives other outputs for the same batch the second time; switch drop")


def test_a_model_that_raises_is_named_with_its_line() -> None:
    def forward(_net: Any, y: Tensor) -> Tensor:
        return y @ torch.zeros(3, 3)

    with pytest.raises(DataError) as caught:
        host(forward)
    line = forward.__code__.co_firstlineno + 1
    assert f"({__file__}, line {line}): the model raised RuntimeError: " in str(caught.value)


def test_a_model_that_cannot_be_traced_is_the_workloads() -> None:
    assert refused(lambda _, y: logits(None, y) if y.sum() > 0 else logits(None, -y)).startswith(
        "Net cannot be cut: torch.export stops at `assert refused("
    )


def test_values_that_are_no_numbers_equal_themselves() -> None:
    found = host(lambda _, y: torch.where(y > 0, torch.log(y - y), y / 0 * 0).mean((2, 3)))
    for name in found.cut_model.cuts:
        found.split(name)


def test_one_value_a_sample_can_cross() -> None:
    found = host(lambda _, y: y.mean((1, 2, 3)).unsqueeze(1))
    cut = found.cut_model.cuts["mean"]
    assert cut.spec == TensorSpec(())
    head, _ = found.split("mean")
    activations = [values for (values,) in found.run(head, found.workload.inputs("test", [0, 1, 2]))]
    assert {(type(values), values.shape) for values in activations} == {(np.ndarray, ())}


def described(**changes: Any) -> Any:
    process = DeviceProcess()
    process._models = host(logits, **changes)
    return process.op_describe_workload(Reply({}, []))


def test_a_few_samples_are_read_run_and_scored_before_any_cell() -> None:
    calls: list[tuple[str, str | None, int]] = []

    def noted(method: str) -> Any:
        original = getattr(Tiny, method)

        def call(self: Any, first: Any, second: Any) -> Any:
            calls.append((method, first if isinstance(first, str) else None, len(second) if method != "score" else 1))
            return original(self, first, second)

        return call

    described(default_splits=("stem",), **{method: noted(method) for method in ("inputs", "targets", "score")})
    expected = {(method, subset, 4) for method in ("inputs", "targets") for subset in ("fit", "choice", "test")}
    assert set(calls) == {*expected, ("score", None, 1)}
    assert calls.count(("score", None, 1)) == 8


@pytest.mark.parametrize(
    ("changes", "mistake"),
    [
        (
            {"default_splits": ("stem", "stam")},
            "default_splits has 'stam', which is no split point; did you mean 'stem",
        ),
        ({"score": lambda *_: 1.0}, "score gave 1.0; return a numerator and a denominator, two numbers"),
        ({"targets": lambda *_: [1]}, "gave 1 targets for 4 positions"),
        ({"inputs": lambda *_: [np.zeros((3, 8, 8))] * 4}, "at position 0: dtype is float64, the spec says float32"),
    ],
)
def test_mistakes_show_before_any_cell(changes: dict[str, Any], mistake: str) -> None:
    with pytest.raises(DataError) as caught:
        described(**{"default_splits": ("stem",), **changes})
    assert mistake in str(caught.value)


def test_targets_that_cannot_be_sent_are_named(tmp_path: Path) -> None:
    process = DeviceProcess()
    process._models = host(logits, targets=lambda _self, _subset, positions: [lambda: None] * len(positions))
    process.op_split(Reply({"split": "stem"}, []))
    file = TensorFile(tmp_path / "activations", process.models.cut_model.cuts["stem"].spec, 1).create()
    request = {"subset": "test", "positions": [0], "tensors": file.to_json(), "first_row": 0}
    with pytest.raises(DataError, match="targets cannot be sent to another process"):
        process.op_head(Reply(request, []))


def test_an_onnx_file_stands_in_for_a_module(tmp_path: Path) -> None:
    path = written(residual(), tmp_path / "m.onnx")
    found = host(None, build_model=lambda _: OnnxModel(path))
    assert not found.cut_model.differentiable
    head, tail = found.split("Relu_b")
    xs = found.workload.inputs("test", [0, 1, 2])
    activations = [values for (values,) in found.run(head, xs)]
    pairs = zip(found.run(tail, activations), found.run(found.full_model, xs), strict=True)
    assert all(np.array_equal(part[0], full[0]) for part, full in pairs)


def test_a_mistake_in_an_onnx_file_is_the_workloads(tmp_path: Path) -> None:
    path = written(residual(batch=4), tmp_path / "m.onnx")
    assert refused(None, build_model=lambda _: OnnxModel(path)).startswith("its batch axis is fixed at 4")
    assert refused(None, build_model=lambda _: 3).endswith("return a torch.nn.Module or an OnnxModel")


def test_missing_packages_are_named_with_their_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(residual(), tmp_path / "m.onnx")
    monkeypatch.setitem(sys.modules, "codecbench.workers.process.onnx_cuts.split", None)
    assert "needs onnx and onnxruntime" in (text := refused(None, build_model=lambda _: OnnxModel(path)))
    assert text.endswith("pip install 'codecbench[onnx]'")
