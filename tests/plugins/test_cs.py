"""`cs-dct` and `cs-wavelet`: what is measured, how it is coded, and what is recovered."""

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from support.training import noise, training
from torch import Tensor

from codecbench import Codec, TensorSpec
from codecbench.kit.samples import fit_data, samples
from codecbench.results.cell import row_label
from codecbench.toolbox.coding.prior import Prior
from codecbench.toolbox.sensing.measuring import BAND
from codecbench_plugins.cs_ista import CsDct, CsWavelet

IMAGE = TensorSpec((3, 32, 32), image=True)
SMALL_IMAGE = TensorSpec((3, 16, 16), image=True)
FEATURES = TensorSpec((6, 17, 9))
SEQUENCE = TensorSpec((None, 5), max_length=70)
SPECS = {
    "image": SMALL_IMAGE,
    "large image": TensorSpec((1, 40, 33), image=True),
    "features": FEATURES,
    "small planes": TensorSpec((12, 4, 4)),
    "matrix": TensorSpec((6, 10)),
    "time, channels": SEQUENCE,
    "channels, time": TensorSpec((5, None), max_length=60),
    "spectrogram": TensorSpec((2, 9, None), max_length=40),
    "video": TensorSpec((2, 3, 8, 8)),
    "vector": TensorSpec((101,)),
    "one value": TensorSpec((1,)),
    "half": TensorSpec((4, 6, 6), "float16"),
    "double": TensorSpec((4, 6, 6), "float64"),
}
BEST, FAITHFUL = {"variant": "best", "step": 0.2}, {"variant": "faithful", "step": 0.2, "ratio": 0.8}
made: dict[Any, tuple[Codec, Codec]] = {}


def pair(codec: type[Codec], spec: TensorSpec, **point: Any) -> tuple[Codec, Codec]:
    """A device and an edge instance, restored from what a third one learned from the kit's samples; made once."""
    key = (codec, spec, tuple(point.items()))
    if key not in made:
        source, device, edge = (codec(spec, **point) for _ in range(3))
        source.fit(fit_data(spec))
        device.restore("device", source.export("device"))
        edge.restore("edge", source.export("edge"))
        made[key] = device, edge
    return made[key]


def relative_error(restored: Tensor, x: Tensor) -> float:
    return float((restored.double() - x.double()).pow(2).mean().sqrt() / x.double().std())


def used_rows(codec: Codec) -> np.ndarray:
    """All rows of the bands' matrices that measure something."""
    sensing = codec._sensing
    return sensing._matrix.numpy().reshape(-1, BAND)[sensing._slots]


@pytest.mark.parametrize(
    ("codec", "point"),
    [(CsDct, BEST), (CsWavelet, BEST), (CsWavelet, FAITHFUL)],
    ids=["dct-best", "wavelet-best", "wavelet-faithful"],
)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_round_trips_alone_and_in_batches(codec, spec, point):
    assert codec.skip_reason(spec, **point) is None
    device, edge = pair(codec, spec, **point)
    xs = samples(spec, 5)
    payloads = device.encode_batch(xs)
    assert payloads == [device.encode(x) for x in xs]
    for x, payload, restored in zip(xs, payloads, edge.decode_batch(payloads), strict=True):
        assert (restored.shape, restored.dtype, restored.is_contiguous()) == (x.shape, x.dtype, True)
        alone = edge.decode(payload)
        assert (restored.double() - alone.double()).abs().max() <= 1e-5 * max(1, float(alone.abs().max()))
        length_bytes = 1 if None in spec.shape else 0
        assert len(payload) - length_bytes <= 1.01 * device.bound_bytes(x) + 4


@pytest.mark.parametrize("codec", [CsDct, CsWavelet], ids=["dct", "wavelet"])
def test_more_bytes_are_nearer(codec):
    xs = samples(SMALL_IMAGE, 3)
    payload_bytes, errors = [], []
    for step in (0.5, 0.2, 0.08):
        device, edge = pair(codec, SMALL_IMAGE, variant="best", step=step)
        payloads = device.encode_batch(xs)
        payload_bytes.append(sum(map(len, payloads)))
        errors.append(max(map(relative_error, edge.decode_batch(payloads), xs)))
    assert payload_bytes == sorted(payload_bytes)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.06


