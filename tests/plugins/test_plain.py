"""The plain codecs: raw, interpolation, jpeg-huffman and quant-huffman, at images, features, sequences and vectors."""

import io
import math
import struct
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.damage import check_damage_is_harmless
from torch import Tensor
from torch.nn.functional import interpolate

from codecbench import Codec, PayloadError, TensorSpec, manager
from codecbench.registry import codecs

NAMES = ("raw", "interpolation", "jpeg-huffman", "quant-huffman")
CODECS = {name: codec for name, codec in codecs(manager()).items() if name in NAMES}

IMAGE = TensorSpec((3, 32, 32), image=True)
GREY_IMAGE = TensorSpec((1, 20, 28), image=True)
FEATURES = TensorSpec((12, 9, 7))
CHANNELS_TIME = TensorSpec((5, None), max_length=60)
TIME_CHANNELS = TensorSpec((None, 5), max_length=60)
SPECS = {
    "image": IMAGE,
    "grey image": GREY_IMAGE,
    "features": FEATURES,
    "matrix": TensorSpec((6, 10)),
    "channels, time": CHANNELS_TIME,
    "time, channels": TIME_CHANNELS,
    "spectrogram": TensorSpec((2, 9, None), max_length=40),
    "video": TensorSpec((2, 3, 8, 8)),
    "vector": TensorSpec((101,)),
    "signal": TensorSpec((None,), max_length=300),
    "half": TensorSpec((4, 6, 6), "float16"),
    "double": TensorSpec((4, 6, 6), "float64"),
}
CASES = [
    pytest.param(codec, spec, dict(point), id=f"{name}-{label}-{'-'.join(map(str, point.values()))}")
    for name, codec in CODECS.items()
    for label, spec in SPECS.items()
    for point in codec.quick_points_for(spec)
]
COARSE_CASES = [
    pytest.param(codec, spec, dict(codec.quick_points_for(spec)[-1]), id=f"{name}-{label}")
    for name, codec in CODECS.items()
    for label, spec in SPECS.items()
]
SHARED_CASES = [
    pytest.param(CODECS["jpeg-huffman"], spec, {"quality": 75, "tables": "shared"}, id=f"shared-tables-{label}")
    for label, spec in SPECS.items()
]


