"""A fit's process: sealed before the codec is loaded, with the training samples and nothing of any others."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.onnx_models import residual, written
from support.paths import LEARNING, LOOKING, TINY
from support.prepared import PreparedServer

from codecbench import TensorSpec
from codecbench.checked_workload import CheckedWorkload
from codecbench.errors import WorkerDied
from codecbench.registry import load_file
from codecbench.workers.answers import FitResult
from codecbench.workers.client import DeviceClient, FitClient
from codecbench.workers.forks import FitProcesses, can_fork
from codecbench.workers.pair import Pair, WorkloadRef
from codecbench.workers.process.fit import FitProcess, TrainingSamples
from codecbench.workers.process.models import ModelHost
from codecbench.workers.protocol import Reply
from codecbench.workers.tensor_file import TensorFile
from codecbench.workload import OnnxModel

IMAGE = TensorSpec((3, 8, 8), image=True)
COUNT = 40
TINY_REF = f"{TINY}:Tiny"
SOURCES = (LOOKING, LEARNING)
WAYS = (
    pytest.param(True, id="fork", marks=pytest.mark.skipif(not can_fork(), reason="no process is forked here")),
    pytest.param(False, id="exec"),
)
start = WorkloadRef.start


@pytest.fixture(scope="module", autouse=True)
def prepared_models(prepared_server: PreparedServer) -> Iterator[None]:
    """Models' processes and fork servers are forked; what is tested by exec is started so."""
    with pytest.MonkeyPatch.context() as patch:
        prepared_server.share(patch, sealed=False)
        yield


@pytest.fixture(scope="module")
def device(prepared_models: None) -> Iterator[DeviceClient]:
    """The process that makes the training activations: at the input, so that they are the inputs themselves."""
    with DeviceClient() as client:
        client.build_model(TINY_REF, None, "cpu")
        client.use_split("input")
        # It has had the other samples, as in a run.
        client.run_full_model("choice", range(24))
        client.run_full_model("test", range(64))
        yield client


@pytest.fixture(scope="module", params=WAYS)
def processes(prepared_models: None, request: pytest.FixtureRequest) -> Iterator[FitProcesses]:
    """The processes of fits, forked from one that has built the model, or by exec."""
    with (
        Pair(WorkloadRef(TINY_REF, None, "cpu")) as pair,
        FitProcesses(pair, SOURCES, fork=request.param) as started,
    ):
        yield started


def with_data(client: FitClient, device: DeviceClient, *, threads: int) -> Any:
    """Give the process its data as a run does; return the seal."""
    with tempfile.TemporaryDirectory() as folder:
        file = TensorFile(Path(folder) / "activations", IMAGE, COUNT).create()
        parts = [device.run_head("fit", rows, file, rows.start) for rows in (range(25), range(25, COUNT))]
        client.use_split("input")
        shapes, targets = [shape for found, _ in parts for shape in found], [blob for _, blob in parts]
        return client.take_data(file, shapes, targets, groups=None, threads=threads)


def fit(client: FitClient, kind: str, **options: Any) -> FitResult:
    arguments = {"seed": 0, "max_s": 60.0, "start": None, "saved": None, "timeout_s": 120.0, **options}
    return client.fit(kind, {}, on_progress=lambda *_: None, on_saved=lambda *_: None, **arguments)


@pytest.fixture(scope="module")
def looked(device: DeviceClient, processes: FitProcesses) -> dict[str, Any]:
    """What a codec found in the process of its fit, which was given two threads."""
    with processes.client() as client:
        isolation = with_data(client, device, threads=2)
        found: dict[str, Any] = json.loads(fit(client, f"{LOOKING}:Looks").device)
    return {**found, "isolation": isolation}


def test_the_seal_is_closed_before_the_codecs_module_is_loaded(looked: dict[str, Any]) -> None:
    assert looked["isolation"]["audit_hook"]
    assert looked["at_import"] == {"file": "GuardError", "socket": "GuardError", "threads": 1}


def test_torch_has_its_threads_after_the_seal(looked: dict[str, Any]) -> None:
    assert looked["torch_threads"] == 2


def test_no_input_of_the_choice_and_test_samples_is_in_the_process(looked: dict[str, Any]) -> None:
    assert looked["count"] == COUNT
    # Those of the fit are found, so that the search is one.
    assert looked["inputs"] == {"fit": COUNT, "choice": 0, "test": 0}


