"""The default workload: its shipped data, its sample sets, and its network."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image

from codecbench import DataError, Subset, manager
from codecbench.registry import workloads
from codecbench.workers.process.graph_split import SplitModel
from codecbench.workload import data_folders, metric_value
from codecbench_datasets import cifar10
from codecbench_datasets.cifar10 import Cifar10ResNet20, data, pack

SUBSETS: tuple[Subset, ...] = get_args(Subset)


@pytest.fixture(autouse=True)
def nothing_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No data folder of this machine is seen."""
    monkeypatch.setenv("CODECBENCH_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def workload() -> Cifar10ResNet20:
    return Cifar10ResNet20()


@pytest.fixture
def whole_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the whole set is there: pixels all 7, labels the index modulo 10."""

    def load_full(part: str, data_dir: Path) -> tuple[Any, Any]:
        n = data.FULL_COUNT[part]
        return np.broadcast_to(np.uint8(7), (n, 32, 32, 3)), np.arange(n) % 10

    monkeypatch.setattr(data, "load_full", load_full)
    monkeypatch.setattr(data, "is_fetched", lambda data_dir: True)


@pytest.fixture
def own_copy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The test set's shipped files and the weights in a folder where they may be damaged."""
    for path in (data.HERE / "test.png", data.HERE / "test.json", data.WEIGHTS, data.WEIGHTS.with_suffix(".json")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(data, "HERE", tmp_path)
    monkeypatch.setattr(data, "WEIGHTS", tmp_path / data.WEIGHTS.name)
    caches = (data.load_shipped, data._index_file)
    for cache in caches:
        cache.cache_clear()
    yield tmp_path
    for cache in caches:
        cache.cache_clear()


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# The shipped data


@pytest.mark.parametrize(("part", "count"), [("train", 5_000), ("test", 2_000)])
def test_shipped_data_is_intact_and_balanced(part: str, count: int) -> None:
    images, labels = data.load_shipped(part)
    indices = data.shipped_indices(part)
    assert images.shape == (count, 32, 32, 3)
    assert images.dtype == np.uint8
    assert len(set(indices.tolist())) == len(labels) == count
    assert 0 <= indices.min() <= indices.max() < data.FULL_COUNT[part]
    per_class = np.bincount(labels, minlength=10)
    assert len(per_class) == 10
    assert per_class.min() > 0.8 * count / 10
    assert len(np.unique(images.reshape(count, -1), axis=0)) > 0.999 * count


def test_shipped_indices_are_those_that_the_seed_draws() -> None:
    for part, drawn in pack.drawn_indices().items():
        np.testing.assert_array_equal(drawn, data.shipped_indices(part))


def test_packing_loses_nothing() -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (6, 32, 32, 3), np.uint8), np.arange(6)
    png, entry = pack.packed(images, labels, np.array([4, 1]))
    found = json.loads(entry)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))).reshape(2, 32, 32, 3), images[[4, 1]])
    assert found == {"sha256": hashlib.sha256(png).hexdigest(), "indices": [4, 1], "labels": [4, 1]}


@pytest.mark.parametrize("name", ["test.png", "test.json"])
def test_damaged_data_is_named_with_both_sums(own_copy: Path, workload: Cifar10ResNet20, name: str) -> None:
    expected = hashlib.sha256((own_copy / name).read_bytes()).hexdigest()
    flip_byte(own_copy / name)
    found = hashlib.sha256((own_copy / name).read_bytes()).hexdigest()
    with pytest.raises(DataError, match=f"{re.escape(name)} is damaged.*{expected}.*{found}; reinstall") as caught:
        workload.inputs("test", [0])
    assert "\n" not in str(caught.value)


def test_missing_data_is_named(own_copy: Path, workload: Cifar10ResNet20) -> None:
    (own_copy / "test.png").unlink()
    with pytest.raises(DataError, match=r"cannot read .*test\.png: No such file.*; reinstall codecbench"):
        workload.targets("test", [0])


# Sample sets


