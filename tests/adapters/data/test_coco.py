"""Pictures with boxes come from text files or from one JSON file, scaled to fit the network's input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.detector import boxed_folder, square_detector

from codecbench.adapters.data.coco import BoxedPictures, open_data
from codecbench.adapters.description import WorkloadDescription
from codecbench.adapters.models.onnx import OnnxNetwork
from codecbench.errors import DataError


def opened(data: Path) -> tuple[BoxedPictures, OnnxNetwork]:
    model = square_detector(data.parent / "squares.onnx")
    description = WorkloadDescription(model=f"onnx:{model}", data=f"coco:{data}", task="detection")
    samples = open_data(str(data), description)
    assert isinstance(samples, BoxedPictures)
    return samples, OnnxNetwork(str(model), description)


def test_a_picture_fits_in_the_upper_left_corner_and_the_rest_is_grey(tmp_path: Path) -> None:
    samples, network = opened(boxed_folder(tmp_path / "data"))
    pixels = samples.input("3.png", network) * 255
    assert pixels.shape == (3, 64, 64)
    assert np.allclose(pixels[:, 48:], 114)
    assert set(np.unique(pixels[:, :48].round())) == {40.0, 250.0}


def test_boxes_are_in_pixels_of_the_input(tmp_path: Path) -> None:
    samples, network = opened(boxed_folder(tmp_path / "data"))
    objects = samples.objects("3.png", network)
    (left, top, right, bottom) = np.rint(objects.boxes[0]).astype(int)
    pixels = samples.input("3.png", network)
    assert (pixels[:, top:bottom, left:right] > 0.9).all()
    assert (right - left, bottom - top) == (8, 8)


def test_a_picture_that_was_turned_by_its_camera_has_upright_boxes(tmp_path: Path) -> None:
    samples, network = opened(boxed_folder(tmp_path / "data"))
    path = tmp_path / "data" / "images" / "3.png"
    with Image.open(path) as image:
        turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(path, exif=exif)
    (left, top, right, bottom) = np.rint(samples.objects("3.png", network).boxes[0]).astype(int)
    assert (samples.input("3.png", network)[:, top:bottom, left:right] > 0.9).all()


def as_json(folder: Path) -> Path:
    """Replace the text files of a folder by a JSON file with the same boxes."""
    images, annotations = [], []
    for number, path in enumerate(sorted((folder / "labels").iterdir()), 1):
        name, (_, *box) = path.with_suffix(".png").name, map(float, path.read_text().split())
        images.append({"id": number, "file_name": name, "width": 128, "height": 96})
        sides = [box[2] * 128, box[3] * 96]
        corner = [box[0] * 128 - sides[0] / 2, box[1] * 96 - sides[1] / 2]
        annotations.append({"id": number, "image_id": number, "category_id": 9, "bbox": [*corner, *sides]})
        path.unlink()
    (folder / "labels").rmdir()
    (folder / "annotations").mkdir()
    content = {"images": images, "annotations": annotations, "categories": [{"id": 9, "name": "square"}]}
    (folder / "annotations" / "instances_val.json").write_text(json.dumps(content))
    return folder


def test_a_json_file_says_the_same(tmp_path: Path) -> None:
    texts, network = opened(boxed_folder(tmp_path / "texts"))
    jsons, _ = opened(as_json(boxed_folder(tmp_path / "json")))
    assert sorted(jsons.names()) == sorted(texts.names())
    assert jsons.class_names() == ("square",)
    for name in ("0.png", "7.png"):
        assert np.allclose(jsons.objects(name, network).boxes, texts.objects(name, network).boxes)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    data = as_json(boxed_folder(tmp_path / "data"))
    (data / "images" / "7.png").unlink()
    with pytest.raises(DataError, match=r"instances_val\.json names the picture 7\.png, which is not in the folder"):
        opened(data)[0].names()
    (data / "annotations" / "instances_val.json").unlink()
    with pytest.raises(DataError, match="has no labels; give a folder with images/ and labels/"):
        opened(data)[0].names()


def test_a_picture_that_does_not_open_is_named(tmp_path: Path) -> None:
    data = boxed_folder(tmp_path / "data")
    (data / "images" / "7.png").write_bytes(b"none")
    with pytest.raises(DataError, match=r"7\.png does not open as a picture"):
        opened(data)[0].names()
