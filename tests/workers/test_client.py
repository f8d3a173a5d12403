"""The model's processes and those of fits: what they are told, what crosses, and that nothing of them stays behind."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.codec_processes import is_gone, wait_for
from support.paths import TINY

from codecbench import TensorSpec
from codecbench.errors import DataError, PluginError, UsageError, WorkerDied, WorkerError
from codecbench.measure import Deadline
from codecbench.operating_points import STATISTICS_SAMPLES
from codecbench.workers.client import DeviceClient, EdgeClient, FitClient, ModelClient
from codecbench.workers.connection import WorkerClient
from codecbench.workers.tensor_file import TensorFile

TINY_REF = f"{TINY}:Tiny"
STEM = TensorSpec((6, 4, 4))
COUNT = 10
LABELS = [(2_000 + position) * 7 % 4 for position in range(COUNT)]


@pytest.fixture(scope="module")
def device() -> Iterator[DeviceClient]:
    """One device process for all tests that leave it in order."""
    with DeviceClient() as client:
        client.build_model(TINY_REF, None, "cpu")
        yield client


@pytest.fixture(scope="module")
def edge() -> Iterator[EdgeClient]:
    """One edge process for all tests that leave it in order."""
    with EdgeClient() as client:
        client.build_model(TINY_REF, None, "cpu")
        yield client


# --- what crosses ---------------------------------------------------------------------------------------------------


def test_both_sides_build_the_same_model(device: DeviceClient, edge: EdgeClient) -> None:
    assert len({device.pid, edge.pid, os.getpid()}) == 3
    built = [client.build_model(TINY_REF, None, "cpu") for client in (device, edge)]
    assert built[0] == built[1]
    assert built[0].cuts["stem"] == STEM
    assert built[0].cuts["input"].image


def test_the_device_says_what_a_run_has_to_know_of_the_workload(device: DeviceClient) -> None:
    info = device.describe_workload()
    assert info.name == "tiny"
    assert list(info.sample_ids["choice"][:2]) == [1_000, 1_001]


def test_the_device_measures_the_first_training_samples_at_each_split(device: DeviceClient) -> None:
    found = device.statistics(["input", "stem"])
    assert list(found) == ["input", "stem"]
    assert all(each is not None and each.samples == STATISTICS_SAMPLES for each in found.values())
    assert found["input"] is not None
    assert found["input"].values == 192.0
    assert 0.0 <= found["input"].low < found["input"].mean < found["input"].high <= 1.0
    assert device.statistics([]) == {}


def test_heads_and_tails_give_what_the_full_model_gives(device: DeviceClient, edge: EdgeClient, tmp_path: Path) -> None:
    positions = range(COUNT)
    full = device.run_full_model("test", positions)
    assert full.forward_s > 0
    assert set(full.outcomes["denominator"]) == {1.0}
    for client in (device, edge):
        client.use_split("stem")
    file = TensorFile(tmp_path / "activations", STEM, COUNT).create()
    parts = [device.run_head("test", rows, file, rows.start) for rows in (range(4), range(4, COUNT))]
    assert [label for _, blob in parts for label in pickle.loads(blob)] == LABELS
    shapes = [shape for found, _ in parts for shape in found]
    assert shapes == [(6, 4, 4)] * COUNT
    for position in (0, COUNT - 1):
        # A batch of one is summed in another order.
        assert np.allclose(file.read(position, (6, 4, 4)), device.activation("test", position), atol=1e-6)
    nothing = dict.fromkeys(("numerator", "denominator"), np.full(COUNT, np.nan))
    edge.start_score(file, 0, shapes, targets=pickle.dumps(LABELS), full_model=nothing, exact=[False] * COUNT)
    found = edge.finish_score(Deadline(60))
    assert {name: column.tolist() for name, column in found.items()} == {
        name: column.tolist() for name, column in full.outcomes.items()
    }
    (logits,) = edge.outputs(file.read(3, (6, 4, 4)))
    assert float(logits.argmax() == LABELS[3]) == full.outcomes["numerator"][3]


def test_steps_are_timed_and_counted(device: DeviceClient, edge: EdgeClient) -> None:
    for client in (device, edge):
        client.use_split("stem")
    assert device.time_head("test", 0) > 0
    assert edge.time_tail(device.activation("test", 0)) > 0
    cost = device.head_cost("test", 0)
    assert cost.flop == 2 * 3 * 9 * 6 * 16
    assert cost.peak_bytes >= STEM.nbytes


# --- what processes are told, and their errors ------------------------------------------------------------------------


def environment(client: WorkerClient) -> dict[str, str]:
    pairs = (item.partition("=") for item in Path(f"/proc/{client.pid}/environ").read_text().split("\0") if item)
    return {name: value for name, _, value in pairs}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the environment of a process is read from /proc")
def test_the_device_alone_is_told_where_data_lies(device: DeviceClient, edge: EdgeClient) -> None:
    with FitClient() as fit:
        fit.set_threads(1)  # it runs: its environment can be read
        told = {client.role: environment(client) for client in (device, edge, fit)}
        homes = {client.role: client.folder / "home" for client in (device, edge, fit)}
    assert {role: "CODECBENCH_DATA" in found for role, found in told.items()} == {
        "device": True, "edge": False, "fit": False,
    }  # fmt: skip
    for role, found in told.items():
        assert found["HOME"] == found["TMPDIR"] == str(homes[role])
        assert not [name for name in found if name.startswith("XDG_")]
        assert found["OPENBLAS_NUM_THREADS"] == "1"  # torch alone is told its threads otherwise


def test_errors_cross_with_their_kind_and_the_process_lives_on(device: DeviceClient, edge: EdgeClient) -> None:
    with pytest.raises(UsageError, match="no split point 'stemm'; did you mean 'stem'"):
        device.use_split("stemm")
    with pytest.raises(PluginError, match="defines no class Tiniest"):
        device.build_model(f"{TINY}:Tiniest", None, "cpu")
    absent = TensorFile(Path("/no/such/folder/tensors"), STEM, 1)
    with pytest.raises(DataError, match="cannot write tensors to /no/such/folder: No such file"):
        device.run_head("test", [0], absent, 0)
    none = dict.fromkeys(("numerator", "denominator"), np.zeros(1))
    edge.start_score(absent, 0, [(6, 4, 4)], targets=pickle.dumps([0]), full_model=none, exact=[False])
    with pytest.raises(DataError, match="the file of a chunk's tensors is gone"):
        edge.finish_score(Deadline(60))
    assert device.alive
    assert edge.alive


def test_the_edge_cannot_be_asked_for_inputs() -> None:
    with EdgeClient() as client:
        client.build_model(TINY_REF, None, "cpu")
        with pytest.raises(WorkerError, match="AttributeError: 'EdgeProcess' object has no attribute 'op_run_head'"):
            client.call("run_head", {"subset": "test", "position": 0})


# --- the end of processes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client_of", [DeviceClient, EdgeClient, FitClient])
def test_nothing_of_a_closed_process_stays(client_of: type[ModelClient]) -> None:
    client = client_of()
    assert client.folder.exists()
    client.close()
    assert not client.alive
    assert not client.folder.exists()
    assert is_gone(client.pid)
    with pytest.raises(WorkerDied, match=f"the {client.role} process has ended"):
        client.set_threads(1)
    client.close()


def test_a_process_killed_from_outside_says_what_may_have_happened() -> None:
    with DeviceClient() as client:
        assert client.alive
        os.kill(client.pid, signal.SIGKILL)
        wait_for(lambda: not client.alive, "the end of a killed process")
        with pytest.raises(WorkerDied, match="was killed by SIGKILL, perhaps because the machine had no memory left"):
            client.set_threads(1)