def test_best_is_smaller_and_nearer_than_faithful():
    xs = samples(SMALL_IMAGE, 4)
    results = {}
    for point in (BEST, {"variant": "faithful", "step": 0.1, "ratio": 0.5}):
        device, edge = pair(CsDct, SMALL_IMAGE, **point)
        payloads = device.encode_batch(xs)
        error = np.mean(list(map(relative_error, edge.decode_batch(payloads), xs)))
        results[point["variant"]] = sum(map(len, payloads)), error
    assert results["best"][0] < results["faithful"][0]
    assert results["best"][1] < 0.5 * results["faithful"][1]


@pytest.mark.parametrize("point", [BEST, FAITHFUL], ids=["best", "faithful"])
def test_payloads_do_not_depend_on_threads(point):
    device, _ = pair(CsDct, FEATURES, **point)
    xs = samples(FEATURES, 7)
    alone = [device.encode(x) for x in xs]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert device.encode_batch(xs) == alone
    finally:
        torch.set_num_threads(threads)


def test_what_is_measured_are_exact_integers():
    for point in (BEST, FAITHFUL):
        device, _ = pair(CsDct, FEATURES, **point)
        greatest = torch.full(FEATURES.max_shape, 1e30)
        units = torch.from_numpy(device._blocks.cut(np.full(FEATURES.max_shape, 2.0**18)))
        measured = device._sensing.measure(units)
        assert torch.equal(measured, measured.round())
        assert measured.abs().max() < 2**53
        assert device.encode(greatest) == device.encode(greatest * 2)


def test_rows_are_orthonormal_and_no_more_than_asked_for():
    device, _ = pair(CsDct, IMAGE, **BEST)
    sensing = device._sensing
    for band in sensing._matrix.numpy():
        rows = band[band.any(1)]
        assert np.abs(rows @ rows.T - np.eye(len(rows))).max() < 1e-12
    few, _ = pair(CsDct, IMAGE, variant="best", step=0.2, ratio=0.1)
    assert len(used_rows(few)) <= 0.1 * 3072 < len(used_rows(device))


def test_bands_are_measured_in_part_in_full_and_as_they_are():
    device, _ = pair(CsDct, IMAGE, **BEST)
    matrix = device._sensing._matrix.numpy()
    shares = matrix.any(2).mean(1)
    assert list(shares) == sorted(shares, reverse=True)
    assert any(0 < share < 0.9 for share in shares[:-1])
    assert np.array_equal(matrix[0], np.eye(BAND))
    mixed = [
        band
        for band, share in zip(matrix, shares, strict=True)
        if share == 1 and not np.array_equal(band, np.eye(BAND))
    ]
    assert mixed


def test_another_seed_measures_otherwise():
    codecs = []
    for seed in (0, 1):
        codec = CsDct(FEATURES, **FAITHFUL)
        codec.fit(fit_data(FEATURES, seed=seed))
        codecs.append(codec)
    first, second = (codec._sensing._matrix for codec in codecs)
    assert first.shape == second.shape
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("point", [BEST, FAITHFUL], ids=["best", "faithful"])
def test_padding_is_not_measured(point):
    """Beside a full block of 32 steps, one more step takes a small part of a block."""
    device, edge = pair(CsDct, SEQUENCE, **point)
    x = samples(SEQUENCE, 1)[0]
    sensing = device._sensing
    whole, more, two = (sum(device._tables((length, 5))) for length in (32, 33, 64))
    assert whole == sensing.tables
    assert two == 2 * whole
    assert more == whole + math.ceil(whole / 32)
    for length in (0, 1, 32, 33, 64, 70):
        assert edge.decode(device.encode(x[:length])).shape == (length, 5)
    assert device.encode(x[:0]) == b"\0"


def test_empty_batches():
    device, edge = pair(CsDct, FEATURES, **BEST)
    assert device.encode_batch([]) == []
    assert edge.decode_batch([]) == []


def test_values_stay_within_the_range_of_training():
    device, edge = pair(CsDct, IMAGE, variant="best", step=0.5)
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 2, IMAGE.max_shape).astype(np.float32))
    restored = edge.decode(device.encode(noise))
    assert 0 <= float(restored.min()) < float(restored.max()) <= 1


def test_values_that_are_not_finite_are_refused():
    device, _ = pair(CsDct, FEATURES, **BEST)
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not finite"):
            device.encode(torch.full(FEATURES.max_shape, value))


