"""Device profiles as functions, as files and as plugins; the presets that come with codecbench."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import DOCS

from codecbench.devices.layers import Layer
from codecbench.devices.profile import (
    FEATURES,
    HOST,
    TERMS,
    Branch,
    DeviceProfile,
    Leaf,
    Tree,
    in_elements,
    pick_device,
)
from codecbench.errors import DataError, PluginError, UsageError
from codecbench.registry import devices, manager
from codecbench_plugins.devices import codecbench_register_devices

KINDS = st.sampled_from(["conv2d", "linear", "add", "other"])
# Four digits, as a file keeps.
SECONDS = st.floats(1e-12, 1e-3).map(lambda value: float(f"{value:.4g}"))
LEAVES = st.builds(Leaf, st.dictionaries(st.sampled_from(list(TERMS)), SECONDS), st.integers(0, 99), st.just(0.125))
TREES: st.SearchStrategy[Tree] = st.recursive(
    LEAVES,
    lambda trees: st.one_of(
        st.builds(Branch, trees, trees, st.lists(KINDS, min_size=1, max_size=2).map(tuple)),
        st.builds(Branch, trees, trees, st.just(()), st.sampled_from(list(FEATURES)), st.floats(0, 1e9)),
    ),
    max_leaves=6,
)
SIZES = st.integers(1, 4096)
LAYERS = st.builds(
    Layer, st.just("a"), KINDS, st.integers(0, 10**10), st.integers(0, 10**9), SIZES, SIZES, SIZES, SIZES, SIZES, SIZES
)
CONV = Layer("conv", "conv2d", 2 * 64 * 8 * 4 * 9, 4 * (4 * 64 + 8 * 64 + 4 * 8 * 9), 3, 1, 1, 4, 8, 8 * 64)
ADD = Layer("add", "add", 0, 3_000, 1, 1, 1, 10, 10, 250)
TREE = Branch(Leaf({"per_layer": 1e-5, "per_flop": 1e-10}), Leaf({"per_moved_byte": 1e-9}), ("conv2d",))


def profile(tree: Tree = TREE, **fields: Any) -> DeviceProfile:
    about: dict[str, Any] = {"name": "a-pi", "description": "a board", "source": "a test", "kind": "measured"}
    return DeviceProfile(**{**about, "tree": tree, **fields})


def preset(name: str) -> DeviceProfile:
    return {device.name: device for device in codecbench_register_devices()}[name]


# --- as functions ---------------------------------------------------------------------------------------------------


def test_a_model_takes_the_sum_of_its_layers_and_one_call() -> None:
    device = profile(call_s=0.5)
    conv_s, add_s = 1e-5 + 1e-10 * CONV.flop, 1e-9 * ADD.moved_bytes
    assert device.layer_s(CONV) == pytest.approx(conv_s)
    assert device.model_s([CONV, ADD, ADD]) == pytest.approx(0.5 + conv_s + 2 * add_s)
    assert device.model_s([]) == 0.0


@given(TREES, st.lists(LAYERS, max_size=4), LAYERS)
def test_another_layer_never_takes_less_than_nothing(tree: Tree, layers: list[Layer], more: Layer) -> None:
    device = profile(tree)
    assert 0 <= device.model_s(layers) <= device.model_s([*layers, more])


def test_plain_code_takes_its_factor() -> None:
    assert profile(general_factor=3.0).general_s(0.002) == pytest.approx(0.006)


@given(TREES, LAYERS, st.floats(0.01, 100), st.floats(0.01, 100))
def test_scaling_everything_alike_scales_the_time(tree: Tree, layer: Layer, factor: float, general: float) -> None:
    scaled = profile(tree, call_s=1e-5, general_factor=2.0).scaled(
        "b", description="d", source="s", compute=factor, memory=factor, overhead=factor, general=general
    )
    assert scaled.model_s([layer]) == pytest.approx(factor * profile(tree, call_s=1e-5).model_s([layer]))
    assert scaled.general_s(1.0) == pytest.approx(2 * general)
    assert scaled.kind == "scaled"


def test_each_resource_scales_its_own_terms() -> None:
    tree = Leaf({"per_layer": 1.0, "per_flop": 1.0, "per_moved_byte": 1.0})
    scaled = profile(tree).scaled("b", description="", source="", compute=2, memory=3, overhead=5, general=7).tree
    assert scaled == Leaf({"per_layer": 5.0, "per_flop": 2.0, "per_moved_byte": 3.0})


def test_a_view_writes_nothing_however_large() -> None:
    each = Leaf({"per_layer": 1.0, "per_out_element": 1.0})
    assert each.predict_s(Layer("", "view", 0, 0, out_elements=100)) == 1.0
    assert each.predict_s(Layer("", "relu", 0, 800, out_elements=100)) == 101.0


def test_what_a_layer_reads_follows_from_its_sizes() -> None:
    assert in_elements(CONV) == 4 * 64
    assert in_elements(ADD) == 500


# --- as files -------------------------------------------------------------------------------------------------------


@given(TREES)
def test_json_and_back(tree: Tree) -> None:
    device = profile(tree, errors={"median": 0.1}, machine={"cpu": "x"}, general_kernels_s={"zlib": 0.5})
    assert DeviceProfile.from_json(json.loads(device.to_text())) == device


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"schema": 2}, "schema 2"),
        ({"kind": "guessed"}, "neither 'measured' nor 'scaled'"),
        ({"general_factor": 0}, "general_factor=0.0"),
        ({"call_s": -1}, "call_s=-1.0"),
        ({"call_s": float("nan")}, "NaN is no number in JSON"),
        ({"call_s": -1.0}, "call_s=-1.0"),
        ({"tree": {"seconds": {"per_wish": 1.0}}}, "per_wish"),
        ({"tree": {"seconds": {"per_flop": -1.0}}}, "per_flop"),
        ({"tree": {"feature": "colour", "at_most": 1, "yes": {"seconds": {}}, "no": {"seconds": {}}}}, "colour"),
        ({"tree": {"feature": "flop"}}, "KeyError"),
        ({"tree": []}, "TypeError"),
        ({"errors": 3}, "AttributeError"),
    ],
)
def test_another_file_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    path = tmp_path / "pi.json"
    path.write_text(json.dumps({**profile().to_json(), **change}))
    with pytest.raises(DataError, match=expected) as caught:
        DeviceProfile.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(profile().to_text(), encoding="utf-8-sig")
    assert DeviceProfile.load(path) == profile()


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        DeviceProfile.load(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match="is no JSON"):
        DeviceProfile.load(tmp_path / "bad.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(DataError, match="no device profile"):
        DeviceProfile.load(tmp_path / "list.json")


def test_a_device_is_picked_by_name_or_file(tmp_path: Path) -> None:
    known = {"a-pi": profile()}
    assert pick_device(HOST, known) is None
    assert pick_device("a-pi", known) is known["a-pi"]
    path = tmp_path / "mine.json"
    path.write_text(profile(name="mine").to_text())
    assert pick_device(str(path), known) == profile(name="mine")
    with pytest.raises(UsageError, match="no device 'a-pie'; did you mean 'a-pi'"):
        pick_device("a-pie", known)
    with pytest.raises(UsageError, match=r"there are: host, a-pi, or a profile's \.json file"):
        pick_device("xyz", known)


# --- as plugins -----------------------------------------------------------------------------------------------------

PLUGIN = """
from codecbench import DeviceProfile, hookimpl

