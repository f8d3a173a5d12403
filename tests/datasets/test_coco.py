"""The workload of COCO: a detector turned into torch, subsets, views, boxes, and what `data get` takes."""

from __future__ import annotations

import json
import os
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.tiny_yolox import CELLS, CLASSES, SIDE, Graph, labelled, photographs, tiny_yolox

from codecbench import DataError, TensorSpec
from codecbench.workers.process.graph_split import SplitModel
from codecbench_datasets.coco import CocoYolo, catalogue, weights

REAL = os.environ.get("CODECBENCH_TEST_DETECTION")


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_yolox(tmp_path_factory.mktemp("detector") / "tiny.onnx")


@pytest.fixture(scope="module")
def place(detector: Path) -> Path:
    """A data folder as `codecbench data get coco` leaves it, beside its pictures."""
    root = detector.parent
    sources = [str(detector), str(labelled(root / "pack")), str(photographs(root / "photos", 5, first=50))]
    CocoYolo.fetch_from(sources, root / "data", lambda line: None)
    return root / "data"


def test_a_detector_gives_onnxruntimes_outputs_for_every_batch(detector: Path) -> None:
    import onnxruntime

    stated, tensors = weights.of_onnx(detector, "bgr255")
    assert (stated.size, stated.classes, stated.source) == ((SIDE, SIDE), CLASSES, "tiny.onnx")
    model = weights.built(stated, tensors)
    pixels = torch.randint(0, 256, (3, 3, SIDE, SIDE)) / 255
    session = onnxruntime.InferenceSession(str(detector), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        found = weights.ungated(model)(pixels)
    for sample, output in zip(pixels, found, strict=True):
        (expected,) = session.run(None, {"images": (sample.flip(0) * 255)[None].numpy()})
        assert np.allclose(output.numpy(), expected[0], atol=1e-4)
    assert found.std() > 0.1


def test_the_gate_loses_no_detection(detector: Path) -> None:
    from codecbench.toolbox.boxes import decode_grids
    from codecbench_datasets.coco.pictures import detections

    model = weights.built(*weights.of_onnx(detector, "bgr255"))
    pixels = torch.rand(1, 3, SIDE, SIDE)
    with torch.no_grad():
        cells, output = weights.ungated(model)(pixels)[0].numpy(), model(pixels)[0].numpy()
    expected, found = decode_grids(cells, (SIDE, SIDE)), detections(output, (SIDE, SIDE))
    assert len(expected.scores) > 10
    assert np.array_equal(found.classes, expected.classes)
    assert np.allclose(found.scores, expected.scores, rtol=1e-6)
    assert np.allclose(found.boxes, expected.boxes, rtol=1e-5, atol=1e-4)


def test_what_a_detector_takes_is_made_within_it(detector: Path) -> None:
    pixels = torch.rand(1, 3, SIDE, SIDE)
    with torch.no_grad():
        bgr, rgb, small = (
            weights.built(*weights.of_onnx(detector, form))(x)
            for form, x in (("bgr255", pixels), ("rgb255", pixels.flip(1)), ("rgb1", pixels.flip(1) * 255))
        )
    assert torch.allclose(bgr, rgb, atol=1e-4)
    assert torch.allclose(bgr, small, atol=1e-4)


def test_the_workloads_cuts_are_there_and_gradients_flow_through_their_tails(place: Path) -> None:
    workload = CocoYolo(place)
    generator = torch.Generator().manual_seed(0)
    probes = [torch.rand(n, 3, SIDE, SIDE, generator=generator) for n in (1, 2)]
    split = SplitModel(workload.build_model(), probes, workload.input_spec)
    assert split.way == "fx"
    shapes = {name: split.cut(name).spec.shape for name in workload.default_splits}
    assert shapes == {
        "input": (3, 64, 64), "dark2.down": (6, 16, 16), "dark2": (8, 16, 16), "dark3.down": (8, 8, 8),
        "dark3": (12, 8, 8),
    }  # fmt: skip
    for name in workload.default_splits:
        head, tail = split.split(name)
        with torch.no_grad():
            crossing = head(probes[1]).clone()
        crossing.requires_grad_()
        tail(crossing).sum().backward()
        assert crossing.grad is not None
        assert crossing.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: tiny_yolox(path, "HardSwish"), "HardSwish 'HardSwish_13' has no counterpart here"),
        (lambda path: path.write_bytes(b"text"), "is no ONNX model"),
        (lambda path: tiny_yolox(path, grids=2), r"gives \(80, 8\) values, not 84 cells of 5 \+ classes"),
    ],
)
def test_a_file_that_is_no_such_detector_is_refused(tmp_path: Path, make: Callable[[Path], Any], reason: str) -> None:
    path = tmp_path / "other.onnx"
    make(path)
    with pytest.raises(DataError, match=rf"other\.onnx.*{reason}"):
        weights.of_onnx(path, "bgr255")