def sample(spec: TensorSpec, seed: int = 0, length: int | None = None) -> Tensor:
    """A smooth tensor with some noise; pixels k/255 at an image."""
    shape = tuple((spec.max_length or 0) // 2 + seed if n is None else n for n in spec.shape)
    if length is not None:
        shape = tuple(length if known is None else n for n, known in zip(shape, spec.shape, strict=True))
    rng = np.random.default_rng(seed)
    waves = sum(np.sin(0.3 * (axis + 1 + seed) + 0.4 * grid) for axis, grid in enumerate(np.indices(shape)))
    values = waves + 0.1 * rng.standard_normal(shape)
    if spec.image:
        pixels = np.rint(255 * (values - values.min()) / np.ptp(values))
        return torch.from_numpy(pixels.astype(np.float32) / np.float32(255))
    return torch.from_numpy(np.asarray(values, spec.dtype))


def pair(codec: type[Codec], spec: TensorSpec, point: dict[str, Any]) -> tuple[Codec, Codec]:
    """A device and an edge instance, restored from what a third one exports."""
    source, device, edge = codec(spec, **point), codec(spec, **point), codec(spec, **point)
    device.restore("device", source.export("device"))
    edge.restore("edge", source.export("edge"))
    return device, edge


def pillow_file(picture: np.ndarray, quality: int, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality, **options)
    return file.getvalue()


def pixels_of(image: Tensor) -> np.ndarray:
    return (image * 255).round().byte().permute(1, 2, 0).numpy()


def relative_error(restored: Tensor, x: Tensor) -> float:
    return float((restored.double() - x.double()).pow(2).mean().sqrt() / x.double().std())


# --- what holds for all of them


@pytest.mark.parametrize(("codec", "spec", "point"), CASES)
def test_shape_dtype_and_batches(codec: type[Codec], spec: TensorSpec, point: dict[str, Any]) -> None:
    assert codec.skip_reason(spec, **point) is None
    device, edge = pair(codec, spec, point)
    xs = [sample(spec, seed) for seed in range(3)]
    before = [x.clone() for x in xs]
    payloads = device.encode_batch(xs)
    assert payloads == [device.encode(x) for x in xs]
    assert all(torch.equal(x, was) for x, was in zip(xs, before, strict=True))
    restored = edge.decode_batch(payloads)
    for x, payload, y in zip(xs, payloads, restored, strict=True):
        assert (y.shape, y.dtype, y.is_contiguous()) == (x.shape, x.dtype, True)
        assert torch.equal(edge.decode(payload), y)
        assert relative_error(y, x) < 0.9


@pytest.mark.parametrize(("codec", "spec", "point"), CASES)
def test_extreme_tensors_decode_to_finite_values(codec: type[Codec], spec: TensorSpec, point: dict[str, Any]) -> None:
    device, edge = pair(codec, spec, point)
    zeros = torch.zeros_like(sample(spec))
    greatest = min(torch.finfo(zeros.dtype).max, torch.finfo(torch.float32).max)
    one_huge = zeros.clone()
    one_huge.view(-1)[zeros.numel() // 2] = greatest
    from_end_to_end = torch.linspace(-1, 1, zeros.numel(), dtype=torch.float64).mul(greatest).reshape(zeros.shape)
    for x in (zeros, zeros + 0.3, one_huge, from_end_to_end.to(zeros.dtype), zeros + torch.finfo(zeros.dtype).tiny / 4):
        y = edge.decode(device.encode(x))
        assert (y.shape, y.dtype) == (x.shape, x.dtype)
        assert y.isfinite().all()


@pytest.mark.parametrize("spec", [s for s in SPECS.values() if None in s.shape], ids=str)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [0, 1, 2])
def test_short_sequences(name: str, spec: TensorSpec, length: int) -> None:
    for point in CODECS[name].quick_points_for(spec):
        device, edge = pair(CODECS[name], spec, dict(point))
        x = sample(spec, length=length)
        assert edge.decode(device.encode(x)).shape == x.shape


@pytest.mark.parametrize(("codec", "spec", "point"), COARSE_CASES + SHARED_CASES)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_payloads(codec: type[Codec], spec: TensorSpec, point: dict[str, Any], data: st.DataObject) -> None:
    device, edge = pair(codec, spec, point)
    check_damage_is_harmless(edge, device.encode(sample(spec)), data)


@pytest.mark.parametrize(("codec", "spec", "point"), COARSE_CASES)
@pytest.mark.parametrize("payload", [b"", b"\xff", bytes(200_000)], ids=["empty", "one byte", "long"])
def test_foreign_payloads_are_refused(
    codec: type[Codec], spec: TensorSpec, point: dict[str, Any], payload: bytes
) -> None:
    with pytest.raises((PayloadError, OSError)):
        pair(codec, spec, point)[1].decode(payload)


@pytest.mark.parametrize(("codec", "spec", "point"), COARSE_CASES)
def test_repr_evaluates_back(codec: type[Codec], spec: TensorSpec, point: dict[str, Any]) -> None:
    instance = codec(spec, **point)
    again = eval(repr(instance), {codec.__name__: codec, "TensorSpec": TensorSpec})
    assert (type(again), again.spec, again.point) == (codec, spec, instance.point)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spec", [IMAGE, FEATURES, TIME_CHANNELS], ids=str)
def test_quick_points_are_few_and_among_all(name: str, spec: TensorSpec) -> None:
    quick, full = CODECS[name].quick_points_for(spec), CODECS[name].points_for(spec)
    assert 1 <= len(quick) <= 3
    assert all(point in full for point in quick)


@pytest.mark.parametrize("name", NAMES[1:])
@pytest.mark.parametrize("spec", [IMAGE, FEATURES], ids=["image", "features"])
def test_finer_points_err_less(name: str, spec: TensorSpec) -> None:
    x = sample(spec)
    errors = []
    for point in CODECS[name].points_for(spec):
        codec = CODECS[name](spec, **point)
        errors.append(relative_error(codec.decode(codec.encode(x)), x))
    assert errors[-1] < 0.05
    assert all(finer < coarser * 1.05 for coarser, finer in pairwise(errors))


@pytest.mark.parametrize(
    ("name", "spec", "point", "reason"),
    [
        ("raw", FEATURES, {"values": "uint8"}, "image input only"),
        ("raw", IMAGE, {"values": "int4"}, "'float32', or 'uint8'"),
        ("interpolation", IMAGE, {"scale": 1.5}, "at most 1"),
        ("interpolation", TensorSpec((4, 4), "int64"), {}, "floating-point"),
        ("interpolation", TensorSpec(()), {}, "needs an axis"),
        ("jpeg-huffman", IMAGE, {"quality": 101}, "1 to 100"),
        ("jpeg-huffman", IMAGE, {"tables": "mine"}, "'own' or 'shared'"),
        ("jpeg-huffman", TensorSpec((4, 4), "int64"), {}, "floating-point"),
        ("jpeg-huffman", TensorSpec(()), {}, "needs an axis"),
        ("jpeg-huffman", TensorSpec((4, 8, 8), image=True), {}, "1 or 3 channels"),
        ("jpeg-huffman", TensorSpec((2, None), max_length=70_000), {}, "over JPEG's"),
        ("quant-huffman", IMAGE, {"levels": 1}, "2 to 256"),
        ("quant-huffman", TensorSpec((4, 4), "int64"), {}, "floating-point"),
    ],
)
def test_what_cannot_be_taken_is_skipped_with_a_reason(
    name: str, spec: TensorSpec, point: dict[str, Any], reason: str
) -> None:
    assert reason in str(CODECS[name].skip_reason(spec, **point))


@pytest.mark.parametrize("name", NAMES[1:])
@pytest.mark.parametrize(("spec", "bad"), [(IMAGE, math.nan), (FEATURES, math.nan), (FEATURES, math.inf)], ids=str)
def test_values_that_are_not_finite_are_refused(name: str, spec: TensorSpec, bad: float) -> None:
    x = sample(spec)
    x[0, 1, 2] = bad
    with pytest.raises(ValueError, match=r"not numbers|not finite"):
        CODECS[name](spec).encode(x)


# --- raw


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64"])
def test_raw_is_exact_for_every_dtype(dtype: str) -> None:
    spec = TensorSpec((None, 3), dtype, max_length=9)
    x = torch.arange(-6, 6).reshape(4, 3).to(getattr(torch, dtype))
    codec = CODECS["raw"](spec)
    payload = codec.encode(x)
    assert len(payload) == 1 + x.numel() * x.element_size()
    assert torch.equal(codec.decode(payload), x)


def test_raw_keeps_every_bit_pattern_of_a_float() -> None:
    patterns = torch.tensor([0x7FC00001, 0x7F800000, -0x80000000, 1], dtype=torch.int64).to(torch.int32)
    codec = CODECS["raw"](TensorSpec((4,)))
    assert torch.equal(codec.decode(codec.encode(patterns.view(torch.float32))).view(torch.int32), patterns)


@pytest.mark.parametrize(("values", "pixel_bytes"), [("uint8", 1), ("float32", 4)])
def test_raw_images(values: str, pixel_bytes: int) -> None:
    codec, x = CODECS["raw"](IMAGE, values=values), sample(IMAGE)
    assert len(codec.encode(x)) == 3072 * pixel_bytes
    assert torch.equal(codec.decode(codec.encode(x)), x)
    assert torch.equal(codec.decode_batch(codec.encode_batch([x, 1 - x.round()]))[0], x)


def test_raw_takes_a_tensor_that_is_not_contiguous() -> None:
    x = sample(TensorSpec((7, 9))).T
    codec = CODECS["raw"](TensorSpec((9, 7)))
    assert torch.equal(codec.decode(codec.encode(x)), x)


# --- interpolation


@pytest.mark.parametrize(
    ("spec", "length", "payload_bytes"),
    [
        (IMAGE, None, 3 * 16 * 16),
        (FEATURES, None, 8 + 12 * 4 * 4),
        (TensorSpec((6, 10)), None, 8 + 6 * 5),
        (TensorSpec((101,)), None, 8 + 50),
        (CHANNELS_TIME, 40, 1 + 8 + 5 * 20),
        (TIME_CHANNELS, 40, 1 + 8 + 20 * 5),
        (TensorSpec((2, 9, None), max_length=40), 1, 1 + 8 + 2 * 4 * 1),
    ],
    ids=str,
)
def test_interpolation_sends_the_kept_samples(spec: TensorSpec, length: int | None, payload_bytes: int) -> None:
    assert len(CODECS["interpolation"](spec, scale=0.5).encode(sample(spec, length=length))) == payload_bytes


def test_interpolation_of_an_image_is_torchs_bicubic() -> None:
    x, codec = sample(IMAGE), CODECS["interpolation"](IMAGE, scale=0.5)
    small = interpolate(x[None], (16, 16), mode="bicubic", antialias=True).clamp(0, 1).mul(255).round() / 255
    restored = interpolate(small, (32, 32), mode="bicubic").clamp(0, 1)[0]
    assert (codec.decode(codec.encode(x)) - restored).abs().max() < 1 / 255 + 1e-6


def test_interpolation_runs_along_time_wherever_that_is() -> None:
    x = sample(CHANNELS_TIME, length=40)
    by_columns = CODECS["interpolation"](CHANNELS_TIME, scale=0.375)
    by_rows = CODECS["interpolation"](TIME_CHANNELS, scale=0.375)
    assert by_rows.encode(x.T) == by_columns.encode(x)
    assert torch.equal(by_rows.decode(by_rows.encode(x.T)), by_columns.decode(by_columns.encode(x)).T)


def test_interpolation_at_scale_1_is_8_bit_samples() -> None:
    image, features = sample(IMAGE), sample(FEATURES)
    exact, close = CODECS["interpolation"](IMAGE, scale=1.0), CODECS["interpolation"](FEATURES, scale=1.0)
    assert torch.equal(exact.decode(exact.encode(image)), image)
    step = float(features.max() - features.min()) / 255
    assert (close.decode(close.encode(features)) - features).abs().max() <= step * 0.51


# --- jpeg-huffman


@pytest.mark.parametrize("quality", [5, 25, 30, 75, 95, 100])
def test_an_image_with_own_tables_is_pillows_file(quality: int) -> None:
    x = sample(IMAGE)
    chroma = "4:2:0" if quality <= 25 else "4:4:4"
    by_hand = pillow_file(pixels_of(x), quality, optimize=True, subsampling=chroma)
    codec = CODECS["jpeg-huffman"](IMAGE, quality=quality, tables="own")
    assert codec.encode(x) == by_hand
    assert (pixels_of(codec.decode(by_hand)) == np.asarray(Image.open(io.BytesIO(by_hand)))).all()


@pytest.mark.parametrize("spec", [FEATURES, TensorSpec((6, 10)), TensorSpec((101,))], ids=str)
def test_features_with_own_tables_are_a_range_and_pillows_file(spec: TensorSpec) -> None:
    x = sample(spec)
    low, high = float(x.min()), float(x.max())
    levels = np.rint((x.double().numpy() - low) * (255 / (high - low))).astype(np.uint8)
    if spec.ndim == 3:  # 12 planes of 9 x 7, three rows of four
        picture = np.block([[levels[4 * row + column] for column in range(4)] for row in range(3)])
    elif spec.ndim == 1:  # rows of 16, the last one filled
        picture = np.append(levels, [levels[-1]] * 11).reshape(7, 16)
    else:
        picture = levels
    payload = CODECS["jpeg-huffman"](spec, quality=80, tables="own").encode(x)
    assert payload[:8] == struct.pack("<ff", low, high)
    assert payload[8:] == pillow_file(picture, 80, optimize=True)


@pytest.mark.parametrize(("spec", "header_bytes"), [(IMAGE, 0), (FEATURES, 8), (CHANNELS_TIME, 9)], ids=str)
@pytest.mark.parametrize("quality", [10, 90])
def test_shared_tables_carry_the_same_picture_without_its_header(
    spec: TensorSpec, header_bytes: int, quality: int
) -> None:
    x = sample(spec)
    device, edge = pair(CODECS["jpeg-huffman"], spec, {"quality": quality, "tables": "shared"})
    own = CODECS["jpeg-huffman"](spec, quality=quality, tables="own")
    payload, file = device.encode(x), own.encode(x)
    assert torch.equal(edge.decode(payload), own.decode(file))
    assert payload[:header_bytes] == file[:header_bytes]
    assert len(payload) < len(file) - 100
    if spec.image:
        chroma = "4:2:0" if quality <= 25 else "4:4:4"
        standard = pillow_file(pixels_of(x), quality, subsampling=chroma)
        assert device.header((x.shape[1], x.shape[2])) + payload + b"\xff\xd9" == standard


def test_shared_tables_are_state_and_own_ones_are_not() -> None:
    shared = CODECS["jpeg-huffman"](FEATURES, quality=50, tables="shared")
    own = CODECS["jpeg-huffman"](FEATURES, quality=50, tables="own")
    assert shared.export("device") == shared.export("edge")
    assert 300 < len(shared.export("edge")) < 700
    assert own.export("edge") == b""
    with pytest.raises(ValueError, match="keeps no state"):
        own.restore("edge", shared.export("edge"))


def test_a_device_with_other_tables_than_the_state_says_so() -> None:
    coarse, fine = (CODECS["jpeg-huffman"](FEATURES, quality=quality, tables="shared") for quality in (50, 90))
    fine.restore("device", coarse.export("device"))
    with pytest.raises(RuntimeError, match="export it again"):
        fine.encode(sample(FEATURES))


@pytest.mark.parametrize(
    "picture",
    [np.zeros((64, 64, 3), np.uint8), np.zeros((32, 32), np.uint8), np.zeros((3000, 3000, 3), np.uint8)],
    ids=["larger", "grey", "huge"],
)
def test_a_file_of_another_picture_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(PayloadError, match="picture of"):
        CODECS["jpeg-huffman"](IMAGE, tables="own").decode(pillow_file(picture, 50))


def test_only_jpeg_files_are_opened() -> None:
    file = io.BytesIO()
    Image.fromarray(pixels_of(sample(IMAGE))).save(file, "PNG")
    with pytest.raises(OSError, match="cannot identify"):
        CODECS["jpeg-huffman"](IMAGE, tables="own").decode(file.getvalue())


# --- quant-huffman


@pytest.mark.parametrize("levels", [2, 4, 12, 256])
def test_quantised_features_are_within_half_a_step(levels: int) -> None:
    x, codec = sample(FEATURES), CODECS["quant-huffman"](FEATURES, levels=levels)
    step = float(x.max() - x.min()) / (levels - 1)
    assert (codec.decode(codec.encode(x)) - x).abs().max() <= step * 0.501


def test_an_image_needs_no_range_and_256_levels_of_it_are_exact() -> None:
    x, codec = sample(IMAGE), CODECS["quant-huffman"](IMAGE, levels=256)
    assert torch.equal(codec.decode(codec.encode(x)), x)
    flat = torch.full(IMAGE.max_shape, 0.6)
    assert len(codec.encode(flat)) < 20 + 3072 / 8
    assert torch.equal(codec.decode(codec.encode(flat)), flat)


@pytest.mark.parametrize("levels", [4, 12, 32, 256])
def test_a_payload_is_never_over_a_fixed_width(levels: int) -> None:
    spec = TensorSpec((200,))
    codec = CODECS["quant-huffman"](spec, levels=levels)
    even = torch.from_numpy(np.random.default_rng(0).permutation(200).astype(np.float32))
    skewed = even * (even > 190)
    packed_bytes = 8 + math.ceil(200 * (levels - 1).bit_length() / 8)
    assert len(codec.encode(even)) <= packed_bytes
    assert len(codec.encode(skewed)) < packed_bytes
    for x in (even, skewed):
        assert relative_error(codec.decode(codec.encode(x)), x) < 2 / levels
