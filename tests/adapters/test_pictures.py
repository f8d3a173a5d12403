"""Pictures become the inputs that a network's own preprocessing would make, before its normalisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.descriptions import PlainNetwork

from codecbench.adapters.contracts import Pictures, Sounds
from codecbench.adapters.pictures import check_header, form_of, picture_spec, prepared
from codecbench.codec import TensorSpec
from codecbench.errors import DataError
from codecbench.toolbox.collecting import open_picture


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_the_shorter_side_is_resized_and_the_centre_is_cut_out() -> None:
    image = noise(60, 40)
    found = prepared(image, Pictures((24, 24), 32, "bicubic"))
    resized = np.asarray(image.resize((48, 32), Image.Resampling.BICUBIC))
    assert np.array_equal(found, resized[4:28, 12:36].transpose(2, 0, 1).astype(np.float32) / np.float32(255))


def test_height_and_width_are_resized_without_regard_to_the_shape() -> None:
    image = noise(60, 40)
    found = prepared(image, Pictures((16, 20), (16, 20)))
    assert np.array_equal(found[0] * 255, np.asarray(image.resize((20, 16), Image.Resampling.BILINEAR))[..., 0])


@given(width=st.integers(1, 40), height=st.integers(1, 40), resize=st.none() | st.integers(1, 40))
def test_every_picture_fits_the_spec(width: int, height: int, resize: int | None) -> None:
    found = prepared(noise(width, height), Pictures((12, 17), resize))
    assert TensorSpec((3, 12, 17), image=True).mismatch(found.shape, str(found.dtype)) is None
    assert np.array_equal(np.rint(found * 255), found * np.float32(255))


def test_another_size_keeps_the_share_that_is_cut_off() -> None:
    assert Pictures((224, 224), 256).at_size(112) == Pictures((112, 112), 128)
    assert Pictures((224, 224), (224, 224)).at_size(32) == Pictures((32, 32), (32, 32))
    assert Pictures((224, 224), 256).at_size(None) == Pictures((224, 224), 256)


def test_a_picture_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(30, 20).save(tmp_path / "a.jpg", exif=exif)
    assert open_picture(tmp_path / "a.jpg", "a").size == (20, 30)


def test_a_grey_picture_and_one_with_a_palette_become_rgb(tmp_path: Path) -> None:
    for mode in ("L", "P", "RGBA", "1"):
        noise(8, 8).convert(mode).save(tmp_path / "a.png")
        assert open_picture(tmp_path / "a.png", "a").mode == "RGB"


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_picture(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    for step in (open_picture, check_header):
        with pytest.raises(DataError, match=r"^mine/a.png does not open as a picture .*; remove or replace the file$"):
            step(tmp_path / "a.png", "mine/a.png")


def test_a_picture_that_ends_too_early(tmp_path: Path) -> None:
    noise(64, 64).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
    with pytest.raises(DataError, match=r"^a.png does not open as a picture"):
        open_picture(tmp_path / "a.png", "a.png")


def test_the_form_is_the_models_or_a_square_of_the_size() -> None:
    form = Pictures((10, 12), 14)
    assert form_of(PlainNetwork(pictures=form), "d") == form
    assert form_of(PlainNetwork(size=8), "d") == Pictures((8, 8), 8)
    assert picture_spec(PlainNetwork(pictures=form), "d") == TensorSpec((3, 10, 12), image=True)
    with pytest.raises(DataError, match=r"does not say the size of its pictures; give --size, the side of a square"):
        form_of(PlainNetwork(), "d")
    with pytest.raises(DataError, match=r"^d has pictures, and the model m:f takes sound$"):
        form_of(PlainNetwork(sounds=Sounds(16_000)), "d")
