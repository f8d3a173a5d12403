"""The workload of spoken digits: strings, frames, the network, scores; on sounds that the tests make."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from support.digits import write_recordings

from codecbench import DataError, Subset
from codecbench.workers.process.graph_split import SplitModel
from codecbench_datasets.digits import DigitsDeepSpeech
from codecbench_datasets.digits.features import BANDS, FLOOR, HOP, MAX_FRAMES, WINDOW, log_mel
from codecbench_datasets.digits.model import WIDTH, DigitRecogniser
from codecbench_datasets.digits.recordings import SHIPPED, WEIGHTS, read_wav, recordings_folder
from codecbench_datasets.digits.strings import (
    COUNTS,
    INDICES,
    LEFT_OUT,
    MAX_S,
    RATE_HZ,
    VOCABULARY,
    WORDS,
    drawn_string,
    sound_of,
    string_id,
    string_of,
)

SUBSETS: tuple[Subset, ...] = get_args(Subset)
USED = 6
"""The strings of each subset whose recordings the tests have."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the recordings of the first strings, and with random weights."""
    folder = tmp_path_factory.mktemp("data")
    names = {name for subset in SUBSETS for n in range(USED) for name in recipe(subset, n).recordings}
    write_recordings(recordings_folder(folder), names)
    torch.manual_seed(5)
    (folder / "weights").mkdir()
    weights = {key: value.half() for key, value in DigitRecogniser().state_dict().items()}
    save_file(weights, folder / "weights" / WEIGHTS)
    return folder


@pytest.fixture(scope="module")
def workload(place: Path) -> DigitsDeepSpeech:
    return DigitsDeepSpeech(place)


def recipe(subset: Subset, number: int) -> Any:
    return string_of(subset, string_id(subset, number))


def test_importing_it_is_light() -> None:
    code = (
        "import sys; from codecbench_datasets.digits import DigitsDeepSpeech as W; W().default_splits; "
        "print([m for m in ('torch', 'numpy', 'jiwer') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_recording_is_in_two_subsets_and_test_has_the_official_part() -> None:
    found = {
        subset: {name for n in range(COUNTS[subset]) for name in recipe(subset, n).recordings} for subset in SUBSETS
    }
    assert sum(map(len, found.values())) == len(set.union(*found.values()))
    assert {int(name.rpartition("_")[2]) for name in found["test"]} == set(range(5))
    assert len(found["test"]) == len(found["choice"]) == 300
    assert len(found["fit"]) == 2_400 - len(LEFT_OUT)
    assert not LEFT_OUT & found["fit"]


def test_strings_have_3_to_7_digits_of_one_speaker_or_several(workload: DigitsDeepSpeech) -> None:
    strings = [recipe("test", number) for number in range(500)]
    counts = [len(string.recordings) for string in strings]
    assert set(counts) == {3, 4, 5, 6, 7}
    alone = sum(len({name.split("_")[1] for name in string.recordings}) == 1 for string in strings)
    assert 200 < alone < 300
    assert {word for string in strings for word in string.text.split()} == set(WORDS)
    assert workload.targets("test", [3, 1]) == [strings[3].text, strings[1].text]
    assert len(set(workload.sample_ids("test"))) == 500


def test_the_strings_stay_the_same() -> None:
    """Records name strings by their identifiers alone, so these recipes must not change."""
    said = "\n".join(repr(recipe(subset, n)) for subset in SUBSETS for n in range(20))
    assert recipe("test", 0).text == "seven zero eight one five one"
    assert hashlib.sha256(said.encode()).hexdigest()[:16] == "b14a3e77baa2ca3e"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 15_000))