@pytest.mark.parametrize("point", [BEST, FAITHFUL], ids=["best", "faithful"])
def test_a_fit_without_time_is_usable(point):
    codec = CsDct(FEATURES, **point)
    codec.fit(fit_data(FEATURES, max_s=0))
    xs = samples(FEATURES, 2)
    assert max(map(relative_error, codec.decode_batch(codec.encode_batch(xs)), xs)) < 0.6


def test_training_values_that_are_all_equal():
    spec = TensorSpec((2, 4, 4))
    data = fit_data(spec)
    zeros = [(torch.zeros(8, 2, 4, 4), [0] * 8)]
    for point in (BEST, FAITHFUL):
        codec = CsDct(spec, **point)
        codec.fit(type(data)(**{**vars(data), "batches": lambda size: iter(zeros)}))
        assert not codec.decode(codec.encode(torch.zeros(2, 4, 4))).any()


@pytest.mark.parametrize(("codec", "chosen"), [(CsDct, {"basis": "fourier"}), (CsWavelet, {"wavelet": "haar"})])
def test_other_bases(codec, chosen):
    device, edge = pair(codec, IMAGE, **BEST, **chosen)
    usual, _ = pair(codec, IMAGE, **BEST)
    x = samples(IMAGE, 1)[0]
    assert device.encode(x) != usual.encode(x)
    assert relative_error(edge.decode(device.encode(x)), x) < 0.2


@pytest.mark.parametrize(
    ("codec", "spec", "point", "reason"),
    [
        (CsDct, TensorSpec((4,), "int8"), {}, "needs floating-point values, got int8"),
        (CsDct, TensorSpec(()), {}, r"needs an axis and values, got \(\)"),
        (CsDct, TensorSpec((0, 3)), {}, "needs an axis and values"),
        (CsDct, IMAGE, {"variant": "other"}, "variant is 'best' or 'faithful', not 'other'"),
        (CsDct, IMAGE, {"basis": "haar"}, "basis is 'dct' or 'fourier', not 'haar'"),
        (CsDct, IMAGE, {"step": 0}, "step is a number above 0, not 0"),
        (CsDct, IMAGE, {"ratio": "all"}, "ratio is a number above 0, not 'all'"),
        (CsWavelet, IMAGE, {"wavelet": "bior2.2"}, "wavelet is one of haar, .*, not 'bior2.2'"),
    ],
)
def test_skips_have_reasons(codec, spec, point, reason):
    found = codec.skip_reason(spec, **point)
    assert found is not None
    assert re.match(reason, found)


def test_a_table_has_a_row_for_each_variant():
    rows = {row_label(CsDct.name, CsDct.rows_by, point) for point in CsDct.points_for(IMAGE)}
    assert rows == {"cs-dct (best)", "cs-dct (faithful)"}


@pytest.mark.parametrize("spec", [IMAGE, FEATURES, TensorSpec((64, 8, 8))])
def test_points_of_a_row_go_from_coarse_to_fine(spec):
    best = [point["step"] for point in CsDct.points_for(spec) if point["variant"] == "best"]
    ratios = [point["ratio"] for point in CsDct.points_for(spec) if point["variant"] == "faithful"]
    assert best == sorted(best, reverse=True)
    assert ratios == sorted(ratios)
    assert len(best) >= 4
    assert len(ratios) >= 4
    (quick,) = CsDct.quick_points_for(spec)
    assert quick in CsDct.points_for(spec)


def test_state_is_small():
    device, _ = pair(CsDct, IMAGE, variant="best", step=0.1)
    state = device.export("device")
    assert len(state) < 20_000
    assert isinstance(device._prior, Prior)
    assert device.export("edge") == state


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_the_scale_of_values_does_not_matter(scale: float) -> None:
    """Activations of a network may be tiny: payloads and relative errors stay what they are at scale 1."""
    xs = noise(24, 2, 16, 16)
    found = []
    for factor in (1.0, scale):
        data = training(xs * factor, torch.nn.Flatten())
        codec = CsDct(data.spec, step=0.5)
        codec.fit(data)
        decoded = torch.stack([codec.decode(codec.encode(x)) for x in xs[:4] * factor])
        sizes = sum(len(codec.encode(x)) for x in xs[:4] * factor)
        found.append((sizes, float((decoded / factor - xs[:4]).square().mean())))
    assert found[1] == pytest.approx(found[0], rel=0.05)
