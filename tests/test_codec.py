"""TensorSpec and the part of Codec that every plugin inherits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codecbench import Codec, PayloadError, TensorSpec
from codecbench.codec import DTYPE_BYTES

SPEC = TensorSpec((3, 4))


class Example(Codec):
    name = "example"
    points = ({"level": 1, "mode": "a"}, {"level": 2}, {"level": 3, "fast": True}, {"level": 4}, {"level": 5})

    level: int

    def encode(self, x: torch.Tensor) -> bytes:
        return bytes([self.level]) + x.numpy().tobytes()

    def decode(self, payload: bytes) -> torch.Tensor:
        return self.spec.from_buffer(payload[1:])


# --- TensorSpec -----------------------------------------------------------------------------------------------------


def test_sizes() -> None:
    assert (SPEC.ndim, SPEC.nbytes, SPEC.max_shape) == (2, 48, (3, 4))
    speech = TensorSpec((None, 80), "float16", max_length=100)
    assert (speech.ndim, speech.nbytes, speech.max_shape) == (2, 16_000, (100, 80))
    assert TensorSpec((), "int64").nbytes == 8
    assert TensorSpec((0, 5)).nbytes == 0


def test_values_of_a_model_of_two_bytes_are_float32_but_count_two_bytes() -> None:
    spec = TensorSpec((None, 80), max_length=100, model_dtype="bfloat16")
    assert (spec.nbytes, spec.raw_bytes((7, 80)), TensorSpec((7, 80)).raw_bytes((7, 80))) == (32_000, 1_120, 2_240)
    assert TensorSpec.from_json(spec.to_json()) == spec
    assert "model_dtype" not in SPEC.to_json()  # keys of fitted states are made of it


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"shape": (3,), "model_dtype": "float32"}, "model_dtype is float16 or bfloat16"),
        ({"shape": (3,), "dtype": "int8", "model_dtype": "float16"}, "of a float32 tensor"),
        ({"shape": (3,), "dtype": "bfloat16"}, "dtype 'bfloat16' is not one of float16"),
        ({"shape": (-1,)}, "lengths of at least 0"),
        ({"shape": (None, None), "max_length": 3}, "at most one None"),
        ({"shape": (None, 3)}, "max_length belongs to a shape with a None axis"),
        ({"shape": (3,), "max_length": 3}, "max_length belongs to a shape with a None axis"),
        ({"shape": (8, 8), "image": True}, r"an image is float32 \(channels, height, width\)"),
        ({"shape": (3, 8, 8), "dtype": "uint8", "image": True}, "an image is float32"),
        ({"shape": (3, None, 8), "image": True, "max_length": 8}, "an image is float32"),
    ],
)
def test_specs_that_make_no_sense(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        TensorSpec(**arguments)


@pytest.mark.parametrize(
    ("spec", "shape", "dtype", "reason"),
    [
        (SPEC, (3, 4), "float32", None),
        (SPEC, (3, 5), "float32", "shape is (3, 5), the spec says (3, 4)"),
        (SPEC, (3, 4, 1), "float32", "shape is (3, 4, 1), the spec says (3, 4)"),
        (SPEC, (3, 4), "float64", "dtype is float64, the spec says float32"),
        (TensorSpec((None, 2), max_length=5), (5, 2), "float32", None),
        (TensorSpec((None, 2), max_length=5), (0, 2), "float32", None),
        (TensorSpec((None, 2), max_length=5), (6, 2), "float32", "shape is (6, 2), the spec says (None, 2)"),
    ],
)
def test_mismatch(spec: TensorSpec, shape: tuple[int, ...], dtype: str, reason: str | None) -> None:
    assert spec.mismatch(shape, dtype) == reason


SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@given(SHAPES, st.sampled_from(sorted(DTYPE_BYTES)))
def test_a_buffer_of_plain_values_is_the_tensor(shape: tuple[int, ...], dtype: str) -> None:
    values = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    tensor = TensorSpec(shape, dtype).from_buffer(values.tobytes())
    assert str(tensor.dtype) == f"torch.{dtype}"
    assert np.array_equal(tensor.numpy(), values)
    tensor += 1  # a new tensor, its owner's to change


@given(st.integers(0, 9))
def test_the_varying_length_follows_from_the_buffer(length: int) -> None:
    spec = TensorSpec((3, None), "int16", max_length=9)
    values = np.arange(3 * length, dtype="<i2").reshape(3, length)
    assert np.array_equal(spec.from_buffer(values.tobytes()).numpy(), values)


@pytest.mark.parametrize("buffer_bytes", [0, 47, 49, 96])
def test_a_buffer_of_another_size_is_refused(buffer_bytes: int) -> None:
    with pytest.raises(PayloadError, match=f"{buffer_bytes} bytes are no float32 tensor of shape"):
        SPEC.from_buffer(bytes(buffer_bytes))


def test_a_length_over_the_limit_is_refused() -> None:
    with pytest.raises(PayloadError):
        TensorSpec((None, 2), "uint8", max_length=3).from_buffer(bytes(8))
    with pytest.raises(PayloadError):
        SPEC.from_buffer(bytes(48), (4, 3))


@pytest.mark.parametrize(
    "spec", [SPEC, TensorSpec((3, 8, 8), image=True), TensorSpec((None, 2), "int8", max_length=7), TensorSpec(())]
)
def test_a_spec_survives_json(spec: TensorSpec) -> None:
    assert TensorSpec.from_json(spec.to_json()) == spec


# --- Codec ----------------------------------------------------------------------------------------------------------


def test_the_constructor_stores_its_arguments_and_takes_the_rest_from_the_points() -> None:
    codec: Any = Example(SPEC, level=7)
    assert (codec.level, codec.mode, codec.fast, codec.spec) == (7, "a", True, SPEC)
    assert codec.point == {"level": 7, "mode": "a", "fast": True}
    assert Example.point_defaults(SPEC) == {"level": 1, "mode": "a", "fast": True}


def test_an_unknown_argument_names_the_known_ones() -> None:
    with pytest.raises(TypeError, match=r"example has no argument 'levle'; it takes \['fast', 'level', 'mode'\]"):
        Example(SPEC, levle=3)


@given(st.integers(), st.text())
def test_the_repr_evaluates_back(level: int, mode: str) -> None:
    codec = Example(SPEC, level=level, mode=mode)
    again = eval(repr(codec), {"Example": Example, "TensorSpec": TensorSpec})
    assert (again.spec, again.point) == (codec.spec, codec.point)


def test_quick_points_are_the_coarsest_the_middle_and_the_finest() -> None:
    assert [p["level"] for p in Example.quick_points_for(SPEC)] == [1, 3, 5]

    class Few(Example):
        points = ({"level": 1}, {"level": 2}, {"level": 3})

    assert Few.quick_points_for(SPEC) == Few.points


def test_points_may_depend_on_the_tensor() -> None:
    class ByShape(Example):
        @classmethod
        def points_for(cls, spec: TensorSpec) -> tuple[dict[str, Any], ...]:
            return tuple({"level": n} for n in range(10, 10 + spec.ndim))

    assert ByShape.point_defaults(SPEC)["level"] == 10
    assert [p["level"] for p in ByShape.quick_points_for(SPEC)] == [10, 11]


def test_an_implied_argument_is_in_a_point_only_where_it_differs() -> None:
    class Later(Example):
        implied: ClassVar[Mapping[str, Any]] = {"edge": "plain"}

    assert Later.point_defaults(SPEC) == {**Example.point_defaults(SPEC), "edge": "plain"}
    plain: Any = Later(SPEC, level=2)
    assert (plain.edge, plain.point) == ("plain", Example(SPEC, level=2).point)
    assert Later(SPEC, edge="plain").point == Later(SPEC).point
    other: Any = Later(SPEC, edge="other")
    assert (other.edge, other.point["edge"]) == ("other", "other")
    again: Any = eval(repr(other), {"Later": Later, "TensorSpec": TensorSpec})
    assert again.edge == "other"


def test_defaults() -> None:
    codec = Example(SPEC)
    assert Example.unavailable() is None
    assert Example.skip_reason(SPEC, level=1) is None
    assert not Example.needs_fit(SPEC, level=1)
    assert not Example.needs_gradients(SPEC, level=1)
    assert Example.further_points_for(SPEC) == ()
    assert codec.export("device") == codec.export("edge") == b""
    codec.restore("edge", b"")
    with pytest.raises(ValueError, match="example keeps no state, but was given 3 bytes"):
        codec.restore("edge", b"abc")


def test_a_class_with_its_own_fit_needs_one() -> None:
    class Fitted(Example):
        def fit(self, data: Any) -> None:
            self.data = data

    assert Fitted.needs_fit(SPEC)


def test_batches_are_loops_by_default() -> None:
    codec, xs = Example(SPEC), [torch.rand(3, 4) for _ in range(3)]
    payloads = codec.encode_batch(xs)
    assert payloads == [codec.encode(x) for x in xs]
    assert all(torch.equal(a, b) for a, b in zip(codec.decode_batch(payloads), xs, strict=True))


def test_a_codec_without_decode_cannot_be_made() -> None:
    class Half(Codec):
        name = "half"

        def encode(self, x: torch.Tensor) -> bytes:
            return b""

    with pytest.raises(TypeError, match="decode"):
        Half(SPEC)  # type: ignore[abstract]
