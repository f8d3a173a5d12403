"""`cs-generative`: its measurements, the search for a latent, the reconstruction, and a fit in small."""

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from codecbench import FitData, PayloadError, TensorSpec
from codecbench.kit.samples import fit_data, samples
from codecbench_plugins.cs_generative import CsGenerative, training
from codecbench_plugins.cs_generative.generator import Generator, Reconstruction, Search, _Adam
from codecbench_plugins.cs_generative.measuring import Basis, Measuring

IMAGE = TensorSpec((3, 12, 12), image=True)
GREY = TensorSpec((1, 10, 7), image=True)
POINT = {"variant": "best", "measurements": 120, "step": 4}


@pytest.fixture(autouse=True, scope="module")
def small_training() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "TRAINING_BATCH", 16)
        patch.setattr(training, "ENCODER_WIDTH", 16)
        yield


def fitted(spec: TensorSpec = IMAGE, data: FitData | None = None, **point: object) -> CsGenerative:
    codec = CsGenerative(spec, **{**POINT, **point})
    codec.fit(data or fit_data(spec, max_s=1))
    return codec


def squared_error(codec: CsGenerative, xs: list[Tensor]) -> float:
    decoded = codec.decode_batch(codec.encode_batch(xs))
    return float(torch.stack([(y - x).square().mean() for x, y in zip(xs, decoded, strict=True)]).mean())


def generator(latents: int = 5, hidden: int = 4, coefficients: int = 12, seed: int = 0) -> Generator:
    random = torch.Generator().manual_seed(seed)
    shapes = ((latents, coefficients), (latents, hidden), (hidden,), (hidden, coefficients), (coefficients,))
    linear, inner, bias, outer, offset = (torch.randn(n, generator=random, dtype=torch.float64) for n in shapes)
    return Generator(linear, inner, bias, 0.3 * outer, offset)


# --- measurements


@pytest.mark.parametrize(("length", "count"), [(1, 1), (2, 2), (64, 64), (100, 60), (768, 300)])
def test_measuring_is_the_product_with_the_matrix(length: int, count: int) -> None:
    measuring, values = Measuring(length, count), np.random.default_rng(0).integers(-255, 256, length)
    by_matrix = measuring.matrix().numpy() @ values * np.sqrt(length)
    assert np.abs(measuring.sums(values) - by_matrix).max() < 1e-9 * np.abs(values).sum()


def test_sums_of_grey_levels_are_exact_integers() -> None:
    values = np.random.default_rng(1).integers(-255, 256, 3072)
    sums = Measuring(3072, 500).sums(values)
    signs = np.rint(Measuring(3072, 500).matrix().numpy() * np.sqrt(3072)).astype(np.int64)
    assert (np.abs(signs) == 1).all()
    assert (sums == signs @ values).all()


def test_rows_are_orthonormal_where_all_columns_are_used() -> None:
    matrix = Measuring(256, 200).matrix()
    assert torch.allclose(matrix @ matrix.T, torch.eye(200, dtype=torch.float64), atol=1e-12)


def test_the_coefficients_of_the_basis_give_the_pictures_back() -> None:
    pictures = torch.rand(4, 3, 8, 6, dtype=torch.float64)
    basis = Basis((3, 8, 6))
    coefficients = basis.coefficients(pictures)
    assert torch.allclose(basis.values(coefficients), pictures)
    assert torch.allclose(coefficients.norm(dim=1), pictures.flatten(1).norm(dim=1))


# --- generator and search


def test_the_gradient_is_autograds() -> None:
    made = generator()
    latents = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    slope = torch.randn(3, 12, dtype=torch.float64)
    (made(latents) * slope).sum().backward()
    with torch.no_grad():
        assert torch.allclose(made.latent_gradient(slope, made.hidden(latents)), latents.grad)
        change = torch.randn(5, 5, dtype=torch.float64)
        assert torch.allclose(made.in_basis(change)(latents), made(latents @ change))


def loss(made: Generator, latents: Tensor, gram: Tensor, back_projection: Tensor) -> Tensor:
    coefficients = made(latents)
    return (coefficients * (coefficients @ gram / 2 - back_projection)).sum(1) + latents.square().sum(1) / 2


