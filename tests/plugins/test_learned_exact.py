"""The symbols decoded are those encoded: 2,000 test images at each of the five splits, from the shipped states."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch
from support.registered import CODECS, LEARNED_SPECS, PLUGINS

from codecbench import Codec, TensorSpec
from codecbench.experiment.config import DEFAULT_WORKLOAD, RunConfig
from codecbench.experiment.progress import reporter
from codecbench.harness.run import Run
from codecbench.kit.cases import KitCase
from codecbench.kit.samples import DEFAULT_SPECS, spec_label
from codecbench.measure import torch_threads
from codecbench.registry import resolve, workloads
from codecbench.toolbox.coding.headers import read_shape
from codecbench.workers.process.graph_split import SplitModel

LEARNED = ("ae-plus", "deepcod", "deepcod-rd")
SPLITS = ("input", "stem", "stage1", "stage2", "stage3")
IMAGES, BATCH = 2000, 64


@lru_cache(maxsize=1)
def activations(split: str) -> tuple[TensorSpec, torch.Tensor]:
    workload = workloads(PLUGINS)[DEFAULT_WORKLOAD]()
    probes = [torch.rand(batch, *workload.input_spec.max_shape) for batch in (2, 3)]
    model = SplitModel(workload.build_model(), probes, workload.input_spec)
    head, _ = model.split(split)
    with torch.no_grad():
        parts = [
            head(torch.from_numpy(np.stack(workload.inputs("test", list(range(at, at + 100))))))
            for at in range(0, IMAGES, 100)
        ]
    return model.cut(split).spec, torch.cat(parts)


def sides(name: str, split: str) -> tuple[Codec, Codec]:
    with reporter() as report, Run(RunConfig(codec=[name], split=[split]), report) as run:
        cell = run.plan()[0]
        state = run.fits.state_of(cell)
    device, edge = (resolve(cell.codec.reference)(cell.spec, **cell.key.point) for _ in range(2))
    device.restore("device", state.device)
    edge.restore("edge", state.edge)
    return device, edge


def require_sent(device: Codec, decoded: np.ndarray, symbols: np.ndarray, body: bytes) -> None:
    """What lies beyond its table is sent as the greatest that is in it: those are then the symbols encoded."""
    beyond = decoded != symbols
    assert beyond.mean() < 0.01
    assert (np.abs(decoded[beyond]) < np.abs(symbols[beyond])).all()
    assert device._prior.encode(decoded) == bytes(body)


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", LEARNED)
def test_what_is_decoded_is_what_was_encoded(name: str, split: str) -> None:
    assert name in CODECS
    spec, xs = activations(split)
    device, edge = sides(name, split)
    with torch_threads(2):
        together = [p for at in range(0, IMAGES, BATCH) for p in device.encode_batch(list(xs[at : at + BATCH]))]
    with torch_threads(1):
        alone = [device.encode(x) for x in xs]
        encoded = [np.asarray(device._symbols(x)) for x in xs]
    assert together == alone
    for count in (1, 2):
        with torch_threads(count):
            for payload, symbols in zip(alone, encoded, strict=True):
                shape, body = read_shape(spec, payload)
                decoded = np.asarray(edge._read(body, shape))
                if not np.array_equal(decoded, symbols):
                    require_sent(device, decoded, symbols, body)


KIT_SPECS = [
    pytest.param(spec, id=spec_label(spec), marks=[] if spec in LEARNED_SPECS else pytest.mark.slow)
    for spec in DEFAULT_SPECS
]


@pytest.mark.parametrize("spec", KIT_SPECS)
@pytest.mark.parametrize("name", LEARNED)
def test_every_kind_of_tensor_is_fitted_and_its_symbols_are_exact(name: str, spec: TensorSpec) -> None:
    codec = CODECS[name]
    case = KitCase(codec, spec, codec.quick_points_for(spec)[0])
    assert codec.skip_reason(spec, **case.point) is None
    device, edge = case.side("device"), case.side("edge")
    for x, payload in zip(case.samples, case.payloads, strict=True):
        shape, body = read_shape(spec, payload)
        symbols, decoded = np.asarray(device._symbols(x)), np.asarray(edge._read(body, shape))
        if not np.array_equal(decoded, symbols):
            # A prior of few samples lacks some symbols: the nearest ones that it has are sent, and arrive.
            assert np.count_nonzero(decoded != symbols) <= max(2, symbols.size // 50)
            assert device._prior.encode(decoded) == bytes(body)
