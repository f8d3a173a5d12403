"""quant-rans, zstd and lossless: exactness, bounds, and what their design promises."""

import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.training import training
from torch import Tensor

from codecbench import Codec, PayloadError, TensorSpec
from codecbench.kit.samples import extremes, fit_data, samples
from codecbench_plugins.lossless import Lossless
from codecbench_plugins.quant_rans import QuantRans
from codecbench_plugins.zstd import Zstd

IMAGE = TensorSpec((3, 32, 32), image=True)
SPECS = {
    "image": IMAGE,
    "grey image": TensorSpec((1, 20, 28), image=True),
    "features": TensorSpec((6, 9, 7)),
    "early features": TensorSpec((4, 16, 16)),
    "matrix": TensorSpec((6, 10)),
    "time, channels": TensorSpec((None, 5), max_length=30),
    "channels, time": TensorSpec((5, None), max_length=30),
    "spectrogram": TensorSpec((2, 5, None), max_length=20),
    "video": TensorSpec((2, 3, 8, 8)),
    "vector": TensorSpec((11,)),
    "signal": TensorSpec((None,), max_length=90),
    "half": TensorSpec((4, 6, 6), "float16"),
    "double": TensorSpec((4, 6, 6), "float64"),
}
LOSSY = [
    pytest.param(codec, spec, id=f"{codec.name}-{name}") for codec in (QuantRans, Zstd) for name, spec in SPECS.items()
]


@pytest.fixture(autouse=True)
def _zstandard() -> None:
    pytest.importorskip("zstandard", reason="needs the extra codecs")


def pair(codec: type[Codec], spec: TensorSpec, max_s: float = 60.0, **point: Any) -> tuple[Codec, Codec]:
    """A device and an edge instance, restored from what a fitted one exports."""
    source, device, edge = codec(spec, **point), codec(spec, **point), codec(spec, **point)
    if codec.needs_fit(spec, **point):
        source.fit(fit_data(spec, max_s=max_s))
    device.restore("device", source.export("device"))
    edge.restore("edge", source.export("edge"))
    return device, edge


def squared_error(restored: Tensor, x: Tensor) -> float:
    return float((restored.double() - x.double()).pow(2).mean())


# --- what holds for both lossy ones


@pytest.mark.parametrize(("codec", "spec"), LOSSY)
def test_finer_steps_take_more_bytes_and_leave_less_error(codec: type[Codec], spec: TensorSpec) -> None:
    sizes, errors = [], []
    for point in (codec.points_for(spec)[0], codec.points_for(spec)[-1]):
        device, edge = pair(codec, spec, **point)
        xs = samples(spec, 6, seed=5)
        payloads = device.encode_batch(xs)
        restored = edge.decode_batch(payloads)
        assert [(y.shape, y.dtype, y.is_contiguous()) for y in restored] == [(x.shape, x.dtype, True) for x in xs]
        sizes.append(sum(map(len, payloads)))
        errors.append(sum(squared_error(y, x) for x, y in zip(xs, restored, strict=True)))
    assert sizes[0] <= sizes[1]
    assert errors[0] > 2 * errors[1]


@pytest.mark.parametrize(("codec", "spec"), LOSSY)
def test_extremes_decode_to_finite_values_within_the_training_range(codec: type[Codec], spec: TensorSpec) -> None:
    device, edge = pair(codec, spec, max_s=0)
    infinite = torch.full_like(samples(spec, 1)[0], math.inf)
    for x in (*extremes(spec).values(), infinite, -infinite):
        y = edge.decode(device.encode(x))
        assert (y.shape, y.dtype) == (x.shape, x.dtype)
        assert y.abs().max() < 100


@pytest.mark.parametrize(("codec", "spec"), [case for case in LOSSY if None in case.values[1].shape])
@pytest.mark.parametrize("length", [0, 1, 2])
def test_short_sequences(codec: type[Codec], spec: TensorSpec, length: int) -> None:
    device, edge = pair(codec, spec)
    x = torch.zeros([length if n is None else n for n in spec.shape])
    assert edge.decode(device.encode(x)).shape == x.shape


