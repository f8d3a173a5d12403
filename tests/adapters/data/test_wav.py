"""Recordings in a folder, with transcripts."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from support.descriptions import PlainNetwork, open_samples

from codecbench.adapters.contracts import Sounds
from codecbench.adapters.data.wav import resampled
from codecbench.codec import TensorSpec
from codecbench.errors import DataError

NETWORK = PlainNetwork(sounds=Sounds(8_000))


def write_wav(path: Path, samples: np.ndarray, *, rate_hz: int = 8_000, channels: int = 1, width: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())


def test_a_recording_is_a_waveform_from_minus_1_to_1(tmp_path: Path) -> None:
    write_wav(tmp_path / "w" / "a.wav", np.array([0, 16384, -32768, 8192]))
    samples = open_samples(f"wav:{tmp_path / 'w'}")
    assert samples.names() == ["a.wav"]
    assert samples.input("a.wav", NETWORK).tolist() == [0, 0.5, -1, 0.25]
    assert samples.input("a.wav", NETWORK).dtype == np.float32
    assert samples.input_spec(NETWORK) == TensorSpec((None,), max_length=128_000)


def test_channels_are_mixed_and_the_rate_is_the_models(tmp_path: Path) -> None:
    tone = np.sin(np.arange(1600) / 16_000 * 2 * np.pi * 440) * 16_000
    write_wav(tmp_path / "w" / "a.wav", np.repeat(tone, 2), rate_hz=16_000, channels=2)
    found = open_samples(f"wav:{tmp_path / 'w'}").input("a.wav", NETWORK)
    expected = np.sin(np.arange(800) / 8_000 * 2 * np.pi * 440) * 16_000 / 32_768
    assert np.abs(found - expected)[50:-50].max() < 0.01
    assert resampled(tone, 8_000, 8_000) is tone


@pytest.mark.parametrize("table", ["transcripts.csv", "metadata.tsv"])
def test_transcripts_stand_in_a_table_or_beside_the_recording(tmp_path: Path, table: str) -> None:
    write_wav(tmp_path / "w" / "a.wav", np.zeros(4))
    write_wav(tmp_path / "w" / "sub" / "b.wav", np.zeros(4))
    sign = "\t" if table.endswith("tsv") else ","
    (tmp_path / "w" / table).write_text(f"file{sign}text\na.wav{sign}good morning\n")
    (tmp_path / "w" / "sub" / "b.txt").write_text("good night\n")
    samples = open_samples(f"wav:{tmp_path / 'w'}")
    assert [samples.target(name) for name in samples.names()] == ["good morning", "good night"]


def test_a_transcript_that_is_missing(tmp_path: Path) -> None:
    write_wav(tmp_path / "w" / "a.wav", np.zeros(4))
    with pytest.raises(DataError) as caught:
        open_samples(f"wav:{tmp_path / 'w'}").target("a.wav")
    assert str(caught.value) == (
        "wav:w: a.wav has no transcript; add it to transcripts.csv in the folder (columns file and text), or write it "
        "to a.txt"
    )


def test_a_table_of_another_form(tmp_path: Path) -> None:
    write_wav(tmp_path / "w" / "a.wav", np.zeros(4))
    (tmp_path / "w" / "transcripts.csv").write_text("file,text\na.wav,good, morning\n")
    with pytest.raises(DataError, match=r"^wav:w: transcripts.csv, line 2: it has 3 columns; give file and text$"):
        open_samples(f"wav:{tmp_path / 'w'}").target("a.wav")


def test_a_recording_that_is_too_long(tmp_path: Path) -> None:
    write_wav(tmp_path / "w" / "a.wav", np.zeros(50))
    samples = open_samples(f"wav:{tmp_path / 'w'}", shape="..40")
    assert samples.input_spec(NETWORK) == TensorSpec((None,), max_length=40)
    with pytest.raises(DataError, match=r"^wav:w: a.wav has 50 values at 8000 Hz, more than 40; give --shape ..50"):
        samples.input("a.wav", NETWORK)


def test_files_that_are_no_recordings(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    samples = open_samples(f"wav:{tmp_path / 'w'}")
    with pytest.raises(DataError, match=r"^--data wav:w holds no .wav files$"):
        samples.names()
    (tmp_path / "w" / "a.wav").write_bytes(b"RIFF")
    write_wav(tmp_path / "w" / "b.wav", np.zeros(4), width=1)
    for name in ("a.wav", "b.wav"):
        with pytest.raises(DataError, match=rf"^wav:w: {name} does not open as a recording \("):
            samples.input(name, NETWORK)


def test_a_model_that_takes_no_sound(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^wav:w has sound, and the model m:f takes none$"):
        open_samples(f"wav:{tmp_path / 'w'}").input_spec(PlainNetwork())
