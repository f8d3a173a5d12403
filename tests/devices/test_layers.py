"""A model's layers: their arithmetic is what the records count, and heads and tails part them without a rest."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.mixed_model import Mixed, split_model
from support.paths import RESULTS
from support.traced import Untraceable
from torch import Tensor, nn

from codecbench.devices.layers import Layer, ModelLayers, describe
from codecbench.errors import DataError
from codecbench.measure import count_flop
from codecbench.results.store import Store
from codecbench.workers.process.graph_split import SplitModel
from codecbench_datasets.cifar10.model import ResNet20

NAMES = st.text("abc.", min_size=1, max_size=6)
COUNTS = st.integers(0, 10**12)
LAYERS = st.builds(
    Layer, NAMES, st.sampled_from(["conv2d", "linear", "other"]), COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS,
    COUNTS, COUNTS,
)  # fmt: skip


def described(model: SplitModel, sample: Tensor) -> ModelLayers:
    return describe(model.traced, {c.name: c.node for c in model.cuts.values()}, sample, weights_sha256="abc")


@pytest.fixture(scope="module")
def resnet20() -> tuple[SplitModel, ModelLayers]:
    model = split_model(ResNet20(), (3, 32, 32))
    return model, described(model, torch.rand(1, 3, 32, 32))


@pytest.fixture(scope="module")
def mixed() -> ModelLayers:
    return described(split_model(Mixed(), (4, 8, 8)), torch.rand(1, 4, 8, 8))


def test_a_heads_arithmetic_is_what_a_record_counts(resnet20: tuple[SplitModel, ModelLayers]) -> None:
    model, layers = resnet20
    x = torch.rand(1, 3, 32, 32)
    for name in ("input", "stem", "stage1", "stage3", "pool"):
        head, tail = model.split(name)
        with torch.inference_mode():
            assert sum(layer.flop for layer in layers.head(name)) == count_flop(lambda head=head: head(x))
            crossing = head(x)
            assert sum(layer.flop for layer in layers.tail(name)) == count_flop(
                lambda tail=tail, crossing=crossing: tail(crossing)
            )


def test_the_reference_records_count_the_same(resnet20: tuple[SplitModel, ModelLayers]) -> None:
    counted = {
        (record.key.split, record.cost.head_flop)
        for record in Store(RESULTS).records()
        if record.key.workload == "cifar10-resnet20" and record.cost is not None
    }
    assert len(counted) >= 4
    assert counted == {(split, sum(x.flop for x in resnet20[1].head(split))) for split, _ in counted}


def test_heads_and_tails_part_the_layers_in_order(resnet20: tuple[SplitModel, ModelLayers]) -> None:
    model, layers = resnet20
    assert list(layers.before) == list(model.cuts)
    assert layers.before["input"] == 0
    assert sorted(layers.before.values()) == list(layers.before.values())
    for name in layers.before:
        assert layers.head(name) + layers.tail(name) == layers.layers
    assert [x.kind for x in layers.head("stem")] == ["add", "add", "conv2d", "batch_norm", "relu"]


def test_each_layer_is_named_for_what_it_does(mixed: ModelLayers) -> None:
    assert [layer.kind for layer in mixed.layers] == [
        "conv2d", "batch_norm", "relu", "conv2d", "add", "relu", "max_pool", "view", "view", "gru", "view", "mean",
        "linear", "softmax",
    ]  # fmt: skip


def test_sizes_of_a_convolution(mixed: ModelLayers) -> None:
    stem, depthwise = (layer for layer in mixed.layers if layer.kind == "conv2d")
    assert (stem.kernel, stem.stride, stem.groups, stem.in_channels, stem.out_channels) == (3, 2, 1, 4, 8)
    assert stem.out_elements == 8 * 4 * 4
    assert stem.flop == 2 * stem.out_elements * 4 * 9
    assert stem.moved_bytes == 4 * (4 * 8 * 8 + 8 * 4 * 4 + 8 * 4 * 9)
    assert (depthwise.kernel, depthwise.stride, depthwise.groups) == (5, 1, 8)


def test_views_move_nothing_and_element_wise_layers_only_move(mixed: ModelLayers) -> None:
    assert all(layer.moved_bytes == 0 for layer in mixed.layers if layer.kind == "view")
    add = next(layer for layer in mixed.layers if layer.kind == "add")
    assert (add.flop, add.moved_bytes) == (0, 3 * 4 * 8 * 4 * 4)


def test_a_recurrent_layer_has_the_arithmetic_of_its_matrix_products(mixed: ModelLayers) -> None:
    gru = next(layer for layer in mixed.layers if layer.kind == "gru")
    assert gru.flop == 2 * 4 * (3 * 6 * 8 + 3 * 6 * 6)  # four steps


def test_fused_attention_has_the_arithmetic_of_its_matrix_products() -> None:
    class Attends(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.scaled_dot_product_attention(x, x, x)

    layers = described(split_model(Attends(), (2, 5, 3)), torch.rand(1, 2, 5, 3))
    assert [(x.kind, x.flop) for x in layers.layers] == [("attention", 4 * 2 * 5 * 5 * 3)]


def test_an_exported_model_has_the_layers_of_the_traced_one(resnet20: tuple[SplitModel, ModelLayers]) -> None:
    exported = split_model(Untraceable(ResNet20()), (3, 32, 32))
    assert exported.way == "export"
    x = torch.rand(1, 3, 32, 32)
    layers = exported.layers(x)
    nameless = [[replace(layer, name="") for layer in found.layers] for found in (layers, resnet20[1])]
    # Padding by a slice and zeros, for example, is one function or several operators.
    computing = [[layer for layer in found if layer.kind not in ("view", "copy", "other")] for found in nameless]
    assert computing[0] == computing[1]
    with torch.inference_mode():
        assert sum(layer.flop for layer in layers.layers) == count_flop(lambda: exported.full(x))
    assert layers.before["body.stage1"] > 0


def test_exported_layers_of_many_kinds_are_those_of_the_traced_model(mixed: ModelLayers) -> None:
    exported = split_model(Untraceable(Mixed()), (4, 8, 8))
    assert exported.way == "export"
    found = {layer.kind: layer for layer in exported.layers(torch.rand(1, 4, 8, 8)).layers}
    expected = {layer.kind: layer for layer in mixed.layers}
    for kind in ("conv2d", "batch_norm", "relu", "max_pool", "linear", "softmax", "mean", "add"):
        assert replace(found[kind], name="") == replace(expected[kind], name=""), kind
    # The recurrent layer is one of many products of matrices there.
    assert sum(layer.flop for layer in exported.layers(torch.rand(1, 4, 8, 8)).layers) == pytest.approx(
        sum(layer.flop for layer in mixed.layers)
    )


@given(st.lists(LAYERS, max_size=4), st.dictionaries(NAMES, st.integers(0, 4), max_size=3))
def test_json_and_back(layers: list[Layer], before: dict[str, int]) -> None:
    model = ModelLayers(tuple(layers), before, weights_sha256="abc")
    assert ModelLayers.from_json(model.to_json()) == model


@pytest.mark.parametrize(
    "values",
    [
        [],
        {},
        {"schema": 2, "weights_sha256": "", "before": {}, "columns": [], "layers": []},
        {"schema": 1, "weights_sha256": "", "before": {}, "columns": ["name"], "layers": [["a", 1]]},
        {"schema": 1, "weights_sha256": "", "before": {}, "columns": ["nothing"], "layers": [["a"]]},
        {"schema": 1, "weights_sha256": "", "before": {"a": "b"}, "columns": [], "layers": []},
        {"schema": 1, "weights_sha256": "", "before": {"a": -1}, "columns": [], "layers": []},
        {"schema": 1, "weights_sha256": "", "before": {"a": float("inf")}, "columns": [], "layers": []},
        *(
            {
                "schema": 1,
                "weights_sha256": "",
                "before": {},
                "columns": ["name", "kind", "flop", "moved_bytes"],
                "layers": [row],
            }
            for row in (
                ["a", None, 1, 1],
                [1, "add", 1, 1],
                ["a", "add", -1, 1],
                ["a", "add", 1.5, 1],
                ["a", "add", True, 1],
                ["a", "add", 1, 10**400],
            )
        ),
    ],
)
def test_other_json_is_refused(values: object) -> None:
    with pytest.raises(DataError) as caught:
        ModelLayers.from_json(values)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_split_that_is_not_there_is_an_error(mixed: ModelLayers) -> None:
    with pytest.raises(DataError, match="no split point 'stm'"):
        mixed.head("stm")


def test_importing_brings_no_torch() -> None:
    code = "import sys, codecbench.devices.layers; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


def test_a_store_keeps_layers_and_tells_damage(tmp_path: Path, mixed: ModelLayers) -> None:
    store = Store(tmp_path)
    assert store.layers("mixed") is None
    assert store.all_layers() == {}
    store.write_layers("mixed", mixed)
    assert store.layers("mixed") == mixed
    assert store.all_layers() == {"mixed": mixed}
    assert store.records() == []
    (tmp_path / "mixed" / "layers.json").write_text("{")
    with pytest.raises(DataError, match="delete it and run again"):
        store.layers("mixed")