@pytest.mark.parametrize("codec", [QuantRans, Zstd])
def test_values_that_are_not_numbers_are_refused(codec: type[Codec]) -> None:
    for spec in (IMAGE, SPECS["features"]):
        device, _edge = pair(codec, spec)
        x = samples(spec, 1)[0]
        x.view(-1)[3] = math.nan
        with pytest.raises(ValueError, match="not numbers"):
            device.encode(x)


@pytest.mark.parametrize("codec", [QuantRans, Zstd])
@pytest.mark.parametrize("step", [0, -1.0, math.inf, "fine"])
def test_steps_that_are_none_are_skipped(codec: type[Codec], step: Any) -> None:
    assert "step is a number over 0" in (codec.skip_reason(SPECS["features"], step=step) or "")


@pytest.mark.parametrize("codec", [QuantRans, Zstd, Lossless])
def test_a_codec_without_its_extra_says_what_to_install(codec: type[Codec], monkeypatch: pytest.MonkeyPatch) -> None:
    if codec is QuantRans:
        assert codec.unavailable() is None
        return
    monkeypatch.setattr(f"{codec.__module__}.find_spec", lambda _name: None)
    assert "codecbench[codecs]" in (codec.unavailable() or "")


# --- quant-rans


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_payloads_keep_to_the_bound(spec: TensorSpec) -> None:
    for point in QuantRans.quick_points_for(spec):
        device, _edge = pair(QuantRans, spec, **point)
        for x in (*samples(spec, 3, seed=9), *extremes(spec).values()):
            header_bytes = 1 if None in spec.shape else 0
            assert len(device.encode(x)) <= 1.01 * (device.bound_bytes(x) or 0) + 4 + header_bytes


def test_image_levels_are_exact_at_a_step_of_one() -> None:
    device, edge = pair(QuantRans, IMAGE, step=1.0)
    x = samples(IMAGE, 1, seed=1)[0]
    assert (edge.decode(device.encode(x)) - x).abs().max() < 0.5 / 255


def test_smooth_features_are_predicted_and_rough_ones_are_not() -> None:
    spec = TensorSpec((2, 16, 16))
    data = fit_data(spec)
    rng = np.random.default_rng(0)
    ramp = torch.from_numpy(np.add.outer(np.linspace(-3, 3, 16), np.linspace(-3, 3, 16)))
    made = [torch.stack([ramp + 9 * i / 40, torch.from_numpy(rng.normal(size=(16, 16)))]).float() for i in range(40)]
    object.__setattr__(data, "batches", lambda size: iter([(torch.stack(made), [0] * 40)]))
    codec = QuantRans(spec, step=0.25)
    codec.fit(data)
    assert codec._quantisers["predicted"].tolist() == [True, False]


def test_coarse_points_leave_channels_of_little_power_out() -> None:
    spec = TensorSpec((2, 8, 8))
    data = fit_data(spec)
    made = (
        torch.randn(60, 2, 8, 8, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.05])[:, None, None]
    )
    object.__setattr__(data, "batches", lambda size: iter([(made, [0] * 60)]))
    codec = QuantRans(spec, step=1.0)
    codec.fit(data)
    assert (codec._symbols(made[0]) != 0).any(1).tolist() == [True, False]


# --- zstd


def test_image_steps_are_even_and_need_no_state() -> None:
    device, edge = pair(Zstd, IMAGE, step=8.0)
    assert device.export("device") == edge.export("edge") == b""
    x = samples(IMAGE, 1)[0]
    assert (edge.decode(device.encode(x)) - x).abs().max() <= 4.01 / 255


def test_sixteen_levels_travel_in_half_bytes() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 32, 32)).astype(np.float32)) / np.float32(
        255
    )
    sizes = [len(Zstd(IMAGE, step=step).encode(noise)) for step in (17.0, 16.0)]
    assert sizes[0] < 3072 / 2 + 20
    assert sizes[1] > 3072 / 2 + 20


