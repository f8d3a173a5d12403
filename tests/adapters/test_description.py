"""A description crosses processes as text, and is named without folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.descriptions import describe

from codecbench.adapters.description import from_reference
from codecbench.codec import TensorSpec


@given(
    weights=st.sampled_from([None, "random", "/a b/net.safetensors"]), size=st.none() | st.integers(1, 500),
    budget=st.none() | st.floats(0, 100), splits=st.lists(st.text(max_size=5)).map(tuple),
)  # fmt: skip
def test_a_reference_gives_the_description_back(
    weights: str | None, size: int | None, budget: float | None, splits: tuple[str, ...]
) -> None:
    made = describe("hf:a", "imagefolder:/x", weights=weights, size=size, budget=budget, splits=splits)
    assert from_reference(made.reference) == made


def test_options_repeat_a_description_without_its_folders() -> None:
    made = describe(
        "/home/me/net.py:build", "imagefolder:/home/me/pictures", weights="/home/me/a.safetensors", size=32,
        cache_dir="/home/me/.cache",
    )  # fmt: skip
    assert made.portable().options() == [
        "--model", "net.py:build", "--data", "imagefolder:pictures", "--task", "agreement", "--weights",
        "a.safetensors", "--size", "32",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "data", "name"),
    [
        ("hf:google/mobilenet_v2_1.0_224", "imagefolder:/x/My photos", "mobilenet-v2-1-0-224-my-photos-agreement"),
        ("torchvision:resnet18@DEFAULT", "npz:/x/a.npz", "resnet18-default-a-agreement"),
        ("/x/net.py:build", "pkg.mod:make", "net-build-make-agreement"),
    ],
)
def test_a_name_is_made_of_the_parts(model: str, data: str, name: str) -> None:
    assert describe(model, data).workload_name == name
    assert describe(model, data, name="mine").workload_name == "mine"


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ("3x64x48", TensorSpec((3, 64, 48))),
        ("40x..500", TensorSpec((40, None), max_length=500)),
        ("7", TensorSpec((7,))),
    ],
)
def test_a_shape_is_a_spec(shape: str, spec: TensorSpec) -> None:
    assert describe(shape=shape).spec == spec
    assert describe().spec is None


def test_the_same_description_elsewhere_is_named_the_same(tmp_path: Path) -> None:
    here, there = (describe(data=f"imagefolder:{tmp_path / place / 'pictures'}") for place in ("here", "there"))
    assert here != there
    assert here.portable() == there.portable()
