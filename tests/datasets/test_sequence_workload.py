"""The workload of the tests: sequences of varying length, a recurrent CTC model, a metric that is a ratio of sums."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pytest
import torch
from support.paths import SEQUENCE
from torch import Tensor, nn

from codecbench import Subset, manager
from codecbench.registry import load_file, reference, resolve, workloads
from codecbench.workers.process.graph_split import SplitModel
from codecbench.workload import metric_value

FILE = SEQUENCE
SUBSETS: tuple[Subset, ...] = get_args(Subset)


@pytest.fixture(scope="module")
def speech() -> ModuleType:
    return load_file(FILE)


@pytest.fixture(scope="module")
def workload(speech: ModuleType) -> Any:
    return speech.TinySpeech()


@pytest.fixture(scope="module")
def model(workload: Any) -> nn.Module:
    built: nn.Module = workload.build_model()
    return built


@pytest.fixture(scope="module")
def split(workload: Any, model: nn.Module) -> SplitModel:
    probes = [torch.rand(1, 40, 16), torch.rand(2, 71, 16), torch.rand(1, workload.input_spec.max_length, 16)]
    return SplitModel(model, probes, workload.input_spec)


def transcribe(model: nn.Module, x: Any) -> tuple[Any]:
    with torch.inference_mode():
        return (model(torch.from_numpy(x)[None])[0].numpy(),)


def test_the_file_registers_the_workload_and_other_processes_find_it() -> None:
    found = workloads(manager([FILE], with_entry_points=False))
    assert list(found) == ["tiny-speech"]
    assert resolve(reference(found["tiny-speech"])) is found["tiny-speech"]


def test_importing_the_file_is_light() -> None:
    code = (
        "import sys; from pathlib import Path; from codecbench.registry import load_file; "
        "w = load_file(Path(sys.argv[1])).TinySpeech(); w.input_spec; w.sample_ids('test'); "
        "print([m for m in ('torch', 'numpy', 'jiwer') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(FILE)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_subsets_do_not_meet(speech: ModuleType, workload: Any) -> None:
    ids = {subset: set(workload.sample_ids(subset)) for subset in SUBSETS}
    assert sum(map(len, ids.values())) == len(set().union(*ids.values()))
    assert max(map(max, ids.values())) < speech.TRAINING_ID


@pytest.mark.parametrize("subset", SUBSETS)
def test_inputs_fit_the_spec_and_vary_in_length(speech: ModuleType, workload: Any, subset: Subset) -> None:
    positions = range(len(workload.sample_ids(subset)))
    inputs, targets = workload.inputs(subset, positions), workload.targets(subset, positions)
    spec = workload.input_spec
    assert [spec.mismatch(x.shape, str(x.dtype)) for x in inputs] == [None] * len(inputs)
    assert len({len(x) for x in inputs}) > 20
    assert {word for target in targets for word in target.split()} == set(speech.WORDS)
    # CTC needs at least one output step a symbol.
    assert all((len(x) + 1) // 2 >= len(target) for x, target in zip(inputs, targets, strict=True))


def test_the_longest_utterance_fits(speech: ModuleType, workload: Any) -> None:
    letters = 4 * max(map(len, speech.WORDS)) + 3
    assert letters * 7 <= workload.input_spec.max_length


def test_a_sample_depends_on_its_identifier_alone(workload: Any) -> None:
    forward, backward = workload.inputs("test", [4, 9]), workload.inputs("test", [9, 4])
    np.testing.assert_array_equal(forward[0], backward[1])
    np.testing.assert_array_equal(forward[1], backward[0])


def test_baseline_word_error_rate_is_a_few_percent(workload: Any, model: nn.Module) -> None:
    positions = range(200)
    pairs = zip(workload.inputs("test", positions), workload.targets("test", positions), strict=True)
    numerators, denominators = np.array([workload.score(transcribe(model, x), target) for x, target in pairs]).T
    assert 0.01 < metric_value(workload.metrics[0], numerators, denominators) < 0.08
    assert len(set(denominators)) > 1


def logits_of(speech: ModuleType, path: str) -> Any:
    """Logits whose greedy symbols are those of `path`, where an underscore is the blank."""
    symbols = [speech.BLANK if letter == "_" else speech.ALPHABET.index(letter) + 1 for letter in path]
    return np.eye(1 + len(speech.ALPHABET), dtype=np.float32)[symbols]


@pytest.mark.parametrize(
    ("path", "target", "edits"),
    [
        ("t_ii__n", "tin", 0),
        ("tooe", "toe", 0),
        ("to_oe", "tooe", 0),
        ("tin", "tin and", 1),
        ("tin and", "tin", 1),
        ("ton and", "tin and", 1),
        ("tin  and", "tin and", 0),
        ("___", "tin and toe", 3),
    ],
)
def test_score_counts_word_edits(speech: ModuleType, workload: Any, path: str, target: str, edits: int) -> None:
    assert workload.score((logits_of(speech, path),), target) == (edits, len(target.split()))


def test_default_splits_are_cuts_with_time_as_the_only_varying_axis(workload: Any, split: SplitModel) -> None:
    specs = [split.cut(name).spec for name in workload.default_splits]
    assert [spec.shape for spec in specs] == [(None, 16), (None, 24), (None, 32)]
    assert [spec.max_length for spec in specs] == [192, 96, 96]


def test_every_cut_gives_the_whole_models_output(workload: Any, model: nn.Module, split: SplitModel) -> None:
    assert set(workload.default_splits) < set(split.cuts)
    x: Tensor = torch.from_numpy(workload.inputs("choice", [0])[0])[None]
    with torch.inference_mode():
        for name in split.cuts:
            head, tail = split.split(name)
            assert torch.equal(tail(head(x)), model(x)), name
