"""Samples that a user's function yields."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.descriptions import PlainNetwork, open_samples

from codecbench.adapters.contracts import Pictures
from codecbench.codec import TensorSpec
from codecbench.errors import DataError

SOURCE = """
import numpy as np

def labelled():
    for number in range(12):
        yield f"s{number}", np.full((2, 3), number), ["cat", "dog"][number % 2]

def unlabelled():
    return [(number, np.zeros((2, 3), np.float32), None) for number in range(12)]

def pairs():
    return [(1, 2)]

def twice():
    return [("a", 1, 2), ("a", 3, 4)]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(SOURCE)
    return tmp_path / "mine.py"


def test_triples_are_samples(file: Path) -> None:
    samples = open_samples(f"{file}:labelled", shape="2x3")
    assert list(samples.names())[:2] == ["s0", "s1"]
    assert np.array_equal(samples.input("s3", PlainNetwork()), np.full((2, 3), 3))
    assert samples.target("s3") == "dog"
    assert samples.class_names() == ["cat", "dog"]
    assert samples.input_spec(PlainNetwork()) == TensorSpec((2, 3))


def test_the_spec_is_that_of_the_models_pictures_or_has_to_be_said(file: Path) -> None:
    samples = open_samples(f"{file}:labelled")
    assert samples.input_spec(PlainNetwork(pictures=Pictures((4, 4)))) == TensorSpec((3, 4, 4), image=True)
    with pytest.raises(DataError, match="--size"):
        samples.input_spec(PlainNetwork())


def test_a_sample_without_a_target(file: Path) -> None:
    samples = open_samples(f"{file}:unlabelled")
    assert samples.class_names() is None
    with pytest.raises(DataError, match=r"^mine.py:unlabelled: 3 has no target; give --task agreement"):
        samples.target("3")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pairs", "has to yield triples (name, input, target)"),
        ("twice", "yields a name twice; names of samples differ"),
    ],
)
def test_a_function_that_yields_something_else(file: Path, name: str, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        open_samples(f"{file}:{name}").names()
    assert str(caught.value).startswith(f"mine.py:{name} {reason}")