def test_no_sound_is_longer_than_the_spec_allows(seed: int, length: int) -> None:
    string = drawn_string(np.random.default_rng(seed), INDICES["fit"])
    sound = sound_of(string, lambda _: np.full(length, 3_000, np.int16))
    assert len(sound) <= MAX_S * RATE_HZ
    assert np.abs(sound).max() <= 1
    frames = log_mel(sound)
    assert frames.shape == (1 + (len(sound) - WINDOW) // HOP, BANDS)
    assert len(frames) <= MAX_FRAMES


def test_inputs_fit_the_spec_and_depend_on_the_string_alone(workload: DigitsDeepSpeech) -> None:
    spec = workload.input_spec
    for subset in SUBSETS:
        inputs = workload.inputs(subset, range(USED))
        assert [spec.mismatch(x.shape, str(x.dtype)) for x in inputs] == [None] * USED
        assert len({len(x) for x in inputs}) > 1
    forward, backward = workload.inputs("test", [0, 4]), workload.inputs("test", [4, 0])
    np.testing.assert_array_equal(forward[0], backward[1])


def test_a_tone_is_loudest_in_its_band_and_its_power_is_right() -> None:
    seconds = np.arange(RATE_HZ) / RATE_HZ
    for hz in (200, 1_000, 3_000):
        frames = log_mel(0.5 * np.sin(2 * np.pi * hz * seconds)).astype(np.float64)
        edges = 700 * (10 ** (np.linspace(*(2595 * np.log10(1 + np.array([60, 4_000]) / 700)), BANDS + 2) / 2595) - 1)
        loudest = int(frames.mean(0).argmax())
        assert edges[loudest] < hz < edges[loudest + 2]
    rng = np.random.default_rng(0)
    noise = np.exp(log_mel(0.1 * rng.standard_normal(40 * RATE_HZ))).mean(0)
    assert np.abs(noise / 0.01 - 1).max() < 0.1
    silence = log_mel(np.zeros(RATE_HZ))
    assert np.abs(silence - np.log(FLOOR)).max() < 1 / 256
    assert np.array_equal(silence * 256, np.round(silence * 256))


def test_each_layer_is_a_cut_with_time_as_the_only_varying_axis(workload: DigitsDeepSpeech) -> None:
    model = workload.build_model()
    probes = [torch.randn(1, 40, BANDS), torch.randn(2, 71, BANDS), torch.randn(1, MAX_FRAMES, BANDS)]
    split = SplitModel(model, probes, workload.input_spec)
    shapes = {name: split.cut(name).spec.shape for name in workload.default_splits}
    assert shapes == {"input": (None, BANDS), **{f"layer{n}": (None, WIDTH) for n in range(1, 6)}}
    assert {split.cut(name).spec.max_length for name in workload.default_splits} == {MAX_FRAMES}
    (x,) = map(torch.from_numpy, workload.inputs("test", [0]))
    with torch.inference_mode():
        for name in workload.default_splits:
            head, tail = split.split(name)
            assert torch.equal(tail(head(x[None])), model(x[None])), name
    assert model(x[None]).shape == (1, len(x), 11)


def test_weights_are_small_enough_to_ship(place: Path) -> None:
    assert 2_000_000 < (place / "weights" / WEIGHTS).stat().st_size < 5_000_000
    assert 3_000_000 < sum(4 * value.numel() for value in DigitRecogniser().parameters()) < 5_000_000


def logits_of(path: str) -> Any:
    """Logits of a path: a digit, or an underscore for the blank."""
    return 9 * np.eye(11, dtype=np.float32)[[0 if each == "_" else int(each) + 1 for each in path]]


@pytest.mark.parametrize(
    ("path", "target", "edits", "exact"),
    [
        ("_11__1_", "one one", 0, 1),
        ("0_5_5", "zero five five", 0, 1),
        ("0_5", "zero five five", 1, 0),
        ("01", "zero two", 1, 0),
        ("___", "nine nine nine", 3, 0),
        ("1_2_3", "one two", 1, 0),
    ],
)
def test_scores_count_word_edits(workload: DigitsDeepSpeech, path: str, target: str, edits: int, exact: int) -> None:
    pytest.importorskip("jiwer")
    words = len(target.split())
    expected = {"WER": (edits, words), "WER (beam)": (edits, words), "exact strings": (exact, 1)}
    assert workload.score((logits_of(path),), target) == expected


def test_each_metric_has_its_outcome(workload: DigitsDeepSpeech) -> None:
    pytest.importorskip("jiwer")
    found = workload.score((logits_of("12"),), "one two")
    assert [metric.outcome_name for metric in workload.metrics] == list(found)
    assert len(VOCABULARY) == 11


def test_without_recordings_or_weights_a_line_says_what_to_do(tmp_path: Path) -> None:
    workload = DigitsDeepSpeech(tmp_path)
    with pytest.raises(DataError, match=r"no recordings yet; get them by: codecbench data get fsdd --from ARCHIVE$"):
        workload.inputs("test", [0])
    if SHIPPED.is_file():
        assert workload.weights_sha256()
        return
    calls: tuple[Callable[[], Any], ...] = (workload.weights_sha256, workload.build_model)
    for call in calls:
        with pytest.raises(
            DataError, match=r"no weights in .*train them by: python -m codecbench_datasets.digits.train"
        ):
            call()


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    save_file({"x": torch.zeros(2)}, tmp_path / "weights" / WEIGHTS)
    with pytest.raises(DataError, match="holds no weights of digits-deepspeech"):
        DigitsDeepSpeech(tmp_path).build_model()


def test_the_seconds_of_the_training_are_those_of_the_log_beside_the_weights(tmp_path: Path) -> None:
    workload = DigitsDeepSpeech(tmp_path)
    (tmp_path / "weights").mkdir()
    weights = tmp_path / "weights" / WEIGHTS
    weights.write_bytes(b"")
    assert workload.training_s is None
    weights.with_suffix(".jsonl").write_text('{"elapsed_s": 3.5}\n{"elapsed_s": 8}\n{"choice_wer": 0.1}\n')
    assert workload.training_s == 8


@pytest.mark.parametrize(("channels", "rate_hz"), [(2, 8_000), (1, 16_000)])
def test_a_recording_of_another_form_is_named(tmp_path: Path, channels: int, rate_hz: int) -> None:
    with wave.open(str(tmp_path / "0_theo_0.wav"), "wb") as file:
        file.setparams((channels, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(bytes(400))
    with pytest.raises(
        DataError, match=r"0_theo_0.wav is no recording of .* \([12] channels of 16 bits at [0-9]+ Hz\)"
    ):
        read_wav(tmp_path / "0_theo_0.wav")
