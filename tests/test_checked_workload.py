"""A workload's mistakes are named as its own, with its file and line; sound answers pass unchanged."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.paths import TINY

from codecbench import Metric, PluginError, RatioMetric, SetMetric, TensorSpec, UsageError, Workload
from codecbench.checked_workload import CheckedWorkload, input_fault, workload_class_fault
from codecbench.errors import DataError
from codecbench.registry import load_file

Tiny = load_file(TINY).Tiny
A = np.array([1.0, 2.0])
TOP1 = RatioMetric("top-1", "%", higher_is_better=True, scale=100.0, binary=True)
WER = RatioMetric("WER", "", higher_is_better=False, decimals=3)


class Longest(SetMetric):
    """The length of the longest first array in a set."""

    def values(self, outcomes: Any, counts: Any) -> Any:
        """0 for an empty set."""
        lengths = np.array([len(outcome[0]) for outcome in outcomes])
        return np.where(counts > 0, lengths, 0).max(axis=1)


@dataclass(frozen=True)
class Fixed(SetMetric):
    """A metric whose values are always the same."""

    answer: Any = None

    def values(self, outcomes: Any, counts: Any) -> Any:
        """Return the answer."""
        return self.answer


LONGEST = Longest("longest", "", higher_is_better=True)
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
    assert sound.scores([(np.array([0.0, 1.0]),)], [1]) == [{"top-1": (1.0, 1.0)}]
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
    assert checked(score=lambda *_: answer).scores([()], [0]) == [{"top-1": (1.0, 2.0)}]


def test_a_score_may_be_no_number_or_negative() -> None:
    (found,) = checked(score=lambda *_: (float("nan"), -1)).scores([()], [0])
    numerator, denominator = found["top-1"]
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
        ({"metric": None}, "metric is None; set RatioMetrics or SetMetrics"),
        ({"metric": TOP1, "metrics": None}, "metrics is None; set a tuple like metrics = (RatioMetric("),
        ({"metrics": ()}, "metrics is (); set a tuple like"),
        ({"metrics": TOP1}, "metrics is one metric; set a tuple like metrics = (RatioMetric("),
        ({"metrics": ("top-1",)}, "metrics holds 'top-1'; set RatioMetrics or SetMetrics"),
        ({"metrics": (TOP1, TOP1)}, "metrics has the name 'top-1' twice; names must differ"),
        ({"metrics": (TOP1, Longest("longest", "", True, outcome="top-1"))}, "metrics has 'top-1' as the outcome of a"),
        ({"metrics": (RatioMetric("", "%", True),)}, "metrics needs texts for name and unit"),
        ({"metrics": (RatioMetric("top-1", "%", True, scale="x"),)}, "metrics has the scale 'x'"),  # type: ignore[arg-type]
        ({"metrics": (RatioMetric("top-1", "%", True, decimals=-1),)}, "metrics has the decimals -1; give an integer"),
        ({"budget": "1 %"}, "budget is '1 %'; give a number"),
        ({"budget": float("nan")}, "budget is nan; give a number"),
        ({"budget": True}, "budget is True; give a number"),
        ({"default_splits": "stem"}, "default_splits is 'stem'; give a tuple of names"),
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


# --- metrics --------------------------------------------------------------------------------------------------------


def test_a_metric_called_as_in_earlier_versions_is_a_ratio() -> None:
    assert Metric("WER", "", higher_is_better=False, scale=2.0, decimals=3) == RatioMetric(  # type: ignore[call-arg]
        "WER", "", False, 2.0, decimals=3
    )
    assert isinstance(Metric("top-1", "%", True, 100.0, True), RatioMetric)  # type: ignore[call-arg]
    assert pickle.loads(pickle.dumps(TOP1)) == copy.copy(TOP1) == TOP1
    with pytest.raises(TypeError, match="abstract"):
        SetMetric("mAP", "", True)  # type: ignore[abstract]


def test_the_old_attribute_metric_is_the_only_one_of_metrics() -> None:
    old = type("Old", (Tiny,), {"metric": WER})
    assert (old.metrics, old.names_one_metric) == ((WER,), True)  # type: ignore[attr-defined]
    new = type("New", (old,), {"metric": TOP1, "metrics": (TOP1, WER)})
    assert (new.metrics, new.names_one_metric) == ((TOP1, WER), False)  # type: ignore[attr-defined]
    assert not Tiny.names_one_metric


def with_metrics(*metrics: Metric, answer: Any = None, **changes: Any) -> CheckedWorkload:
    """The tiny workload with these metrics, whose score is `answer`; a list is answered item by item."""
    answers = iter(answer) if isinstance(answer, list) else itertools.repeat(answer)
    return checked(metrics=metrics, score=lambda *_: next(answers), **changes)


def test_the_outcomes_of_several_metrics_come_by_name() -> None:
    shared = Longest("first", "", True, outcome="boxes"), Longest("second", "", True, outcome="boxes")
    boxes, count = np.zeros(3, np.float32), np.ones((0, 2), np.int16)
    sound = with_metrics(TOP1, *shared, answer={"boxes": (boxes, count), "top-1": (1, 1)})
    (found,) = sound.scores([()], [0])
    assert found["top-1"] == (1.0, 1.0)
    assert all(map(np.array_equal, found["boxes"], (boxes, count)))
    assert list(found) == ["top-1", "boxes"]
    (alone,) = with_metrics(shared[0], answer=[[boxes]]).scores([()], [0])
    assert np.array_equal(alone["boxes"][0], boxes)


@pytest.mark.parametrize(
    ("answer", "mistake"),
    [
        ((1, 1), "score gave (1, 1); return a dict with 'top-1', 'longest'"),
        ({"top-1": (1, 1)}, "score gave {'top-1'}; return a dict with 'top-1', 'longest'"),
        ({"top-1": (1, 1), "longest": (A,), "x": 0}, "score gave {'top-1', 'longest', 'x'}; return a dict with"),
        ({"top-1": 1, "longest": (A,)}, "score gave 1 for 'top-1'; return a numerator and a denominator, two numbers"),
        (
            {"top-1": (1, 1), "longest": A},
            "score gave array([1., 2.]) (numpy.ndarray) for 'longest'; return a tuple of",
        ),
        ({"top-1": (1, 1), "longest": ()}, "score gave () for 'longest'; return a tuple of numpy arrays"),
        ({"top-1": (1, 1), "longest": (1.0,)}, "score gave (1.0,) for 'longest'; return a tuple of numpy arrays"),
        (
            {"top-1": (1, 1), "longest": (np.array("a"),)},
            "score gave an array of <U1 for 'longest'; give arrays of num",
        ),
        ({"top-1": (1, 1), "longest": (np.array(1),)}, "array 0 for 'longest' has the shape (); give one axis or more"),
        ({"top-1": (1, 1), "longest": (np.ones((2, 0)),)}, "array 0 for 'longest' has the shape (2, 0); give one axis"),
    ],
)
def test_wrong_outcomes_of_several_metrics_are_named(answer: Any, mistake: str) -> None:
    assert refused(with_metrics(TOP1, LONGEST, answer=answer).scores, [()], [0]).startswith(mistake)


@pytest.mark.parametrize(
    ("second", "shown"),
    [
        ((A, A), "float64 (n,) and float64 (n,)"), ((A.astype(np.float32),), "float32 (n,)"),
        ((np.ones((2, 3)),), "float64 (n, 3)"),
    ],
)  # fmt: skip
def test_arrays_of_a_set_metric_are_alike_for_all_samples(second: Any, shown: str) -> None:
    workload = with_metrics(LONGEST, answer=[(A,), (A[:0],), second])
    mistake = refused(workload.scores, [()] * 3, [0] * 3)
    assert mistake.startswith(f"score gave {shown} for one sample and float64 (n,) for another; give as many arrays")


def test_values_of_a_set_metric_are_one_number_a_set() -> None:
    outcomes, counts = [(A,), (A[:1],)], np.array([[1, 1], [0, 2], [0, 0]])
    assert with_metrics(LONGEST).metric_values(LONGEST, outcomes, counts).tolist() == [2.0, 1.0, 0.0]
    wrong = with_metrics(LONGEST)
    for answer, shown in (
        (1.0, "float64 of the shape ()"),
        (np.ones(2), "float64 of the shape (2,)"),
        ("abc", "<U3 of"),
    ):
        mistake = refused(wrong.metric_values, Fixed("longest", "", True, answer=answer), outcomes, counts)
        assert mistake.startswith(f"values of 'longest' gave an array of {shown}")
        assert mistake.endswith("for 3 sets; return an array of 3 numbers")
    found = wrong.metric_values(Fixed("longest", "", True, answer=[1, np.inf, np.nan]), outcomes, counts)
    assert np.isnan(found).tolist() == [False, True, True]


def test_an_error_of_a_set_metric_is_named_with_its_line() -> None:
    mistake = refused(with_metrics(LONGEST).metric_values, LONGEST, [], np.ones((1, 2), np.int64))
    assert mistake.startswith("values of 'longest' raised ValueError: ")


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


def test_groups_of_training_samples_are_numbered_and_there_is_one_for_each() -> None:
    names = ["b", "b", "a", *"c" * 37]
    assert checked(fit_groups=lambda self: names).fit_groups() == (0, 0, 1, *[2] * 37)
    assert checked().fit_groups() is None
    with pytest.raises(DataError, match=r"fit_groups\(\) gave 39 groups for 40 samples of 'fit'"):
        checked(fit_groups=lambda self: names[1:]).fit_groups()