@hookimpl
def codecbench_register_devices():
    return [{}]
"""


def registered(tmp_path: Path, what: str) -> dict[str, DeviceProfile]:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN.format(what))
    return devices(manager([path], with_entry_points=False))


def test_a_profile_is_registered_by_its_hook(tmp_path: Path) -> None:
    (tmp_path / "a-pi.json").write_text(profile().to_text())
    found = registered(tmp_path, "DeviceProfile.load(__file__.replace('mine.py', 'a-pi.json'))")
    assert found == {"a-pi": profile()}


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("'a-pi'", "which is not a DeviceProfile"),
        ("DeviceProfile('host', '', '', 'measured', None)", "'host' stands for the machine of the records"),
        (
            "DeviceProfile('a', '', '', 'measured', None), DeviceProfile('a', '', '', 'measured', None)",
            "device name 'a' is used by",
        ),
    ],
)
def test_mistakes_of_a_plugin_are_named(tmp_path: Path, what: str, expected: str) -> None:
    with pytest.raises(PluginError, match=expected):
        registered(tmp_path, what)


# --- those that come with codecbench --------------------------------------------------------------------------------


def test_one_preset_is_measured_and_the_others_scaled_from_it() -> None:
    found = {device.name: device for device in codecbench_register_devices()}
    assert [name for name, device in found.items() if device.kind == "measured"] == ["epyc-core"]
    for device in found.values():
        assert device.source
        if device.kind == "scaled":
            assert device.machine == {"base": "epyc-core"}
            assert "prediction" in device.description
            assert "ssumption" in device.source
            assert not device.errors


def test_the_measured_preset_says_how_well_it_predicts() -> None:
    device = preset("epyc-core")
    assert device.general_factor == 1.0
    assert device.errors["count"] >= 200
    # The docs say what it misses, and that is what ships.
    page = (DOCS / "guides" / "devices.md").read_text()
    assert f"| held-out layers over 0.1 ms, median error | {device.errors['median']:.1%}".replace("%", " %") in page
    assert {"cpu", "torch", "threads", "layers", "measured_utc"} <= set(device.machine)


def test_slower_classes_take_longer() -> None:
    layers = [CONV, Layer("big", "conv2d", 10**9, 10**7, 3, 1, 1, 256, 256, 256 * 28 * 28), ADD]
    order = ("epyc-core", "phone", "raspberry-pi-5", "raspberry-pi-4")
    times = [preset(name).model_s(layers) for name in order]
    assert times == sorted(times)
    assert [preset(name).general_factor for name in order] == sorted(preset(name).general_factor for name in order)
    assert preset("gpu-edge").model_s(layers) < preset("epyc-core").model_s(layers)


def test_loading_profiles_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from codecbench_plugins.devices import codecbench_register_devices as r; list(r());"
        "print({'torch', 'numpy', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"