def nodes_refused(graph: Graph, output: str, path: Path) -> str:
    with pytest.raises(DataError) as caught:
        weights.of_onnx(graph.saved(path, output), "bgr255")
    return str(caught.value)


def test_a_node_that_torch_has_in_another_form_only_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    graph = Graph()
    weight = graph.constant(np.ones((2, 3, 3, 3)), np.float32)
    uneven = graph.node("Conv", "images", weight, pads=[0, 0, 1, 1])
    assert "Conv 'Conv_0' has the padding [0, 0, 1, 1]" in nodes_refused(graph, uneven, path)
    graph = Graph()
    moved = graph.node("Transpose", "images", perm=[1, 0, 2, 3])
    assert "Transpose 'Transpose_0' has the axes [1, 0, 2, 3]" in nodes_refused(graph, moved, path)
    graph = Graph()
    shape = graph.constant([3, -1])
    assert "has the shape [3, -1]" in nodes_refused(graph, graph.node("Reshape", "images", shape), path)
    graph = Graph()
    factors = graph.constant([1, 1, 1.5, 1.5], np.float32)
    resized = graph.node("Resize", "images", graph.constant([], np.float32), factors, mode="linear")
    assert "another way of resizing" in nodes_refused(graph, resized, path)


def test_a_network_without_the_splits_is_refused(tmp_path: Path) -> None:
    graph = Graph()
    output = graph.silu(graph.conv("images", 3, 8, stride=2))
    assert "has no place dark2.down" in nodes_refused(graph, output, tmp_path / "a.onnx")


def test_equal_detectors_give_equal_files(detector: Path, place: Path, tmp_path: Path) -> None:
    stated, tensors = weights.of_onnx(detector, "bgr255")
    weights.save(tmp_path / "a.safetensors", stated, tensors)
    kept = place / "weights" / catalogue.WEIGHTS
    assert (tmp_path / "a.safetensors").read_bytes() == kept.read_bytes()
    assert weights.load_detector(kept) == stated
    assert CocoYolo(place).weights_sha256() == catalogue.weights_sha256(tmp_path / "a.safetensors")


def test_a_damaged_file_says_how_to_make_it_again(place: Path, tmp_path: Path) -> None:
    content = (place / "weights" / catalogue.WEIGHTS).read_bytes()
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / catalogue.WEIGHTS).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"codecbench data get coco --from yolox_nano\.onnx"):
        CocoYolo(tmp_path).build_model()


def test_a_third_of_the_labelled_pictures_serves_to_choose(place: Path) -> None:
    workload = CocoYolo(place)
    choice, test, fit = (workload.sample_ids(subset) for subset in ("choice", "test", "fit"))
    assert (len(choice), len(test), len(fit)) == (4, 8, 5 * catalogue.VIEWS)
    assert sorted([*choice, *test]) == [f"{number:012}.jpg" for number in range(12)]
    assert choice != sorted(choice)
    assert workload.fit_groups()[:6] == [*(name.partition("#")[0] for name in fit[:5]), fit[0].partition("#")[0]]
    assert [catalogue.choice_count(n) for n in (2, 128, 5_000)] == [1, 42, 1_000]


def test_inputs_are_bytes_in_the_upper_left_corner(place: Path) -> None:
    workload = CocoYolo(place)
    assert workload.input_spec == TensorSpec((3, SIDE, SIDE), image=True)
    for subset in ("test", "choice"):
        for pixels in workload.inputs(subset, range(4)):
            assert (pixels.shape, pixels.dtype) == ((3, SIDE, SIDE), np.float32)
            levels = np.rint(pixels * 255)
            assert np.array_equal(pixels, levels.astype(np.float32) / np.float32(255))
            assert (levels[:, -1] == 114).all()
            assert levels[:, 0].std() > 1


def test_views_are_crops_that_stay_the_same(place: Path) -> None:
    first = CocoYolo(place).inputs("fit", [0, 5, 10])
    again = CocoYolo(place).inputs("fit", [10, 0, 5])
    assert np.array_equal(first[0], again[1])
    assert np.array_equal(first[2], again[0])
    assert not np.array_equal(first[0], first[1])
    assert CocoYolo(place).targets("fit", [0]) == [None]


