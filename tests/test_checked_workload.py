"""A workload's mistakes are named as its own, with its file and line; sound answers pass unchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.paths import TINY

from codecbench import Metric, PluginError, TensorSpec, UsageError, Workload
from codecbench.checked_workload import CheckedWorkload, input_fault, workload_class_fault
from codecbench.errors import DataError
from codecbench.registry import load_file

Tiny = load_file(TINY).Tiny
IMAGE = TensorSpec((3, 8, 8), image=True)
VARYING = TensorSpec((None, 2), max_length=4)


def checked(**changes: Any) -> CheckedWorkload:
    """The tiny workload with other methods or attributes."""
    return CheckedWorkload(type("Changed", (Tiny,), {"__module__": __name__, **changes})())


def refused(call: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(DataError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("workload 'tiny' (")
    place, _, mistake = text.partition("): ")
    assert ".py, line " in place
    return mistake


def test_sound_answers_pass_unchanged() -> None:
    plain, sound = Tiny(), checked()
    assert (sound.name, sound.input_spec, sound.training_s) == ("tiny", plain.input_spec, None)
    assert sound.weights_sha256() == plain.weights_sha256()
    assert sound.sample_ids("test") == tuple(range(2_000, 2_064))
    assert sound.training_ids() == tuple(range(40))
    assert all(map(np.array_equal, sound.inputs("fit", [3, 1]), plain.inputs("fit", [3, 1])))
    assert sound.targets("test", [0, 1]) == plain.targets("test", [0, 1])
    assert sound.scores([(np.array([0.0, 1.0]),)], [1]) == [(1.0, 1.0)]
    assert not sound.build_model().training


def test_what_a_workload_raises_is_said_with_the_line_where_it_did() -> None:
    def inputs(_self: Any, _subset: str, _positions: Any) -> Any:
        return {}["pixels"]

    def score(_self: Any, _output: Any, _target: Any) -> Any:
        raise SystemExit("no")

    line = inputs.__code__.co_firstlineno + 1
    with pytest.raises(DataError) as caught:
        checked(inputs=inputs).inputs("test", [0])
    assert str(caught.value) == f"workload 'tiny' ({__file__}, line {line}): inputs raised KeyError: 'pixels'"
    assert refused(checked(score=score).scores, [()], [0]) == "score raised SystemExit: no"


def test_an_error_that_is_made_for_users_passes_unchanged() -> None:
    def inputs(_self: Any, _subset: str, _positions: Any) -> Any:
        raise UsageError("fetch the data first")

    with pytest.raises(UsageError, match=r"^fetch the data first$"):
        checked(inputs=inputs).inputs("test", [0])


def test_a_constructor_that_raises_is_the_workloads() -> None:
    def init(_self: Any, _data_dir: Path | None = None) -> None:
        raise OSError("no such drive")

    broken = type("Broken", (Tiny,), {"__init__": init, "__module__": __name__})
    assert refused(CheckedWorkload.make, broken, None) == "the constructor raised OSError: no such drive"


@pytest.mark.parametrize(
    ("answer", "mistake"),
    [
        (0.0, "score gave 0.0; return a numerator and a denominator, two numbers"),
        (np.bool_(True), "score gave np.True_ (numpy.bool); return"),
        (None, "score gave None; return"),
        ((1.0,), "score gave (1.0,); return"),
        ((1.0, 1.0, 1.0), "score gave (1.0, 1.0, 1.0); return"),
        ((1j, 1.0), "score gave (1j, 1.0); return"),
        ((None, 1.0), "score gave (None, 1.0); return"),
        (("1", "2"), "score gave ('1', '2'); return"),
        ("12", "score gave '12'; return"),
        ((np.zeros(2), 1.0), "score gave (array([0., 0.]), 1.0); return"),
    ],
)
def test_a_score_is_two_numbers(answer: Any, mistake: str) -> None:
    assert refused(checked(score=lambda *_: answer).scores, [()], [0]).startswith(mistake)


@pytest.mark.parametrize(
    "answer",
    [
        (1, 2), [1.0, 2.0], (np.float32(1), np.int64(2)), (True, 2), (np.array(1.0), 2), (torch.tensor(1.0), 2),
        np.array([1.0, 2.0]),
    ],
)  # fmt: skip
def test_numbers_of_any_kind_make_a_score(answer: Any) -> None:
    assert checked(score=lambda *_: answer).scores([()], [0]) == [(1.0, 2.0)]


def test_a_score_may_be_no_number_or_negative() -> None:
    ((numerator, denominator),) = checked(score=lambda *_: (float("nan"), -1)).scores([()], [0])
    assert np.isnan(numerator)
    assert denominator == -1.0


@pytest.mark.parametrize("given_count", [0, 1, 3])
def test_there_are_as_many_inputs_and_targets_as_positions(given_count: int) -> None:
    sample = np.zeros((3, 8, 8), np.float32)
    changed = checked(inputs=lambda *_: [sample] * given_count, targets=lambda *_: range(given_count))
    text = f"{given_count} samples for 2 positions"
    assert refused(changed.inputs, "test", [0, 1]) == f"inputs('test', ...) gave {text}"
    assert "targets for 2 positions" in refused(changed.targets, "test", [0, 1])


@pytest.mark.parametrize("answer", [None, 5])
def test_answers_that_are_no_lists_are_named(answer: Any) -> None:
    changed = checked(inputs=lambda *_: answer, targets=lambda *_: answer, sample_ids=lambda *_: answer)
    assert "TypeError" in refused(changed.inputs, "test", [0])
    assert "TypeError" in refused(changed.targets, "test", [0])
    assert "TypeError" in refused(changed.sample_ids, "test")


@pytest.mark.parametrize(
    ("array", "spec", "reason"),
    [
        (np.zeros((3, 9, 9), np.float32), IMAGE, "shape is (3, 9, 9), the spec says (3, 8, 8)"),
        (np.zeros((3, 8, 8)), IMAGE, "dtype is float64, the spec says float32"),
        (np.zeros((3, 8, 8), ">f4"), IMAGE, "dtype is >f4, the spec says float32"),
        (np.full((3, 8, 8), 0.5, np.float32), IMAGE, "values are no multiples of 1/255"),
        (np.full((3, 8, 8), -1, np.float32), IMAGE, "values run from -1 to -1, those of an image from 0 to 1"),
        (np.full((3, 8, 8), 255, np.float32), IMAGE, "values run from 255 to 255"),
        (np.full((3, 8, 8), np.nan, np.float32), IMAGE, "values are not finite"),
        (np.full((2, 2), np.inf, np.float32), VARYING, "values are not finite"),
        (np.zeros((5, 2), np.float32), VARYING, "shape is (5, 2), the spec says (None, 2) with at most 4"),
    ],
)
def test_an_input_that_does_not_fit_the_spec(array: Any, spec: TensorSpec, reason: str) -> None:
    fault = input_fault(array, spec)
    assert fault is not None
    assert fault.startswith(reason)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0, 2.0, 0.5, -1 / 255, 256 / 255])
@pytest.mark.parametrize("at", [0, 2, 4])
def test_one_wrong_value_in_a_batch_of_pictures_is_found_where_it_is(value: float, at: int) -> None:
    batch = [np.full((3, 8, 8), level / 255, np.float32) for level in (0, 255, 128, 7, 200)]
    assert checked(inputs=lambda *_: batch).inputs("test", range(10, 15)) == batch
    batch[at][1, 2, 3] = value
    mistake = refused(checked(inputs=lambda *_: batch).inputs, "test", range(10, 15))
    assert mistake.startswith(f"inputs('test', ...) at position {10 + at}: {input_fault(batch[at], IMAGE)}")


@given(st.integers(0, 255), st.sampled_from(["divided", "multiplied", "from float64", "from float16"]))
def test_a_picture_may_have_been_divided_in_any_way(level: int, how: str) -> None:
    value = {
        "divided": np.float32(level) / np.float32(255), "multiplied": np.float32(level) * np.float32(1 / 255),
        "from float64": level / 255, "from float16": np.float32(level) / np.float32(255),
    }[how]  # fmt: skip
    assert input_fault(np.full((3, 8, 8), value, np.float32), IMAGE) is None


def test_a_sample_of_varying_length_fits_up_to_the_limit() -> None:
    for length in (1, 4):
        assert input_fault(np.ones((length, 2), np.float32), VARYING) is None


@pytest.mark.parametrize("answer", [None, b"0" * 64, "sha", "0" * 63, "A" * 64])
def test_the_hash_of_the_weights_is_hexadecimal_text(answer: Any) -> None:
    mistake = refused(checked(weights_sha256=lambda _: answer).weights_sha256)
    assert mistake.endswith("return 64 lower-case hexadecimal digits, as hexdigest() does")


def test_a_model_is_a_module_in_evaluation_mode() -> None:
    assert "build_model returned None; return a torch.nn.Module" in refused(
        checked(build_model=lambda _: None).build_model
    )
    training = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Dropout()).eval()
    training[1].train()
    assert refused(checked(build_model=lambda _: training).build_model) == (
        "the model is in training mode (1); return model.eval()"
    )


def test_properties_of_another_type_are_named() -> None:
    assert refused(lambda: checked(input_spec=(3, 8, 8)).input_spec) == ("input_spec is (3, 8, 8); return a TensorSpec")
    assert "training_s is 'long'" in refused(lambda: checked(training_s="long").training_s)
    assert "ValueError" in refused(lambda: checked(input_spec=property(lambda _: TensorSpec((1,), "f4"))).input_spec)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"metric": None}, "metric is None; set a Metric"),
        ({"metric": "top-1"}, "metric is 'top-1'; set a Metric"),
        ({"metric": Metric("top-1", "%", True, scale="x")}, "metric has the scale 'x'"),  # type: ignore[arg-type]
        ({"budget": "1 %"}, "budget is '1 %'; give a number"),
        ({"budget": float("nan")}, "budget is nan; give a number"),
        ({"budget": True}, "budget is True; give a number"),
        ({"default_splits": "stem"}, "default_splits is 'stem'; give a tuple of names"),
        ({"default_splits": ()}, "default_splits is (); give a tuple of names"),
        ({"dataset": 5}, "dataset is 5; give a name, or None"),
        ({"training_note": None}, "training_note is None; give a text"),
    ],
)
def test_class_attributes_are_checked(changes: dict[str, Any], fault: str) -> None:
    found = workload_class_fault(type("Changed", (Tiny,), {"__module__": __name__, **changes}))
    assert found is not None
    assert ", line " in found
    assert f": workload 'tiny': {fault}" in found
    assert workload_class_fault(Tiny) is None


def test_a_method_that_is_not_defined_is_named_where_the_workload_is_registered(tmp_path: Path) -> None:
    from codecbench.registry import manager, workloads

    path = tmp_path / "half.py"
    path.write_text(
        "from codecbench import Workload, hookimpl\nclass Half(Workload):\n    name = 'half'\n"
        "@hookimpl\ndef codecbench_register_workloads():\n    return [Half]\n"
    )
    with pytest.raises(PluginError, match=r"half\.py, line 2: workload 'half': build_model, input_spec, inputs, .* is"):
        workloads(manager([path], with_entry_points=False))
    assert issubclass(Tiny, Workload)
