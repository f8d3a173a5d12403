"""Arrays in a file of numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.descriptions import PlainNetwork, open_samples

from codecbench.codec import TensorSpec
from codecbench.errors import DataError

NETWORK = PlainNetwork()
RNG = np.random.default_rng(0)


def saved(tmp_path: Path, **arrays: Any) -> str:
    np.savez(tmp_path / "a.npz", **arrays)
    return f"npz:{tmp_path / 'a.npz'}"


@pytest.mark.parametrize(("x", "y"), [("x", "y"), ("inputs", "targets")])
def test_rows_are_samples(tmp_path: Path, x: str, y: str) -> None:
    values = RNG.standard_normal((5, 2, 3))
    samples = open_samples(saved(tmp_path, **{x: values, y: np.arange(5)}))
    assert samples.names() == ["0", "1", "2", "3", "4"]
    assert samples.input_spec(NETWORK) == TensorSpec((2, 3))
    assert np.array_equal(samples.input("3", NETWORK), values[3].astype(np.float32))
    assert samples.target("3") == 3
    assert isinstance(samples.target("3"), int)


@pytest.mark.parametrize("shape", [(4, 6, 8, 3), (4, 3, 6, 8)])
def test_bytes_are_pictures(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    samples = open_samples(saved(tmp_path, x=pixels))
    assert samples.input_spec(NETWORK) == TensorSpec((3, 6, 8), image=True)
    found = samples.input("1", NETWORK)
    expected = pixels[1] if shape[1] == 3 else pixels[1].transpose(2, 0, 1)
    assert np.array_equal(found, expected.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"z": np.zeros(3)}, "npz:a.npz has no array 'x' or 'inputs'; save it under that name"),
        ({"x": np.zeros((3, 2))}, "npz:a.npz has no array 'y' or 'targets'; save it under that name"),
        ({"x": np.zeros((3, 2)), "y": np.zeros(2)}, "npz:a.npz has 3 inputs and 2 targets; give as many"),
        (
            {"x": np.full((3, 2), np.nan), "y": np.zeros(3)},
            "npz:a.npz: row 0 of its inputs has values that are not finite",
        ),
        (
            {"x": np.array([{}, {}, {}], dtype=object)},
            "npz:a.npz: a.npz has inputs of object; give numbers, a row a sample",
        ),
        (
            {"x": np.zeros((3, 2, 2, 2), np.uint8)},
            "npz:a.npz has inputs of uint8 of the shape (2, 2, 2); pictures have",
        ),
    ],
)
def test_a_file_that_does_not_fit(tmp_path: Path, arrays: dict[str, Any], reason: str) -> None:
    samples = open_samples(saved(tmp_path, **arrays))
    with pytest.raises(DataError) as caught:
        samples.input_spec(NETWORK), samples.input("0", NETWORK), samples.target("0")
    assert str(caught.value).startswith(reason)


def test_a_file_that_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"^npz:a.npz is no .npz file of plain arrays"):
        open_samples(f"npz:{tmp_path / 'a.npz'}").names()


def test_a_shape_that_contradicts_the_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has the shape \(2, 3\)|have the shape \(2, 3\), and --shape says \(3, 2\)"):
        open_samples(saved(tmp_path, x=np.zeros((4, 2, 3))), shape="3x2").input_spec(NETWORK)