def test_boxes_stand_in_pixels_of_the_input(place: Path) -> None:
    workload = CocoYolo(place)
    name = workload.sample_ids("test")[3]
    ((boxes, classes, crowd),) = workload.targets("test", [3])
    ratio = SIDE / (90 + int(Path(name).stem))
    width, height = int((90 + int(Path(name).stem)) * ratio), int(70 * ratio)
    assert np.allclose(boxes, [[width / 4, height / 8, 3 * width / 4, 3 * height / 8]])
    assert (classes.tolist(), crowd.tolist()) == ([int(Path(name).stem) % CLASSES], [False])


def test_the_right_box_scores_and_another_does_not(place: Path) -> None:
    workload = CocoYolo(place)
    target = np.array([[8.0, 16.0, 24.0, 32.0]]), np.array([1]), np.array([False])
    output = np.zeros((CELLS, 4 + CLASSES), np.float32)
    output[3 * 8 + 2] = [0, 0, 0.7 * np.log(2), 0.7 * np.log(2), 0.1, 0.7, 0.1]
    for moved, expected in ((0, [100, 100]), (0.25, [60, 100]), (3, [0, 0])):
        output[3 * 8 + 2, 0] = 0.7 * moved
        outcome = workload.score((output,), target)["boxes"]
        found = [metric.values([outcome], np.ones((1, 1), np.int64))[0] for metric in workload.metrics]
        assert np.allclose(found, expected), moved


def test_an_object_of_an_unknown_class_is_named(place: Path, tmp_path: Path) -> None:
    labelled(tmp_path / "pack")
    for number in range(12):
        (tmp_path / "pack" / "labels" / f"{number:012}.txt").write_text("0 0.5 0.5 0.1 0.1\n3 0.5 0.5 0.1 0.1\n")
    kept = place / "weights" / catalogue.WEIGHTS
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / catalogue.WEIGHTS).write_bytes(kept.read_bytes())
    CocoYolo.fetch_from([str(tmp_path / "pack")], tmp_path, lambda line: None)
    with pytest.raises(DataError, match=r"\.txt, line 2: the class 3 is unknown; tiny\.onnx knows 3 classes"):
        CocoYolo(tmp_path).targets("test", [0])


def official(folder: Path) -> None:
    """Write the official archives of a few pictures, with labels of training, too."""
    photographs(folder / "val2017", 6)
    category = [{"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}]
    images = [{"id": n, "file_name": f"{n:012}.jpg", "width": 90 + n, "height": 70} for n in range(6)]
    objects = [{"id": n, "image_id": n, "category_id": 90, "bbox": [0, 0, 45, 35], "iscrowd": n % 2} for n in range(6)]
    said = {"images": images, "categories": category, "annotations": objects}
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(said))
    (folder / "annotations" / "instances_train2017.json").write_text("{}")
    for name in ("val2017", "annotations"):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for path in sorted((folder / name).iterdir()):
                archive.write(path, f"{name}/{path.name}")


def test_data_get_takes_the_official_archives(detector: Path, tmp_path: Path) -> None:
    official(tmp_path)
    said: list[str] = []
    CocoYolo.fetch_from(
        [str(tmp_path / "val2017.zip"), str(tmp_path / "annotations.zip"), str(detector)],
        tmp_path / "data",
        said.append,
    )
    assert "val2017.zip is unpacked; annotations is needed, too" in said
    assert any(line.startswith("6 labelled pictures") for line in said)
    assert not (tmp_path / "data" / "coco" / "official" / "annotations" / "instances_train2017.json").exists()
    assert_official(CocoYolo(tmp_path / "data"))


def test_data_get_takes_the_official_folder(detector: Path, tmp_path: Path) -> None:
    official(tmp_path / "coco")
    CocoYolo.fetch_from([str(tmp_path / "coco"), f"{detector}:rgb1"], tmp_path / "data", lambda line: None)
    assert_official(CocoYolo(tmp_path / "data"))


def assert_official(workload: CocoYolo) -> None:
    names = workload.sample_ids("test")
    assert (len(names), len(workload.sample_ids("choice"))) == (4, 2)
    for name, (_, classes, crowd) in zip(names, workload.targets("test", range(4)), strict=True):
        assert (classes.tolist(), crowd.tolist()) == ([1], [int(Path(name).stem) % 2 == 1])
    assert len(workload.inputs("test", [0])) == 1


def test_data_get_unpacks_a_tar_archive_and_keeps_what_is_there(detector: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "mine.tar.gz", "w:gz") as tar:
        tar.add(labelled(tmp_path / "pack"), "mine")
    said: list[str] = []
    CocoYolo.fetch_from([str(tmp_path / "mine.tar.gz"), str(detector)], tmp_path / "data", said.append)
    assert (tmp_path / "data" / "coco" / "mine" / "labels").is_dir()
    CocoYolo.fetch(tmp_path / "data", said.append)
    assert sum("no unlabelled pictures" in line for line in said) == 2
    CocoYolo.fetch_from([str(photographs(tmp_path / "photos", 2))], tmp_path / "data", said.append)
    assert [len(CocoYolo(tmp_path / "data").sample_ids(subset)) for subset in ("test", "fit")] == [8, 8]


def archive_of(path: Path, name: str) -> None:
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo(name))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "there is no such file or folder; a detector is an .onnx file"),
        (lambda path: path.mkdir(), "there are no pictures in this folder"),
        (lambda path: path.write_text("text"), "does not unpack as a tar or zip archive"),
        (lambda path: archive_of(path, "../outside.jpg"), "does not unpack as a tar or zip archive"),
    ],
)
def test_a_place_of_no_use_is_refused(tmp_path: Path, make: Callable[[Path], Any], message: str) -> None:
    make(tmp_path / "place")
    with pytest.raises(DataError, match=f"--from {re.escape(str(tmp_path / 'place'))}.*{message}"):
        CocoYolo.fetch_from([str(tmp_path / "place")], tmp_path / "data", print)
    assert not (tmp_path / "outside.jpg").exists()


