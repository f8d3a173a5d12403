"""The workload of LibriSpeech: a tree of the official layout and a small wav2vec2, both made by the tests."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import wave
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from codecbench import DataError, Subset
from codecbench.workers.process.graph_split import SplitModel
from codecbench_datasets.librispeech import LibriSpeech, corpus, files

transformers = pytest.importorskip("transformers")

SUBSETS: tuple[Subset, ...] = get_args(Subset)
TOKENS = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "A": 5, "B": 6, "C": 7}
RATE_HZ = 16_000


def write_sound(path: Path, values: int, *, rate_hz: int = RATE_HZ, channels: int = 1) -> None:
    sound = (9_000 * np.sin(np.arange(values * channels) / 9)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(sound.tobytes())


def tree(root: Path, *, ending: str = ".wav") -> Path:
    """LibriSpeech with three speakers in test-clean and four others in dev-clean, three short utterances each."""
    for part, speakers in (("test-clean", (61, 121, 237)), ("dev-clean", (84, 174, 251, 422))):
        for speaker in speakers:
            folder = root / "LibriSpeech" / part / str(speaker) / "7"
            folder.mkdir(parents=True)
            names = [f"{speaker}-7-{number:04}" for number in range(3)]
            for number, name in enumerate(names):
                if ending == ".wav":
                    write_sound(folder / f"{name}.wav", 900 + speaker + 50 * number)
            lines = [f"{name} A BAC  {'CAB ' * number}A" for number, name in enumerate(names)]
            (folder / f"{speaker}-7.trans.txt").write_text("\n".join(lines) + "\n")
    return root


def model_folder(folder: Path, **others: Any) -> Path:
    """A small wav2vec2 with random weights, as save_pretrained writes it."""
    torch.manual_seed(2)
    config = transformers.Wav2Vec2Config(
        hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=8, conv_dim=[4, 6],
        conv_stride=[5, 2], conv_kernel=[10, 3], num_feat_extract_layers=2, num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2, vocab_size=8, architectures=["Wav2Vec2ForCTC"], **others,
    )  # fmt: skip
    transformers.Wav2Vec2ForCTC(config).save_pretrained(folder)
    (folder / files.PREPROCESSOR).write_text(json.dumps({"sampling_rate": RATE_HZ, "do_normalize": True}))
    (folder / files.VOCABULARY).write_text(json.dumps(TOKENS))
    return folder


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, pretrained: Path) -> Path:
    """A data folder as `codecbench data get librispeech` leaves it."""
    folder = tmp_path_factory.mktemp("data")
    pack = tree(tmp_path_factory.mktemp("pack"))
    LibriSpeech.fetch_from([str(pack), f"hf:{pretrained}"], folder, print)
    return folder


@pytest.fixture
def workload(place: Path) -> LibriSpeech:
    return LibriSpeech(place)


def test_importing_it_is_light() -> None:
    code = (
        "import sys; from codecbench_datasets.librispeech import LibriSpeech as W; W.default_splits; "
        "print([m for m in ('torch', 'numpy', 'jiwer', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_subsets_do_not_share_a_speaker_and_test_is_test_clean(workload: LibriSpeech) -> None:
    speakers = {subset: {name.split("-")[0] for name in workload.sample_ids(subset)} for subset in SUBSETS}
    assert speakers["test"] == {"61", "121", "237"}
    assert len(speakers["choice"]) == len(speakers["fit"]) == 2
    assert speakers["choice"] | speakers["fit"] == {"84", "174", "251", "422"}
    ids = workload.sample_ids("test")
    assert len(ids) == 9
    assert list(ids) != sorted(ids)


def test_inputs_and_targets_are_those_of_the_files(workload: LibriSpeech) -> None:
    spec, ids = workload.input_spec, workload.sample_ids("test")
    at = ids.index("121-7-0002")
    (found,) = workload.inputs("test", [at])
    assert spec.mismatch(found.shape, str(found.dtype)) is None
    expected = (9_000 * np.sin(np.arange(900 + 121 + 100) / 9)).astype(np.int16) / 32_768
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    assert workload.targets("test", [at]) == ["a bac cab cab a"]


def test_the_outputs_are_those_of_the_library_on_normalised_waveforms(place: Path, pretrained: Path) -> None:
    workload = LibriSpeech(place)
    x = torch.from_numpy(workload.inputs("test", [0])[0])[None]
    original = transformers.Wav2Vec2ForCTC.from_pretrained(pretrained).eval()
    normal = (x - x.mean()) / torch.sqrt(((x - x.mean()) ** 2).mean() + 1e-7)
    with torch.inference_mode():
        assert torch.allclose(workload.build_model()(x), original(normal).logits, rtol=1e-5, atol=1e-6)


def test_the_default_splits_are_cuts_at_the_input_the_features_and_layers(workload: LibriSpeech) -> None:
    assert LibriSpeech.default_splits == ()
    names = ("input", "speech.feature_extractor", *(f"speech.encoder.layers.{at}" for at in (0, 1)))
    assert workload.default_splits == names
    model = workload.build_model()
    probes = [torch.randn(2, 900), torch.randn(3, 1_400), torch.randn(2, 3_000)]
    split = SplitModel(model, probes, workload.input_spec)
    assert split.way == "export"
    shapes = [split.cut(name).spec.shape for name in names]
    assert shapes == [(None,), (6, None), (None, 8), (None, 8)]
    x = torch.from_numpy(workload.inputs("choice", [0])[0])[None]
    with torch.inference_mode():
        for name in names:
            head, tail = split.split(name)
            (found,) = tail(head(x))
            assert torch.allclose(found, model(x), atol=1e-6), name


def test_of_twelve_layers_the_third_the_sixth_and_the_ninth_are_cut(tmp_path: Path) -> None:
    (tmp_path / files.CONFIG).write_text(json.dumps({"num_hidden_layers": 12}))
    assert files.split_names(tmp_path)[2:] == tuple(f"speech.encoder.layers.{at}" for at in (2, 5, 8))
    (tmp_path / files.CONFIG).write_text(json.dumps({"num_hidden_layers": 1}))
    assert files.split_names(tmp_path) == ("input", "speech.feature_extractor")


def test_scores_are_edits_over_words_and_characters(workload: LibriSpeech) -> None:
    pytest.importorskip("jiwer")
    path = [0, 5, 5, 0, 4, 6, 5, 0, 7]  # a bac
    logits = 9 * np.eye(8, dtype=np.float32)[path]
    assert workload.score((logits,), "a bac") == {"WER": (0, 2), "CER": (0, 5)}
    assert workload.score((logits,), "a bab c") == {"WER": (2, 3), "CER": (2, 7)}


def test_archives_are_unpacked_beside_the_model(tmp_path: Path, pretrained: Path) -> None:
    pack, data = tree(tmp_path / "pack"), tmp_path / "data"
    for part in corpus.PARTS:
        with tarfile.open(tmp_path / f"{part}.tar.gz", "w:gz") as tar:
            tar.add(pack / "LibriSpeech" / part, f"LibriSpeech/{part}")
    lines: list[str] = []
    with pytest.raises(DataError, match=r"^test-clean of LibriSpeech are not there yet; download test-clean.tar.gz"):
        LibriSpeech.fetch_from([str(tmp_path / "dev-clean.tar.gz")], data, lines.append)
    LibriSpeech.fetch_from([str(tmp_path / "test-clean.tar.gz"), f"hf:{pretrained}"], data, lines.append)
    assert any("9 utterances of test-clean" in line and "CC BY 4.0" in line for line in lines)
    moved = data.rename(tmp_path / "elsewhere")
    workload = LibriSpeech(moved)
    assert len(workload.inputs("fit", [0, 1])) == 2
    assert workload.weights_sha256() == workload.weights_sha256()
    assert sorted(path.name for path in (moved / "librispeech").iterdir()) == ["LibriSpeech", "places.json"]


def test_without_data_every_door_says_what_to_do(tmp_path: Path) -> None:
    workload = LibriSpeech(tmp_path)
    for call in (workload.weights_sha256, workload.build_model, workload.usual_splits):
        with pytest.raises(DataError, match="name a model: codecbench data get librispeech --from hf:NAME-OR-FOLDER"):
            call()
    with pytest.raises(DataError, match="has no dev-clean yet; give its folder or archives: codecbench data get libri"):
        workload.sample_ids("fit")
    with pytest.raises(
        DataError, match=r"download test-clean.tar.gz and dev-clean.tar.gz from https://www.openslr.org/12"
    ):
        LibriSpeech.fetch(tmp_path, print)


@pytest.mark.parametrize(
    ("left_out", "reason"),
    [
        (files.VOCABULARY, "has no vocab.json, which says the text of its outputs"),
        (files.WEIGHTS, "no CTC model can be loaded"),
    ],
)
def test_models_that_lack_a_file(tmp_path: Path, left_out: str, reason: str) -> None:
    folder = model_folder(tmp_path / "model")
    (folder / left_out).unlink()
    with pytest.raises(DataError, match=f"^--from hf:.*model.*{reason}"):
        LibriSpeech.fetch_from([f"hf:{folder}"], tmp_path / "data", print)
    assert not (tmp_path / "data" / "weights" / files.MODEL_FOLDER).exists()


def test_a_model_of_another_rate_or_without_its_head_is_refused(tmp_path: Path, pretrained: Path) -> None:
    folder = model_folder(tmp_path / "model")
    (folder / files.PREPROCESSOR).write_text(json.dumps({"sampling_rate": 8_000}))
    with pytest.raises(DataError, match="takes no waveforms at 16,000 Hz; name another model"):
        LibriSpeech.fetch_from([f"hf:{folder}"], tmp_path / "data", print)
    body = tmp_path / "body"
    transformers.Wav2Vec2ForCTC.from_pretrained(pretrained).wav2vec2.save_pretrained(body)
    (body / files.VOCABULARY).write_text(json.dumps(TOKENS))
    with pytest.raises(DataError, match=r"its weights lack 'lm_head.bias', which would be random"):
        LibriSpeech.fetch_from([f"hf:{body}"], tmp_path / "data", print)


def test_a_weight_that_only_training_uses_may_be_missing(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = model_folder(tmp_path / "model")
    weights = load_file(folder / files.WEIGHTS)
    (masked,) = (key for key in weights if key.endswith("masked_spec_embed"))
    del weights[masked]
    save_file(weights, folder / files.WEIGHTS, metadata={"format": "pt"})
    LibriSpeech.fetch_from([str(tree(tmp_path / "pack")), f"hf:{folder}"], tmp_path / "data", print)
    built = LibriSpeech(tmp_path / "data").build_model()
    assert not dict(built.named_parameters())[f"speech.{masked.rpartition('.')[2]}"].any()


def test_recordings_of_another_form_and_missing_ones_are_named(tmp_path: Path, pretrained: Path) -> None:
    pack = tree(tmp_path / "pack")
    LibriSpeech.fetch_from([str(pack), f"hf:{pretrained}"], tmp_path / "data", print)
    workload = LibriSpeech(tmp_path / "data")
    (file,) = pack.rglob(f"{workload.sample_ids('test')[0]}.wav")
    for form in ({"rate_hz": 8_000}, {"channels": 2}):
        write_sound(file, 900, **form)
        with pytest.raises(DataError, match=f"{file.name} is no mono recording at 16000 Hz"):
            workload.inputs("test", [0])
    file.write_bytes(b"no recording")
    with pytest.raises(DataError, match=f"{file.name} does not open as a recording"):
        workload.inputs("test", [0])
    file.unlink()
    with pytest.raises(DataError, match=f"{file.stem}.flac is missing, though the transcript has it"):
        workload.inputs("test", [0])


def test_flac_without_soundfile_says_what_to_install(
    tmp_path: Path, pretrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = tree(tmp_path / "pack", ending=".flac")
    LibriSpeech.fetch_from([str(pack), f"hf:{pretrained}"], tmp_path / "data", print)
    workload = LibriSpeech(tmp_path / "data")
    (folder,) = pack.rglob(f"{workload.sample_ids('test')[0].rpartition('-')[0]}.trans.txt")
    (folder.parent / f"{workload.sample_ids('test')[0]}.flac").write_bytes(b"fLaC")
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(DataError, match=r"flac need the package soundfile, .* run: pip install soundfile"):
        workload.inputs("test", [0])


def test_flac_is_read_where_soundfile_is_there(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    values = (9_000 * np.sin(np.arange(2_000) / 9)).astype(np.int16)
    soundfile.write(str(tmp_path / "1-2-0000.flac"), values, RATE_HZ)
    found = corpus.sound(corpus.Utterance("1-2-0000", tmp_path, "a"))
    np.testing.assert_array_equal(found, values.astype(np.float32) / 32_768)


def test_a_transcript_without_a_text_is_named(tmp_path: Path) -> None:
    pack = tree(tmp_path / "pack")
    (file,) = pack.rglob("61-7.trans.txt")
    file.write_text("61-7-0000 A\n61-7-0001\n")
    with pytest.raises(DataError, match=r"61-7.trans.txt, line 2: an identifier and what is said are expected"):
        LibriSpeech.fetch_from([str(pack)], tmp_path / "data", print)
    with pytest.raises(DataError, match="has neither test-clean nor dev-clean of LibriSpeech"):
        LibriSpeech.fetch_from([str(tmp_path)], tmp_path / "data", print)
