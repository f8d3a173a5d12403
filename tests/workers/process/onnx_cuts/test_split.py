"""ONNX models are cut where one tensor crosses, and every head and tail equal the model bit for bit."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from support.onnx_models import IMAGE, constant, exported, model, node, residual, written
from torch import Tensor, nn

from codecbench.codec import TensorSpec
from codecbench.errors import PluginError, UsageError
from codecbench.measure import torch_threads
from codecbench.workers.process.onnx_cuts.split import OnnxSplit
from codecbench.workload import OnnxModel

SPEC = TensorSpec(IMAGE, image=True)


def images(*batches: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(n, *IMAGE, generator=generator) for n in batches]


def split(path: Path, spec: TensorSpec = SPEC, **form: object) -> OnnxSplit:
    return OnnxSplit(OnnxModel(path, **form), images(2, 3), spec)  # type: ignore[arg-type]


def assert_every_cut_holds(found: OnnxSplit) -> None:
    """On inputs that are none of the probes."""
    (x,) = images(4)
    for name, cut in found.cuts.items():
        head, tail = found.split(name)
        crossing = head(x)
        assert cut.spec.mismatch(crossing.shape[1:], str(crossing.dtype).removeprefix("torch.")) is None
        assert torch.equal(tail(crossing), found.full(x)), name


def test_a_residual_model_is_cut_outside_its_residual(tmp_path: Path) -> None:
    found = split(written(residual(), tmp_path / "m.onnx"))
    assert list(found.cuts) == ["input", "Conv_a", "Relu_b", "Add_e", "Relu_f", "GlobalAveragePool_g", "Flatten_h"]
    assert found.cuts["input"].spec == SPEC
    assert found.cuts["Relu_b"].spec == TensorSpec((8, 8, 8))
    assert found.cuts["Flatten_h"].spec == TensorSpec((8,))
    assert_every_cut_holds(found)


def test_the_full_model_gives_what_onnxruntime_gives(tmp_path: Path) -> None:
    path = written(residual(), tmp_path / "m.onnx")
    (x,) = images(3)
    (expected,) = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(
        None, {"x": x.numpy()}
    )
    assert np.allclose(split(path).full(x), expected, atol=1e-5)


@pytest.mark.parametrize("batch", ["batch", 1])
def test_samples_of_a_fixed_batch_run_one_by_one(batch: int | str, tmp_path: Path) -> None:
    found = split(written(residual(batch=batch), tmp_path / "m.onnx"))
    assert found.one_by_one == (batch == 1)
    assert_every_cut_holds(found)
    (x,) = images(5)
    assert torch.equal(found.full(x), torch.cat([found.full(row) for row in x.split(1)])) or batch == "batch"


def test_a_batch_fixed_at_another_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="batch axis is fixed at 4; export the model with a batch of 1"):
        split(written(residual(batch=4), tmp_path / "m.onnx"))


def test_half_precision_crosses_as_float32_of_equal_values(tmp_path: Path) -> None:
    from onnx import TensorProto

    found = split(written(residual("float16", element=TensorProto.FLOAT16), tmp_path / "m.onnx"))
    head, _ = found.split("Relu_b")
    crossing = head(images(1)[0])
    spec = found.cuts["Relu_b"].spec
    assert (spec.dtype, spec.model_dtype, spec.raw_bytes(spec.max_shape)) == ("float32", "float16", 2 * 8 * 8 * 8)
    assert torch.equal(crossing, crossing.half().float())
    assert_every_cut_holds(found)


def test_a_picture_is_prepared_within_the_head(tmp_path: Path) -> None:
    path = written(residual(), tmp_path / "m.onnx")
    plain, prepared = (
        split(path),
        split(path, reverse_channels=True, mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 5.0), scale=3.0),
    )
    (x,) = images(2)
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in ([1.0, 2.0, 3.0], [2.0, 4.0, 5.0]))
    assert torch.allclose(prepared.full(x), plain.full((x.flip(1) - mean) / std * 3), atol=1e-4)
    assert list(prepared.cuts) == list(plain.cuts)
    assert_every_cut_holds(prepared)


def test_threads_follow_torch(tmp_path: Path) -> None:
    found = split(written(residual(), tmp_path / "m.onnx"))
    for threads in (1, 2, 1):
        with torch_threads(threads):
            assert found.full.session().get_session_options().intra_op_num_threads == threads


def test_a_layer_norm_is_cut_within_its_formula(tmp_path: Path) -> None:
    """onnxruntime would fuse its nodes in the full model and could not in head and tail."""
    nodes = [
        node("Flatten", ["x"], "a"),
        node("ReduceMean", ["a", "axis"], "mean"),
        node("Sub", ["a", "mean"], "centred"),
        node("Mul", ["centred", "centred"], "squares"),
        node("ReduceMean", ["squares", "axis"], "variance"),
        node("Sqrt", ["variance"], "deviation"),
        node("Div", ["centred", "deviation"], "b"),
        node("MatMul", ["b", "weight"], "y"),
    ]
    from onnx import numpy_helper

    axis = numpy_helper.from_array(np.array([-1], np.int64), "axis")
    found = split(written(model(nodes, [axis, constant("weight", 192, 4)]), tmp_path / "m.onnx"))
    assert list(found.cuts) == ["input", "Flatten_a", "Sub_centred", "Div_b"]
    assert_every_cut_holds(found)


def test_names_are_those_of_modules_where_the_exporter_wrote_them(tmp_path: Path) -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
            self.out = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.stem(x).mean((2, 3)))

    found = split(exported(Small(), IMAGE, tmp_path / "m.onnx"))
    assert list(found.cuts) == ["input", "stem.1", "stem", "mean"]
    assert_every_cut_holds(found)


def test_an_unknown_split_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no split point 'Relu_bb'.*Relu_b"):
        split(written(residual(), tmp_path / "m.onnx")).split("Relu_bb")


def test_onnxruntime_sends_no_reports_and_starts_no_thread_for_them() -> None:
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_layers_add_up_to_the_cost_of_a_head(tmp_path: Path) -> None:
    found = split(written(residual(), tmp_path / "m.onnx"))
    layers = found.layers(images(1)[0])
    assert [layer.kind for layer in layers.layers] == [
        "conv2d", "relu", "conv2d", "batch_norm", "add", "relu", "mean", "view", "linear",
    ]  # fmt: skip
    first = layers.layers[0]
    assert (first.kernel, first.stride, first.groups, first.in_channels, first.out_channels) == (3, 1, 1, 3, 8)
    assert first.flop == 2 * 8 * 8 * 8 * 27
    assert first.moved_bytes == 4 * (3 * 64 + 8 * 64 + 8 * 27)
    assert layers.before == {
        "input": 0, "Conv_a": 1, "Relu_b": 2, "Add_e": 5, "Relu_f": 6, "GlobalAveragePool_g": 7, "Flatten_h": 8,
    }  # fmt: skip
    for name in found.cuts:
        head, _ = found.split(name)
        flop, peak = found.head_cost(head, images(1)[0])
        assert flop == sum(layer.flop for layer in layers.head(name))
        assert (peak > 0) == (name != "input")
    head, _ = found.split("Relu_f")
    assert found.head_cost(head, images(1)[0])[1] == 3 * 4 * 8 * 64


def test_layers_of_an_exported_model_cost_what_torch_counts(tmp_path: Path) -> None:
    from codecbench.measure import count_flop
    from codecbench_datasets.cifar10.model import ResNet20

    torch.manual_seed(0)
    module = ResNet20().eval()
    found = OnnxSplit(
        OnnxModel(exported(module, (3, 32, 32), tmp_path / "m.onnx")),
        [torch.rand(2, 3, 32, 32), torch.rand(3, 3, 32, 32)], TensorSpec((3, 32, 32), image=True),
    )  # fmt: skip
    sample = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        assert sum(layer.flop for layer in found.layers(sample).layers) == count_flop(lambda: module(sample))
    assert {"stem", "stage1", "stage2", "stage3"} < set(found.cuts)