def test_the_optimizer_of_the_search_is_adam() -> None:
    """Algorithm 1 of Kingma and Ba 2015."""
    random = torch.Generator().manual_seed(0)
    ours = torch.randn(3, 2, dtype=torch.float64, generator=random)
    theirs = ours.clone()
    mean, square = torch.zeros_like(theirs), torch.zeros_like(theirs)
    adam, first, second = _Adam(ours), 0.9, 0.999
    for step, rate in enumerate([0.1, 0.03, 0.2, 0.1, 0.05], start=1):
        gradient = torch.randn(3, 2, dtype=torch.float64, generator=random)
        adam.step(gradient, rate)
        mean = first * mean + (1 - first) * gradient
        square = second * square + (1 - second) * gradient**2
        theirs -= rate * (mean / (1 - first**step)) / ((square / (1 - second**step)).sqrt() + 1e-8)
    assert torch.allclose(ours, theirs, atol=1e-6)
    before = ours.clone()
    adam.step(torch.ones_like(ours), 0.0)
    assert torch.equal(ours, before)


def test_a_search_finds_the_solution_of_a_linear_generator() -> None:
    made = generator()
    made = Generator(made.linear, made.inner, made.bias, 0 * made.outer, made.offset)
    sensing = torch.randn(9, 12, dtype=torch.float64)
    gram, measured = 50 * sensing.T @ sensing, torch.randn(6, 9, dtype=torch.float64)
    back_projection = 50 * measured @ sensing
    hessian = made.linear @ gram @ made.linear.T + torch.eye(5, dtype=torch.float64)
    latents = torch.linalg.solve(hessian, ((back_projection - made.offset @ gram) @ made.linear.T).T).T
    assert torch.allclose(Search(made, gram).coefficients(back_projection), made(latents), atol=1e-2)


def test_a_search_ends_no_higher_than_a_long_plain_descent() -> None:
    made = generator()
    sensing = torch.randn(9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    back_projection = torch.randn(8, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) @ sensing
    gram = sensing.T @ sensing
    latents = torch.zeros(8, 5, dtype=torch.float64)
    for _ in range(2000):
        hidden = made.hidden(latents)
        slope = made.output(latents, hidden) @ gram - back_projection
        latents -= 2e-3 * (made.latent_gradient(slope, hidden) + latents)
    found = Search(made, gram).coefficients(back_projection)
    data = (found * (found @ gram / 2 - back_projection)).sum(1)  # without the term in z, which is positive
    assert (data <= loss(made, latents, gram, back_projection) + 1e-3).all()


@given(st.integers(0, 1000), st.integers(1, 4))
@settings(max_examples=6, deadline=None)
def test_a_search_is_the_same_in_a_batch_and_alone(seed: int, coefficients: int) -> None:
    made = generator(coefficients=3 * coefficients, seed=seed)
    sensing = torch.randn(9, 3 * coefficients, dtype=torch.float64)
    gram, back_projection = sensing.T @ sensing, torch.randn(7, 9, dtype=torch.float64) @ sensing
    search = Search(made, gram)
    alone = torch.cat([search.coefficients(one[None]) for one in back_projection])
    assert torch.allclose(search.coefficients(back_projection), alone, rtol=0, atol=1e-9)


# --- reconstruction


def test_what_the_generator_misses_is_restored_from_complete_measurements() -> None:
    basis, made = Basis((1, 4, 4)), generator()
    measuring = Measuring(16, 16).matrix()
    truth = 0.2 + 0.6 * torch.rand(5, 1, 4, 4, dtype=torch.float64)
    mean = torch.full((1, 4, 4), 0.5, dtype=torch.float64)
    measured = (truth - mean).flatten(1) @ measuring.T
    variances = torch.full((16,), 0.05, dtype=torch.float64)
    parts = (made, torch.arange(12), variances, mean, basis, measuring, 1e-4)
    exact = Reconstruction(*parts, corrected=True).pictures(measured)
    assert torch.allclose(exact, truth, atol=1e-4)
    assert not torch.allclose(Reconstruction(*parts, corrected=False).pictures(measured), truth, atol=1e-2)


# --- the codec


def nats_after_training(rate: float, monkeypatch: pytest.MonkeyPatch) -> float:
    pictures = torch.stack(samples(IMAGE, 96))
    said: list[str] = []
    monkeypatch.setattr(training, "LEARNING_RATE", rate)
    fit = training.Training(pictures - pictures.mean(0), Basis((3, 12, 12)), seed=0)
    fit.run(lambda: 1.0, lambda _share, text: said.append(text))
    return float(said[-1].split()[-4])


def test_training_raises_the_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "TRAINING_STEPS", 101)
    trained, untrained = (nats_after_training(rate, monkeypatch) for rate in (1e-2, 0.0))
    assert trained < untrained - 5


@pytest.fixture(scope="module")
def codec(small_training: None) -> CsGenerative:
    return fitted()


