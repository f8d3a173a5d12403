"""A ResNet-20 exported to ONNX gives the outcomes of the torch one, sample by sample, and so does what codecs send."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.onnx_models import exported

from codecbench.checked_workload import CheckedWorkload
from codecbench.registry import manager, workloads
from codecbench.workers.process.models import ModelHost
from codecbench.workload import OnnxModel
from codecbench_plugins.jpeg_huffman import JpegHuffman

SAMPLES = range(48)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelHost, ModelHost]:
    """The workload with its torch model, and with the same model as an ONNX file."""
    kind = workloads(manager([]))["cifar10-resnet20"]
    module = kind().build_model()
    assert isinstance(module, torch.nn.Module)
    path = exported(module, (3, 32, 32), tmp_path_factory.mktemp("onnx") / "resnet20.onnx")
    other = type("Exported", (kind,), {"build_model": lambda _: OnnxModel(path), "__module__": __name__})
    return ModelHost(CheckedWorkload(kind()), "cpu"), ModelHost(CheckedWorkload(other()), "cpu")


def outcomes(host: ModelHost, model: Any, xs: list[Any]) -> list[Any]:
    targets = host.workload.targets("test", SAMPLES)
    return host.workload.scores(host.run(model, xs), targets)


def test_top_1_is_that_of_the_torch_model(hosts: tuple[ModelHost, ModelHost]) -> None:
    found = [outcomes(host, host.full_model, host.workload.inputs("test", SAMPLES)) for host in hosts]
    assert found[0] == found[1]


@pytest.mark.parametrize("split", ["input", "stage1"])
def test_jpeg_carries_the_same(split: str, hosts: tuple[ModelHost, ModelHost]) -> None:
    """At the input byte for byte; behind it a float32 sum may round in another way, and the outcomes are the same."""
    payloads, found = [], []
    for host in hosts:
        head, tail = host.split(split)
        codec = JpegHuffman(host.cut_model.cuts[split].spec, quality=75, tables="own")
        activations = [values for (values,) in host.run(head, host.workload.inputs("test", SAMPLES))]
        payloads.append(codec.encode_batch([torch.from_numpy(values) for values in activations]))
        found.append(outcomes(host, tail, [tensor.numpy() for tensor in codec.decode_batch(payloads[-1])]))
    assert found[0] == found[1]
    if split == "input":
        assert payloads[0] == payloads[1]
    assert all(abs(len(a) - len(b)) < 0.02 * len(a) for a, b in zip(*payloads, strict=True))
