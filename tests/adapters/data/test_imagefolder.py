"""Pictures in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.descriptions import PlainNetwork, open_samples, write_pictures

from codecbench.adapters.contracts import Pictures
from codecbench.codec import TensorSpec
from codecbench.errors import DataError

NETWORK = PlainNetwork(pictures=Pictures((16, 16), 20))


def test_pictures_are_named_by_their_path_in_the_folder(tmp_path: Path) -> None:
    write_pictures(tmp_path / "p", 4, classes=("owl", "dog"))
    (tmp_path / "p" / "notes.txt").write_text("")
    (tmp_path / "p" / ".hidden.png").write_bytes(b"")
    (tmp_path / "p" / "dog" / "b.PNG").write_bytes((tmp_path / "p" / "dog" / "001.png").read_bytes())
    samples = open_samples(f"imagefolder:{tmp_path / 'p'}")
    assert samples.names() == ["dog/001.png", "dog/003.png", "dog/b.PNG", "owl/000.png", "owl/002.png"]
    assert samples.class_names() == ["dog", "owl"]
    assert samples.target("owl/000.png") == "owl"


def test_an_input_is_what_the_spec_says(tmp_path: Path) -> None:
    samples = open_samples(f"imagefolder:{write_pictures(tmp_path / 'p', 1)}")
    spec, found = samples.input_spec(NETWORK), samples.input("000.png", NETWORK)
    assert spec == TensorSpec((3, 16, 16), image=True)
    assert spec.mismatch(found.shape, str(found.dtype)) is None
    assert np.array_equal(found, samples.input("000.png", NETWORK))


def test_the_spec_needs_no_folder() -> None:
    assert open_samples("imagefolder:/nowhere").input_spec(NETWORK) == TensorSpec((3, 16, 16), image=True)


def test_masks_are_cut_as_their_pictures_are(tmp_path: Path) -> None:
    write_pictures(tmp_path / "p" / "images", 2, size=(40, 30))
    (tmp_path / "p" / "masks").mkdir()
    labels = np.tile(np.arange(40, dtype=np.uint8), (30, 1))
    Image.fromarray(labels).save(tmp_path / "p" / "masks" / "000.png")
    samples = open_samples(f"imagefolder:{tmp_path / 'p'}")
    assert samples.names() == ["images/000.png", "images/001.png"]
    whole = PlainNetwork(pictures=Pictures((30, 20)))
    assert np.array_equal(samples.mask("images/000.png", whole), labels[:, 10:30])
    with pytest.raises(DataError, match=r"images/001.png has no mask; write it to masks/001.png"):
        samples.mask("images/001.png", whole)


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        DataError, match=r"^--data imagefolder:empty holds no pictures; their names end with .avif, .bmp"
    ):
        open_samples(f"imagefolder:{tmp_path / 'empty'}").names()


def test_a_file_that_is_no_picture_is_named_before_anything_runs(tmp_path: Path) -> None:
    (write_pictures(tmp_path / "p", 3) / "x.jpg").write_text("<html>")
    with pytest.raises(DataError, match=r"^imagefolder:p: x.jpg does not open as a picture \(its format is unknown\)"):
        open_samples(f"imagefolder:{tmp_path / 'p'}").names()


def test_a_picture_without_a_class(tmp_path: Path) -> None:
    samples = open_samples(f"imagefolder:{write_pictures(tmp_path / 'p', 3)}")
    with pytest.raises(DataError, match=r"^imagefolder:p: 000.png lies in no class folder; .*--task agreement, which"):
        samples.class_names()