def test_bytes_and_pictures_do_not_depend_on_the_batch(codec: CsGenerative) -> None:
    device, edge = CsGenerative(IMAGE, **POINT), CsGenerative(IMAGE, **POINT)
    device.restore("device", codec.export("device"))
    edge.restore("edge", codec.export("edge"))
    xs = samples(IMAGE, 5)
    payloads = device.encode_batch(xs)
    assert payloads == [device.encode(x) for x in xs]
    for payload, y in zip(payloads, edge.decode_batch(payloads), strict=True):
        assert (y.shape, y.dtype) == (IMAGE.shape, torch.float32)
        assert torch.allclose(edge.decode(payload), y, rtol=0, atol=1e-6)
        assert 0 <= y.min() <= y.max() <= 1
    assert edge.decode_batch([]) == []


def test_a_payload_is_its_symbols_and_no_header(codec: CsGenerative) -> None:
    for x in samples(IMAGE, 8):
        assert codec.bound_bytes(x) <= len(codec.encode(x)) <= 1.01 * codec.bound_bytes(x) + 4


def test_the_device_needs_neither_generator_nor_variances(codec: CsGenerative) -> None:
    assert len(codec.export("device")) < 432 + 5000
    assert len(codec.export("device")) < len(codec.export("edge")) / 2
    device = CsGenerative(IMAGE, **POINT)
    device.restore("device", codec.export("device"))
    payload = device.encode(samples(IMAGE, 1)[0])
    with pytest.raises(KeyError, match="linear"):
        device.decode(payload)


def test_more_measurements_and_the_best_variant_lower_the_error() -> None:
    xs = samples(IMAGE, 8, seed=5)
    few, published, many = (
        squared_error(fitted(measurements=measurements, variant=variant), xs)
        for measurements, variant in ((40, "best"), (400, "faithful"), (400, "best"))
    )
    assert many < few
    assert many < published / 2


def test_a_grey_image_of_odd_sides() -> None:
    codec = fitted(GREY, measurements=70, step=2)
    assert squared_error(codec, samples(GREY)) < 1e-3


def test_a_fit_without_time_keeps_the_principal_components() -> None:
    seen: list[float] = []
    data = fit_data(IMAGE, max_s=0)
    codec = fitted(data=dataclasses.replace(data, progress=lambda share, _text: seen.append(share)))
    assert seen == []
    assert squared_error(codec, samples(IMAGE)) < 0.01


def test_few_pictures_make_a_small_generator(codec: CsGenerative) -> None:
    assert codec._state["linear"].shape == (48 // training.PICTURES_PER_LATENT, training.COEFFICIENTS)


def test_progress_rises_and_ends_with_the_time() -> None:
    seen: list[float] = []
    fitted(data=dataclasses.replace(fit_data(IMAGE, max_s=7), progress=lambda share, _text: seen.append(share)))
    assert len(seen) >= 2
    assert seen == sorted(seen)
    assert seen[-1] < 0.1


@pytest.mark.parametrize("side", [1, 2, 3, 5, 32, 36])
def test_points_of_images_large_and_small_are_distinct_and_taken(side: int) -> None:
    spec = TensorSpec((3, side, side), image=True)
    points = CsGenerative.points_for(spec)
    assert len({tuple(point.items()) for point in points}) == len(points)
    assert all(CsGenerative.skip_reason(spec, **point) is None for point in points)
    sizes = [point["measurements"] for point in points if point["variant"] == "best"]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    ("spec", "point", "reason"),
    [
        (TensorSpec((3, 12, 12)), {}, "needs an image"),
        (TensorSpec((3, 64, 64), image=True), {}, "1 to 4096 values"),
        (IMAGE, {"measurements": 433}, "from 1 to 432"),
        (IMAGE, {"measurements": 1.5}, "from 1 to 432"),
        (IMAGE, {"step": 0}, "at most 255"),
        (IMAGE, {"variant": "sparse"}, "'best' or 'faithful'"),
    ],
)
def test_what_is_skipped(spec: TensorSpec, point: dict[str, object], reason: str) -> None:
    assert reason in str(CsGenerative.skip_reason(spec, **point))


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_a_damaged_payload_raises_or_decodes(codec: CsGenerative, data: st.DataObject) -> None:
    payload = bytearray(codec.encode(samples(IMAGE, 1)[0]))
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = bytes(payload[: data.draw(st.integers(0, len(payload)))])
    with contextlib.suppress(PayloadError):
        assert torch.isfinite(codec.decode(damaged)).all()