@pytest.mark.usefixtures("whole_set")
def test_all_training_samples_are_known_without_the_whole_set(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = Cifar10ResNet20().sample_ids("fit")
    monkeypatch.setattr(data, "is_fetched", lambda data_dir: False)
    assert Cifar10ResNet20().training_ids() == fetched


def test_the_training_counts_as_what_an_undisturbed_machine_takes(workload: Cifar10ResNet20) -> None:
    log_s = sum(epoch["epoch_s"] for epoch in data.training_epochs())
    assert len(data.training_epochs()) == 42
    assert workload.training_s == pytest.approx(75 * 60, rel=0.01)
    assert workload.training_s < log_s


def test_subsets_do_not_meet(workload: Cifar10ResNet20) -> None:
    fit, choice = (set(workload.sample_ids(subset)) for subset in ("fit", "choice"))
    assert (len(fit), len(choice), len(workload.sample_ids("test"))) == (4_000, 1_000, 2_000)
    assert not fit & choice
    assert choice == set(data.held_out_indices().tolist())


@pytest.mark.usefixtures("whole_set")
def test_the_whole_set_goes_on_behind_the_shipped_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {subset: Cifar10ResNet20().sample_ids(subset) for subset in SUBSETS}
    monkeypatch.setattr(data, "is_fetched", lambda data_dir: False)
    for subset, ids in whole.items():
        shipped = Cifar10ResNet20().sample_ids(subset)
        assert ids[: len(shipped)] == shipped
        assert len(set(ids)) == len(ids)
    assert {subset: len(ids) for subset, ids in whole.items()} == {"fit": 49_000, "choice": 1_000, "test": 10_000}
    assert not set(whole["fit"]) & set(whole["choice"])


@pytest.mark.usefixtures("whole_set")
@pytest.mark.parametrize("subset", ["fit", "test"])
def test_samples_behind_the_shipped_ones_come_from_the_whole_set(workload: Cifar10ResNet20, subset: Subset) -> None:
    ids = workload.sample_ids(subset)
    positions = [len(ids) - 1, 0, 4_500]
    assert workload.targets(subset, positions) == [ids[p] % 10 for p in positions]
    assert all((x == np.float32(7) / np.float32(255)).all() for x in workload.inputs(subset, positions))


@pytest.mark.usefixtures("whole_set")
@pytest.mark.parametrize("subset", SUBSETS)
def test_shipped_samples_are_read_from_the_package(workload: Cifar10ResNet20, subset: Subset) -> None:
    offset = data.HELD_OUT_COUNT if subset == "fit" else 0
    images, labels = data.load_shipped("test" if subset == "test" else "train")
    assert workload.targets(subset, [3, 999]) == labels[[offset + 3, offset + 999]].tolist()
    np.testing.assert_array_equal(
        (workload.inputs(subset, [999])[0] * 255).round().astype(np.uint8), images[offset + 999].transpose(2, 0, 1)
    )


def test_order_of_positions_is_kept(workload: Cifar10ResNet20) -> None:
    together = workload.inputs("choice", [5, 2, 5])
    for position, x in zip([5, 2, 5], together, strict=True):
        np.testing.assert_array_equal(x, workload.inputs("choice", [position])[0])
    assert workload.inputs("choice", []) == workload.targets("choice", []) == []


def test_inputs_are_k_over_255_exactly(workload: Cifar10ResNet20) -> None:
    inputs = np.stack(workload.inputs("test", range(50)))
    assert inputs.shape == (50, *workload.input_spec.shape)
    assert inputs.dtype == workload.input_spec.dtype
    octets = torch.from_numpy((inputs * 255).round().astype(np.uint8))
    assert set(octets.unique().tolist()) == set(range(256))
    # What a codec gives back that sends one byte a pixel.
    np.testing.assert_array_equal(inputs, (octets.float() / 255).numpy())


# The network


def test_model_needs_no_data(own_copy: Path, workload: Cifar10ResNet20) -> None:
    for path in own_copy.glob("test.*"):
        path.unlink()
    model = workload.build_model()
    assert not model.training
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_damaged_weights_are_named_with_both_sums(own_copy: Path, workload: Cifar10ResNet20) -> None:
    path = own_copy / data.WEIGHTS.name
    flip_byte(path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DataError, match=f"is damaged: expected sha256 {workload.weights_sha256()}, found {found}; re"):
        workload.build_model()


def test_weights_without_a_sum_are_refused(own_copy: Path, workload: Cifar10ResNet20) -> None:
    (own_copy / data.WEIGHTS.name).with_suffix(".json").write_text("[1")
    with pytest.raises(DataError, match=r"resnet20\.json holds no JSON object .*; reinstall codecbench"):
        workload.build_model()


def test_incomplete_weights_are_refused(own_copy: Path, workload: Cifar10ResNet20) -> None:
    from safetensors.torch import save_file

    path = own_copy / data.WEIGHTS.name
    save_file({"classifier.bias": torch.zeros(10)}, path)
    path.with_suffix(".json").write_text(json.dumps({"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}))
    with pytest.raises(
        DataError, match=r"holds no ResNet-20: 'classifier\.weight' is missing or unexpected; reinstall"
    ):
        workload.build_model()


def test_default_splits_are_cuts_in_execution_order(workload: Cifar10ResNet20) -> None:
    split = SplitModel(
        workload.build_model(), [torch.rand(1, 3, 32, 32), torch.rand(2, 3, 32, 32)], workload.input_spec
    )
    assert [name for name in split.cuts if name in workload.default_splits] == list(workload.default_splits)
    shapes = [split.cut(name).spec.shape for name in workload.default_splits]
    assert shapes == [(3, 32, 32), (16, 32, 32), (16, 32, 32), (32, 16, 16), (64, 8, 8)]


def test_the_shipped_network_recognises_pictures(workload: Cifar10ResNet20) -> None:
    positions = range(200)
    with torch.inference_mode():
        outputs = workload.build_model()(torch.from_numpy(np.stack(workload.inputs("test", positions)))).numpy()
    scores = [workload.score((o,), t) for o, t in zip(outputs, workload.targets("test", positions), strict=True)]
    numerators, denominators = np.array(scores).T
    assert metric_value(workload.metrics[0], numerators, denominators) > 85


def test_score_is_one_where_the_greatest_logit_is_the_labels(workload: Cifar10ResNet20) -> None:
    logits = np.array([0.0, -1.0, 3.0, 2.0], np.float32)
    assert workload.score((logits,), 2) == (1.0, 1.0)
    assert workload.score((logits,), 3) == (0.0, 1.0)


def test_workload_is_registered() -> None:
    pm = manager(with_entry_points=False)
    pm.register(cifar10)
    assert workloads(pm) == {"cifar10-resnet20": Cifar10ResNet20}


def test_importing_the_workload_is_light() -> None:
    code = (
        "import sys; import codecbench_datasets.cifar10 as c; w = c.Cifar10ResNet20(); w.input_spec; "
        "print([m for m in ('torch', 'numpy', 'PIL', 'safetensors') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_data_folders_go_from_the_named_to_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache = data_folders()[-1]
    assert cache.is_relative_to(tmp_path)
    assert data_folders(Path("here")) == [Path("here"), tmp_path / "nowhere", cache]
    monkeypatch.setenv("CODECBENCH_DATA", "")
    assert data_folders() == [cache]
