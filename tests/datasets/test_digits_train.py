"""The training of the digit recogniser, with tiny epochs on sounds that the tests make."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.digits import write_recordings

from codecbench_datasets.digits import train
from codecbench_datasets.digits.model import DigitRecogniser
from codecbench_datasets.digits.recordings import recordings_folder
from codecbench_datasets.digits.strings import SPEAKERS, string_id, string_of

pytest.importorskip("jiwer")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with few recordings, and a training of a few steps."""
    for key, value in {
        "EPOCHS": 2, "EPOCH_STRINGS": 8, "BATCH": 2, "POOL": 2, "VALIDATION_STRINGS": 2, "FINAL_STRINGS": 3,
        "NORMAL_STRINGS": 3, "FIRST_LENGTHS": ((1, 1),), "INDICES": {"fit": range(10, 12)},
    }.items():  # fmt: skip
        monkeypatch.setattr(train, key, value)
    names = {f"{digit}_{speaker}_{index}" for digit in range(10) for speaker in SPEAKERS for index in (10, 11)}
    choice = {name for n in range(3) for name in string_of("choice", string_id("choice", n)).recordings}
    write_recordings(recordings_folder(tmp_path), names | choice, values=800)
    return tmp_path


def run(data: Path, *others: str) -> tuple[list[dict[str, Any]], Path]:
    out = data / "weights" / "w.safetensors"
    train.main(["--data-dir", str(data), "--out", str(out), *others])
    return [json.loads(line) for line in out.with_suffix(".jsonl").read_text().splitlines()], out


def test_it_writes_weights_that_the_network_takes_and_a_line_an_epoch(data: Path) -> None:
    rows, out = run(data)
    assert [row.get("epoch") for row in rows] == [1, 2, None]
    assert all(math.isfinite(row["loss"]) for row in rows[:2])
    assert all(row["choice_wer"] >= 0 for row in rows)
    weights = load_file(out)
    assert {value.dtype for value in weights.values()} == {torch.float16}
    DigitRecogniser().load_state_dict({key: value.float() for key, value in weights.items()})


def test_a_stopped_training_goes_on_from_its_checkpoint(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, uninterrupted = run(data)
    expected = load_file(uninterrupted)
    for file in uninterrupted.parent.iterdir():
        file.unlink()
    save = train.Training.save

    def save_and_stop(self: train.Training) -> None:
        save(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train.Training, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            run(data)
    _, out = run(data)
    assert all(torch.equal(value, expected[key]) for key, value in load_file(out).items())


def test_the_time_that_is_over_ends_the_training_with_weights(data: Path) -> None:
    rows, out = run(data, "--max-s", "0.001")
    assert [row.get("epoch") for row in rows] == [1, None]
    assert out.is_file()


def test_the_rate_rises_then_falls_to_zero() -> None:
    rates = [train.learning_rate(step, step / 1_000) for step in range(1_000)]
    assert rates[0] < rates[20] < rates[49] <= train.PEAK_RATE
    assert rates[49:] == sorted(rates[49:], reverse=True)
    assert train.learning_rate(999, 1.0) == train.learning_rate(999, 1.5) == 0


def test_all_strings_of_a_batch_are_as_long_and_differ_from_epoch_to_epoch(data: Path) -> None:
    folder = recordings_folder(data)
    first, again, second = (list(train.batches(np.random.default_rng(seed), folder)) for seed in (1, 1, 2))
    assert [texts for _, texts in first] == [texts for _, texts in again] != [texts for _, texts in second]
    assert all(torch.equal(x, y) for (x, _), (y, _) in zip(first, again, strict=True))
    assert [x.shape[0] for x, _ in first] == [2] * 4
    assert all(3 <= len(text.split()) <= 7 for _, texts in first for text in texts)


def test_masks_cover_bands_and_frames_with_the_mean_and_leave_the_rest() -> None:
    frames, mean = torch.randn(4, 60, 40), torch.full((40,), 7.0)
    found = train.masked(frames, mean, np.random.default_rng(3))
    covered = found == 7
    assert covered.any()
    assert torch.equal(found[~covered], frames[~covered])
    assert not torch.any(frames == 7)


def test_the_loss_is_small_where_the_text_is_spelt_and_large_elsewhere() -> None:
    logits = torch.full((1, 5, 11), -9.0)
    for step, token in enumerate((0, 1, 0, 2, 0)):
        logits[0, step, token] = 9
    assert float(train.ctc_loss(logits, ["zero one"])) < 1e-3 < 5 < float(train.ctc_loss(logits, ["two one"]))
