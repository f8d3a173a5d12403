"""The picture codecs webp, avif, jpeg2000 and jpegxl, and the tiling that they share with jpeg-huffman."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.damage import check_damage_is_harmless
from torch import Tensor

from codecbench import Codec, PayloadError, TensorSpec, manager
from codecbench.registry import codecs
from codecbench.toolbox.codecs import ColourPictureCodec
from codecbench.toolbox.codecs.picture import PictureCodec, picture_size, tile, untile

NAMES = ("webp", "avif", "jpeg2000", "jpegxl")
ALL_CODECS = codecs(manager())
CODECS = {name: ALL_CODECS[name] for name in NAMES}

IMAGE = TensorSpec((3, 32, 32), image=True)
FEATURES = TensorSpec((12, 9, 7))
SEQUENCE = TensorSpec((None, 5), max_length=60)
SPECS = {
    "image": IMAGE,
    "grey image": TensorSpec((1, 20, 28), image=True),
    "features": FEATURES,
    "time, channels": SEQUENCE,
    "spectrogram": TensorSpec((2, 9, None), max_length=40),
    "vector": TensorSpec((101,)),
    "single value": TensorSpec((1,)),
    "half": TensorSpec((4, 6, 6), "float16"),
    "double": TensorSpec((4, 6, 6), "float64"),
}
PLAIN_FILE_BYTES = {"webp": 28, "avif": 280, "jpeg2000": 130, "jpegxl": 30}
"""What at least is saved of a plain file of the picture of a 32 x 32 image."""

every_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def sample(spec: TensorSpec, seed: int = 0) -> Tensor:
    """A smooth tensor with some noise; pixels k/255 at an image."""
    shape = tuple((spec.max_length or 0) // 2 + seed if n is None else n for n in spec.shape)
    rng = np.random.default_rng(seed)
    waves = sum(np.sin(0.3 * (axis + 1 + seed) + 0.4 * grid) for axis, grid in enumerate(np.indices(shape)))
    values = waves + 0.1 * rng.standard_normal(shape)
    if spec.image:
        pixels = np.rint(255 * (values - values.min()) / np.ptp(values))
        return torch.from_numpy(pixels.astype(np.float32) / np.float32(255))
    return torch.from_numpy(np.asarray(values, spec.dtype))


@cache
def quick_pair(codec: type[Codec], spec: TensorSpec) -> tuple[Codec, Codec]:
    """Device and edge at the finest quick point."""
    return pair(codec, spec, codec.quick_points_for(spec)[-1])


def pair(codec: type[Codec], spec: TensorSpec, point: Any) -> tuple[Codec, Codec]:
    """A device and an edge instance, restored from what a third one exports."""
    source, device, edge = codec(spec, **point), codec(spec, **point), codec(spec, **point)
    device.restore("device", source.export("device"))
    edge.restore("edge", source.export("edge"))
    return device, edge


def relative_error(restored: Tensor, x: Tensor) -> float:
    return float((restored.double() - x.double()).pow(2).mean().sqrt() / x.double().std())


# --- tiling


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4))
def test_tiling_is_undone(shape: list[int]) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    picture = tile(values)
    assert picture.shape == picture_size(TensorSpec(tuple(shape)), shape)
    assert picture.flags.c_contiguous
    assert np.array_equal(untile(picture, shape), values)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((16, 32, 32), (128, 128)),
        ((32, 16, 16), (64, 128)),
        ((64, 8, 8), (64, 64)),
        ((12, 40), (12, 40)),
        ((100,), (7, 16)),
        ((5,), (1, 5)),
        ((0, 4), (0, 4)),
        ((0,), (0, 0)),
        ((2, 3, 4, 5), (8, 15)),
    ],
)
def test_pictures_are_near_squares(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    assert picture_size(TensorSpec(shape), shape) == size


def test_planes_stand_side_by_side_row_by_row() -> None:
    values = np.arange(6, dtype=np.uint8).repeat(4).reshape(6, 2, 2)
    assert tile(values)[::2, ::2].tolist() == [[0, 1, 2], [3, 4, 5]]


# --- all codecs


@every_codec
@every_spec
def test_shape_dtype_batches_and_error(codec: type[Codec], spec: TensorSpec) -> None:
    assert codec.skip_reason(spec, **codec.quick_points_for(spec)[-1]) is None
    device, edge = quick_pair(codec, spec)
    xs = [sample(spec, seed) for seed in range(3)]
    payloads = device.encode_batch(xs)
    assert payloads == [device.encode(x) for x in xs]
    for x, payload, y in zip(xs, payloads, edge.decode_batch(payloads), strict=True):
        assert (y.shape, y.dtype, y.is_contiguous()) == (x.shape, x.dtype, True)
        assert torch.equal(edge.decode(payload), y)
        assert x.numel() == 1 or relative_error(y, x) < 0.6


@every_codec
@pytest.mark.parametrize("spec", [IMAGE, FEATURES], ids=["image", "features"])
def test_finer_points_take_more_bytes_and_err_less(codec: type[Codec], spec: TensorSpec) -> None:
    x = sample(spec)
    payload_bytes, errors = [], []
    points = codec.points_for(spec)
    for point in (points[0], points[len(points) // 2], points[-1]):
        device, edge = pair(codec, spec, point)
        payload = device.encode(x)
        payload_bytes.append(len(payload))
        errors.append(relative_error(edge.decode(payload), x))
    assert errors[-1] < 0.15
    assert errors == sorted(errors, reverse=True)
    assert payload_bytes == sorted(payload_bytes)


@every_codec
def test_constant_bytes_do_not_travel(codec: type[PictureCodec], monkeypatch: pytest.MonkeyPatch) -> None:
    device, edge = quick_pair(codec, IMAGE)
    x = sample(IMAGE)
    payload = device.encode(x)
    files: list[bytes] = []
    catch_files(monkeypatch, files)
    edge.decode(payload)
    assert len(files) == 1
    assert len(files[0]) - len(payload) >= PLAIN_FILE_BYTES[codec.name]


def catch_files(monkeypatch: pytest.MonkeyPatch, files: list[bytes]) -> None:
    """Have every whole file that a decoder is given put into `files`."""
    import imagecodecs
    from PIL import Image

    def caught(original: Any) -> Any:
        def wrapper(file: Any, *args: Any, **kwargs: Any) -> Any:
            files.append(bytes(file) if isinstance(file, bytes) else file.getvalue())
            return original(file, *args, **kwargs)

        return wrapper

    for module, name in ((Image, "open"), (imagecodecs, "jpeg2k_decode"), (imagecodecs, "jpegxl_decode")):
        monkeypatch.setattr(module, name, caught(getattr(module, name)))


@every_codec
@every_spec
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damaged_payloads(codec: type[Codec], spec: TensorSpec, data: st.DataObject) -> None:
    device, edge = quick_pair(codec, spec)
    check_damage_is_harmless(edge, device.encode(sample(spec)), data)


@every_codec
@pytest.mark.parametrize("payload", [b"", b"\xff" * 100], ids=["empty", "ones"])
def test_foreign_payloads_are_refused(codec: type[Codec], payload: bytes) -> None:
    with pytest.raises((PayloadError, OSError, RuntimeError, ValueError)):
        quick_pair(codec, FEATURES)[1].decode(payload)


@every_codec
def test_an_empty_sequence_and_what_is_behind_it(codec: type[Codec]) -> None:
    edge = codec(SEQUENCE)
    assert codec(SEQUENCE).encode(torch.zeros(0, 5)) == b"\0"
    assert edge.decode(b"\0").shape == (0, 5)
    with pytest.raises(PayloadError, match="goes on behind"):
        edge.decode(b"\0\0")


@every_codec
def test_values_that_are_not_finite_are_refused(codec: type[Codec]) -> None:
    x = sample(FEATURES)
    x[0, 1, 2] = math.inf
    with pytest.raises(ValueError, match="not finite"):
        codec(FEATURES).encode(x)


@every_codec
@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (TensorSpec((4, 4), "int64"), "floating-point"),
        (TensorSpec(()), "needs an axis"),
        (TensorSpec((4, 8, 8), image=True), "1 or 3 channels"),
        (TensorSpec((2, None), max_length=300_000), "over"),
    ],
    ids=str,
)
def test_what_cannot_be_taken_is_skipped_with_a_reason(codec: type[Codec], spec: TensorSpec, reason: str) -> None:
    assert reason in str(codec.skip_reason(spec))


@every_codec
@pytest.mark.parametrize("value", [-1, 1000, "fine"])
def test_settings_out_of_range_are_skipped_with_a_reason(codec: type[Codec], value: object) -> None:
    (key,) = codec(IMAGE).point
    assert f"not {value!r}" in str(codec.skip_reason(IMAGE, **{key: value}))


@pytest.mark.parametrize("name", ["jpeg2000", "jpegxl"])
def test_a_missing_package_is_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CODECS[name].unavailable() is None
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "pip install 'codecbench[codecs]'" in str(CODECS[name].unavailable())


@pytest.mark.parametrize("name", ["webp", "avif"])
def test_a_pillow_without_the_format_is_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CODECS[name].unavailable() is None
    monkeypatch.setattr("PIL.features.check", lambda _: False)
    assert "pip install" in str(CODECS[name].unavailable())
    monkeypatch.setattr("PIL.features.modules", {})
    assert "pip install" in str(CODECS["avif"].unavailable())


# --- states


@pytest.mark.parametrize("name", ["avif", "jpeg2000"])
def test_a_device_with_another_header_than_the_state_says_so(name: str) -> None:
    device = CODECS[name](FEATURES)
    state = bytearray(device.export("device"))
    state[-1] ^= 1
    device.restore("device", bytes(state))
    with pytest.raises(RuntimeError, match="export it again"):
        device.encode(sample(FEATURES))


@every_codec
def test_the_edge_decodes_by_its_state_alone(codec: type[PictureCodec], monkeypatch: pytest.MonkeyPatch) -> None:
    device, edge = quick_pair(codec, IMAGE)
    payload, expected = device.encode(sample(IMAGE)), device.decode(device.encode(sample(IMAGE)))

    def refused(*_: object) -> bytes:
        raise AssertionError("the edge makes a header that it holds")

    if codec.make_header is not PictureCodec.make_header and not issubclass(codec, ColourPictureCodec):
        monkeypatch.setattr(codec, "make_header", refused)
    assert torch.equal(edge.decode(payload), expected)


def test_a_picture_with_an_unusual_beginning_travels_whole() -> None:
    """libjxl codes some pictures with other headers; those of more than 256 pixels a side have more sections."""
    spec = TensorSpec((300, 280))
    device, edge = quick_pair(CODECS["jpegxl"], spec)
    payload = device.encode(sample(spec))
    assert payload[8:11] == b"\xff\xff\x0a"
    assert relative_error(edge.decode(payload), sample(spec)) < 0.6


def test_a_whole_file_of_another_picture_is_refused() -> None:
    import imagecodecs

    for size in ((33, 32, 3), (32, 32), (400, 400, 3)):
        file = imagecodecs.jpegxl_encode(np.zeros(size, np.uint8), usecontainer=False)
        with pytest.raises(ValueError, match="invalid out"):
            CODECS["jpegxl"](IMAGE).decode(b"\xff" + file)