def test_the_process_has_the_workloads_module_and_the_codecs_and_no_other_plugin(looked: dict[str, Any]) -> None:
    assert [name.rpartition("_")[0] for name in looked["modules"]] == [
        "codecbench_file_looking",
        "codecbench_file_tiny",
    ]


def test_samples_and_targets_belong_together_and_survive_the_removal_of_their_file(
    device: DeviceClient, processes: FitProcesses
) -> None:
    with processes.client() as client:
        with_data(client, device, threads=1)
        told = json.loads(fit(client, f"{LEARNING}:Passes").edge)
        again = json.loads(fit(client, f"{LEARNING}:Passes").edge)
    assert told == again
    assert told["count"] == COUNT


def test_a_fit_that_ends_its_process_is_named_with_its_status(device: DeviceClient, processes: FitProcesses) -> None:
    with processes.client() as client:
        with_data(client, device, threads=1)
        with pytest.raises(WorkerDied, match=r"^the fit process ended with status 1"):
            fit(client, f"{LEARNING}:DiesOnce")
        assert client.closed
    with processes.client() as another:
        assert another.alive


@pytest.mark.skipif(not can_fork(), reason="processes are not forked on this system")
def test_the_model_is_built_once_for_all_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    monkeypatch.setattr(WorkloadRef, "start", lambda ref, client: built.append(client.role) or start(ref, client))
    with Pair(WorkloadRef(TINY_REF, None, "cpu")) as pair, FitProcesses(pair) as processes:
        processes.warm()
        for _ in range(2):
            with processes.client() as client:
                client.use_split("stem")
        assert built == ["forks"]
        assert pair.cuts.keys() >= {"input", "stem"}
        server = processes._server
        assert server is not None
        server.close()  # as when it is killed
        with processes.client() as client:
            client.use_split("stem")
    assert built == ["forks", "forks"]


def test_on_a_gpu_no_process_is_forked() -> None:
    with Pair(WorkloadRef(TINY_REF, None, "cuda")) as pair, FitProcesses(pair) as processes:
        processes.warm()
        assert processes._server is None


def test_a_tail_without_gradients_says_so_and_runs_all_the_same(tmp_path: Path) -> None:
    process = FitProcess(lambda _frame: None)
    path = written(residual(), tmp_path / "m.onnx")
    kind = type("Onnx", (load_file(TINY).Tiny,), {"build_model": lambda _: OnnxModel(path), "__module__": __name__})
    process._models = ModelHost(CheckedWorkload(kind()), "cpu")
    process.op_split(Reply({"split": "Relu_b"}, []))
    spec = TensorSpec((8, 8, 8))
    process._file = TensorFile(tmp_path / "activations", spec, 1)
    process._samples = [np.zeros((8, 8, 8), np.float32)], [0]
    data = process._fit_data(Reply({"starts": False, "goes_on": False, "seed": 0, "max_s": 9.0}, []))
    assert not data.differentiable
    assert data.tail(torch.zeros(2, 8, 8, 8)).shape == (2, 5)


@given(count=st.integers(1, 60), groups=st.integers(1, 12), seed=st.integers(0, 5))
def test_samples_of_a_group_are_held_out_together(count: int, groups: int, seed: int) -> None:
    numbers = [at % groups for at in range(count)]
    samples = TrainingSamples(list(np.arange(count)[:, None]), list(range(count)), seed, static=True, groups=numbers)
    learned = [target for _, targets in samples.batches(7) for target in targets]
    held_out = [target for _, targets in samples.held_out(7) for target in targets]
    assert sorted([*learned, *held_out]) == list(range(count))
    assert (len(learned), len(held_out)) == (samples.count, samples.held_out_count)
    assert not {numbers[at] for at in learned} & {numbers[at] for at in held_out}
    assert bool(held_out) == (len(set(numbers)) > 1)
    assert len(held_out) <= max(min(500, count // 5), -(-count // len(set(numbers))))


@given(count=st.integers(1, 60), seed=st.integers(0, 5))
def test_without_groups_each_sample_stands_alone(count: int, seed: int) -> None:
    samples = list(np.arange(count)[:, None])
    alone, single = (
        TrainingSamples(samples, list(range(count)), seed, static=True, groups=groups)
        for groups in (None, range(count))
    )
    if count >= 5:
        assert [x.tolist() for x, _ in alone.held_out(9)] == [x.tolist() for x, _ in single.held_out(9)]
    assert alone.held_out_count == min(500, count // 5)