def test_without_data_every_door_says_what_to_do(tmp_path: Path) -> None:
    workload = CocoYolo(tmp_path)
    for call in (workload.weights_sha256, workload.build_model, lambda: workload.input_spec):
        with pytest.raises(DataError, match=r"codecbench data get coco --from yolox_nano\.onnx"):
            call()
    with pytest.raises(DataError, match="codecbench data get coco --from PLACE"):
        workload.sample_ids("test")
    assert workload.sample_ids("fit") == []
    with pytest.raises(DataError, match="no detector yet"):
        CocoYolo.fetch(tmp_path, print)


def test_a_file_that_is_no_picture_is_named(place: Path, tmp_path: Path) -> None:
    pack = labelled(tmp_path / "pack")
    for path in (pack / "images").iterdir():
        path.write_bytes(b"no picture")
    CocoYolo.fetch_from([str(place.parent / "tiny.onnx"), str(pack)], tmp_path / "data", lambda line: None)
    with pytest.raises(DataError, match=r"\.jpg does not open as a picture"):
        CocoYolo(tmp_path / "data").inputs("choice", [0])


@pytest.mark.slow
@pytest.mark.skipif(REAL is None, reason="CODECBENCH_TEST_DETECTION names no folder with yolox_nano.onnx")
def test_precision_of_the_real_detector_is_that_of_a_separate_evaluation(tmp_path: Path) -> None:
    from support.yolox_reference import evaluated

    model, pictures = Path(str(REAL)) / "yolox_nano.onnx", Path(str(REAL)) / "coco128-val"
    CocoYolo.fetch_from([str(model), str(pictures)], tmp_path, lambda line: None)
    workload = CocoYolo(tmp_path)
    network, names, outcomes = workload.build_model(), [], []
    for subset in ("test", "choice"):
        for position, name in enumerate(workload.sample_ids(subset)):
            with torch.inference_mode():
                output = network(torch.from_numpy(workload.inputs(subset, [position])[0])[None])
            outcomes.append(workload.score((output[0].numpy(),), workload.targets(subset, [position])[0])["boxes"])
            names.append(name)
    found = [float(metric.values(outcomes, np.ones((1, 128), np.int64))[0]) for metric in workload.metrics]
    assert np.allclose(np.array(found) / 100, evaluated(model, pictures, names), atol=0.005)


def test_pictures_are_opened_upright(tmp_path: Path) -> None:
    from codecbench.toolbox.boxes import upright_size
    from codecbench_datasets.coco.pictures import picture

    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 20:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert upright_size(tmp_path / "a.jpg") == (20, 40)
    found = picture(tmp_path / "a.jpg", (64, 64))
    assert found[:, 10, 10].max() < 0.1
    assert found[:, 50, 10].min() > 0.9