# --- lossless


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@settings(max_examples=40)
@given(data=st.data())
def test_every_bit_pattern_of_a_float_comes_back(dtype: str, data: st.DataObject) -> None:
    bits = 8 * TensorSpec((1,), dtype).nbytes
    special = [0, 1 << (bits - 1), 1, (1 << bits) - 1, (1 << (bits - 1)) - 1, (1 << (bits - 1)) | 1]
    patterns = data.draw(st.lists(st.sampled_from(special) | st.integers(0, (1 << bits) - 1), max_size=30))
    values = np.array(patterns, f"u{bits // 8}").view(dtype)
    codec = Lossless(TensorSpec((None,), dtype, max_length=30))
    assert codec.decode(codec.encode(torch.from_numpy(values))).numpy().tobytes() == values.tobytes()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
def test_integers_come_back(dtype: str) -> None:
    codec = Lossless(TensorSpec((50,), dtype))
    limits = np.iinfo(dtype)
    x = torch.from_numpy(np.random.default_rng(0).integers(limits.min, limits.max, 50, dtype, endpoint=True))
    assert torch.equal(codec.decode(codec.encode(x)), x)


@pytest.mark.parametrize("spec", [IMAGE, SPECS["grey image"], TensorSpec((2, 9, 9), image=True)], ids=str)
def test_pictures_travel_as_pictures_and_other_values_as_values(spec: TensorSpec) -> None:
    codec = Lossless(spec)
    x = samples(spec, 1)[0]
    payload = codec.encode(x)
    assert torch.equal(codec.decode(payload), x)
    assert payload[0] == (1 if spec.shape[0] != 2 else 0)
    for odd in (-0.0, 0.1, math.nan, 2.0, 1e-40):
        changed = x.clone()
        changed[0, 0, 0] = odd
        payload = codec.encode(changed)
        assert payload[0] == 0
        assert codec.decode(payload).numpy().tobytes() == changed.numpy().tobytes()


def test_a_picture_is_pillows_file_without_its_headers() -> None:
    x = samples(IMAGE, 1)[0]
    file = io.BytesIO()
    Image.fromarray((x * 255).round().byte().permute(1, 2, 0).numpy()).save(file, "WEBP", lossless=True, quality=100)
    payload = Lossless(IMAGE).encode(x)
    assert file.getvalue()[25:].rstrip(b"\0") == payload[1:].rstrip(b"\0")


def test_a_picture_of_another_size_is_refused() -> None:
    payload = Lossless(TensorSpec((3, 16, 16), image=True)).encode(samples(TensorSpec((3, 16, 16), image=True), 1)[0])
    with pytest.raises((PayloadError, OSError)):
        Lossless(IMAGE).decode(payload)


def test_zeros_cost_next_to_nothing_and_noise_its_mantissas() -> None:
    codec = Lossless(TensorSpec((4096,)))
    noise = torch.randn(4096, generator=torch.Generator().manual_seed(0))
    assert len(codec.encode(torch.zeros(4096))) < 40
    assert len(codec.encode(noise)) < 4096 * (23 + 4.5) / 8
    assert len(codec.encode(noise.abs() * (torch.arange(4096) % 2))) < 2048 * (23 + 4.5) / 8 + 400


@pytest.mark.parametrize("level", [0, 23, "high"])
def test_levels_that_zstandard_has_not_are_skipped(level: Any) -> None:
    assert "level is a number" in (Lossless.skip_reason(IMAGE, level=level) or "")


def test_quant_rans_finds_the_channels_of_tokens() -> None:
    """Turned tokens give the same quantisers, and take as many bytes; a state of the first axis has no axis in it."""
    torch.manual_seed(0)
    tokens = torch.randn(40, 17, 24) * torch.linspace(0.1, 4.0, 24)
    made = []
    for xs in (tokens, tokens.transpose(1, 2).contiguous()):
        codec = QuantRans(TensorSpec(tuple(xs.shape[1:])), step=0.5)
        codec.fit(training(xs, torch.nn.Flatten()))
        edge = QuantRans(codec.spec, step=0.5)
        edge.restore("edge", codec.export("edge"))
        payload = codec.encode(xs[0])
        assert squared_error(edge.decode(payload), xs[0]) < 0.2 * float(xs.var())
        made.append((len(codec.export("device")), len(payload)))
    assert made[0] == (made[1][0] + 1, made[1][1])
    with pytest.raises(ValueError, match="damaged"):
        edge.restore("edge", codec.export("edge") + b"\x07")
