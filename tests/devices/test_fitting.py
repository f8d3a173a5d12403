"""The regression finds what made the times, tells its errors on held-out layers, and never predicts less than none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codecbench.devices.fitting import MIN_LAYERS, errors, fit, fit_tree, lines
from codecbench.devices.layers import Layer
from codecbench.devices.profile import Branch, Leaf
from codecbench.errors import DataError


def made_layers(seed: int, count: int = 600) -> list[Layer]:
    """Convolutions, linear layers and additions of all sizes."""
    rng = np.random.default_rng(seed)
    layers = []
    for _ in range(count):
        kind = str(rng.choice(["conv2d", "linear", "add"]))
        kernel = int(rng.choice([1, 3, 5])) if kind == "conv2d" else 1
        c_in, c_out, side = (int(rng.choice(values)) for values in ((8, 32, 128), (8, 64, 256), (4, 8, 32)))
        places = side * side if kind != "linear" else 1
        flop = 0 if kind == "add" else 2 * c_in * c_out * kernel**2 * places
        moved_bytes = 4 * (c_in * places + c_out * places + (c_in * c_out * kernel**2 if flop else 0))
        layers.append(Layer("", kind, flop, moved_bytes, kernel, 1, 1, c_in, c_out, c_out * places))
    return layers


def true_s(layer: Layer) -> float:
    """Two regimes of convolution, as where a library changes its algorithm."""
    if layer.kind == "conv2d":
        speed = 1e-11 if layer.kernel == 3 else 4e-11
        return 2e-5 + speed * layer.flop + 1e-10 * layer.moved_bytes
    return 5e-6 + (5e-11 if layer.kind == "linear" else 3e-10) * layer.moved_bytes


def measured(seed: int, noise: float = 0.0) -> list[tuple[Layer, float]]:
    rng = np.random.default_rng([seed, 9])
    return [(layer, true_s(layer) * float(np.exp(noise * rng.normal()))) for layer in made_layers(seed)]


def test_it_recovers_what_made_the_times() -> None:
    found = fit(measured(0))
    assert found.errors["median_all"] < 0.02
    fresh = [(layer, true_s(layer)) for layer in made_layers(1)]
    assert errors(found.tree, fresh)["median_all"] < 0.02


def test_noise_costs_no_more_than_itself() -> None:
    found = fit(measured(0, noise=0.1))
    fresh = [(layer, true_s(layer)) for layer in made_layers(1)]
    assert errors(found.tree, fresh)["median_all"] < 0.08


def test_the_same_layers_give_the_same_tree() -> None:
    assert fit(measured(3, noise=0.1)) == fit(measured(3, noise=0.1))


def test_one_law_is_one_leaf() -> None:
    rng = np.random.default_rng(0)
    layers = [layer for layer in made_layers(2) if layer.kind == "linear"]
    noisy = [(layer, (1e-5 + 1e-10 * layer.moved_bytes) * float(np.exp(0.05 * rng.normal()))) for layer in layers]
    assert len(list(fit_tree(noisy).leaves())) <= 3


def recurrent(kind: str, count: int) -> list[tuple[Layer, float]]:
    """Of one law: what an LSTM or a GRU of some width, states and steps reads at each step, and its products."""
    rng = np.random.default_rng(count)
    gates, found = {"lstm": 4, "gru": 3}[kind], []
    for _ in range(count):
        width, states, steps = (int(n) for n in rng.integers(8, 300, size=3))
        flop = 2 * gates * steps * states * (width + states)
        layer = Layer("", kind, flop, 4 * gates * states * (width + states), 1, 1, 1, width, states, steps * states)
        found.append((layer, 1e-4 + 1e-11 * flop + 5e-10 * gates * steps * states**2))
    return found


def test_recurrent_layers_share_a_tree_and_read_their_state_at_each_step() -> None:
    few = MIN_LAYERS * 2 // 3
    tree = fit_tree([*measured(0), *recurrent("lstm", few), *recurrent("gru", few + 1)])
    fresh = [*recurrent("lstm", 50), *recurrent("gru", 51)]
    assert errors(tree, fresh)["median_all"] < 0.02


def test_a_few_wild_measurements_do_not_move_it() -> None:
    spoiled = [(layer, seconds * (20 if i % 25 == 0 else 1)) for i, (layer, seconds) in enumerate(measured(0))]
    fresh = [(layer, true_s(layer)) for layer in made_layers(1)]
    assert errors(fit_tree(spoiled), fresh)["median_all"] < 0.03


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_no_coefficient_is_negative_whatever_the_times(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tree = fit_tree([(layer, float(10 ** rng.uniform(-6, -1))) for layer in made_layers(seed, 150)])
    assert all(value > 0 for leaf in tree.leaves() for value in leaf.seconds.values())
    assert all(tree.predict_s(layer) >= 0 for layer in made_layers(seed + 1, 50))


def test_errors_are_of_layers_that_were_held_out() -> None:
    # The times of the held-out fifth alone are doubled: only the errors can tell.
    pairs = measured(0)
    order = np.random.default_rng(0).permutation(len(pairs))
    held_out = set(order[round(len(pairs) * 0.8) :].tolist())
    doubled = [(layer, seconds * (2 if i in held_out else 1)) for i, (layer, seconds) in enumerate(pairs)]
    assert fit(doubled).errors["median_all"] == pytest.approx(0.5, abs=0.02)
    assert fit(doubled).tree == fit(pairs).tree


def test_errors_of_long_layers_stand_apart() -> None:
    tree = Leaf({"per_layer": 1e-5})
    layer = made_layers(0)[0]
    found = errors(tree, [(layer, 1e-5), (layer, 1e-5), (layer, 2e-4)])
    assert found == {"count": 1.0, "median_all": 0.0, "median": 0.95, "p90": 0.95}


def test_too_few_layers_are_an_error() -> None:
    with pytest.raises(DataError, match="give more --minutes"):
        fit(measured(0)[: 4 * MIN_LAYERS - 1])


def test_a_tree_reads_as_text() -> None:
    tree = Branch(Leaf({"per_layer": 1e-5}, 20, 0.1), Leaf({"per_flop": 2e-11}, 30, 0.2), ("conv2d",))
    assert list(lines(tree)) == [
        "kind is conv2d?", "  + 10 us per layer  (20 layers, 10%)", "  - 0.02 ns per flop  (30 layers, 20%)"
    ]  # fmt: skip
