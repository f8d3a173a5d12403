"""Models in the layout of the library transformers: small ones, saved by the library itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.descriptions import open_network

from codecbench.adapters.contracts import Pictures, Sounds
from codecbench.adapters.models.hf import stated_form
from codecbench.errors import DataError

transformers = pytest.importorskip("transformers")

PREPROCESSING = {
    "do_resize": True, "size": {"shortest_edge": 36}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32},
    "resample": 3, "do_normalize": True, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25],
}  # fmt: skip


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small classifier with weights and preprocessing."""
    folder = tmp_path_factory.mktemp("resnet")
    torch.manual_seed(3)
    config = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", id2label={0: "tench, fish", 1: "dog"}
    )
    transformers.ResNetForImageClassification(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    return folder


def copied(folder: Path, place: Path, *left_out: str) -> Path:
    place.mkdir()
    for file in folder.iterdir():
        if file.name not in left_out:
            (place / file.name).write_bytes(file.read_bytes())
    return place


def test_the_preprocessing_is_the_one_of_its_own_file(resnet: Path) -> None:
    network = open_network(f"hf:{resnet}", task="classification")
    assert network.pictures == Pictures((32, 32), 36, "bicubic", (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
    assert network.classes == [("tench, fish", "tench", " fish"), ("dog", "dog")]


def test_the_logits_are_those_of_the_library_on_normalised_pictures(resnet: Path) -> None:
    made = open_network(f"hf:{resnet}", task="classification").build()
    original = transformers.ResNetForImageClassification.from_pretrained(resnet).eval()
    x = torch.rand(2, 3, 32, 32)
    form = Pictures((32, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
    normalised = (x - torch.tensor(form.mean).view(1, 3, 1, 1)) / torch.tensor(form.std).view(1, 3, 1, 1)
    with torch.inference_mode():
        assert torch.equal(made(x), original(normalised).logits)


def test_weights_come_from_the_folder_a_file_or_are_random_on_request(resnet: Path, tmp_path: Path) -> None:
    def digest(folder: Path, **others: Any) -> str:
        network = open_network(f"hf:{folder}", task="classification", **others)
        return network.weights_sha256(network.build())

    bare = copied(resnet, tmp_path / "bare", "model.safetensors")
    assert digest(bare, weights=str(resnet / "model.safetensors")) == digest(resnet)
    assert digest(bare, weights="random") == digest(resnet, weights="random") != digest(resnet)
    with pytest.raises(DataError) as caught:
        digest(bare)
    assert str(caught.value).startswith("--model hf:bare has no weights that can be loaded (")
    assert str(caught.value).endswith("; name a file with --weights, or try the model out with --weights random")


def test_weights_without_the_tasks_head_are_refused(resnet: Path, tmp_path: Path) -> None:
    body = tmp_path / "body"
    transformers.ResNetForImageClassification.from_pretrained(resnet).resnet.save_pretrained(body)
    with pytest.raises(DataError, match=r"^--model hf:body: its weights lack 'classifier.1.bias' of ResNetFor"):
        open_network(f"hf:{body}", task="classification").build()


def test_files_that_hold_code_are_not_loaded(resnet: Path, tmp_path: Path) -> None:
    folder = copied(resnet, tmp_path / "pickled", "model.safetensors")
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"^--model hf:pickled has no weights that can be loaded"):
        open_network(f"hf:{folder}", task="classification").build()


def test_a_model_with_code_of_its_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "config.json").write_text(
        json.dumps({"model_type": "mine", "auto_map": {"AutoConfig": "own.C"}})
    )
    (tmp_path / "own" / "own.py").write_text("raise SystemExit('the code was run')\n")
    with pytest.raises(
        DataError, match=r"^--model hf:own: there is no such model that can be read without code of its own"
    ):
        _ = open_network(f"hf:{tmp_path / 'own'}", task="classification").pictures


def test_a_task_that_the_model_has_no_head_for(resnet: Path) -> None:
    with pytest.raises(DataError, match=r"^--model hf:.* is of type 'resnet', which has no model for --task ctc$"):
        open_network(f"hf:{resnet}", task="ctc").build()


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^--model hf:.*: there is no such model"):
        _ = open_network(f"hf:{tmp_path}", task="classification").pictures


@pytest.mark.parametrize(
    ("stated", "form"),
    [
        ({"size": {"height": 30, "width": 40}}, Pictures((30, 40), (30, 40))),
        ({"size": 24, "resample": 0}, Pictures((24, 24), 24, "nearest")),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, Pictures((224, 224), 256)),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, Pictures((384, 384), 384)),
        ({"size": {"shortest_edge": 36}, "crop_size": 32}, Pictures((32, 32), 36)),
        ({"size": {"height": 36, "width": 36}, "crop_size": 32, "do_center_crop": False}, Pictures((36, 36), (36, 36))),
        ({"size": 8, "do_flip_channel_order": True}, Pictures((8, 8), 8, bgr=True)),
        ({"size": 8, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_normalize": False}, Pictures((8, 8), 8)),
    ],
)
def test_forms_of_preprocessing(stated: dict[str, Any], form: Pictures) -> None:
    assert stated_form(stated, "--model hf:a") == form


def test_a_form_without_a_size() -> None:
    with pytest.raises(DataError, match=r"^--model hf:a: its preprocessor_config.json says no size of pictures"):
        stated_form({"do_resize": True}, "--model hf:a")


def test_a_speech_model_says_its_rate_and_spells(tmp_path: Path) -> None:
    config = transformers.Wav2Vec2Config(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, conv_dim=[4, 4],
        conv_stride=[5, 2], conv_kernel=[10, 3], num_feat_extract_layers=2, num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2, vocab_size=5, architectures=["Wav2Vec2ForCTC"],
    )  # fmt: skip
    config.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": 8_000, "do_normalize": True}))
    (tmp_path / "vocab.json").write_text(json.dumps({"<pad>": 0, "|": 1, "a": 2, "b": 3, "<unk>": 4}))
    network = open_network(f"hf:{tmp_path}", task="ctc", weights="random")
    assert network.sounds == Sounds(8_000, normalise=True)
    assert network.pictures is None
    assert network.vocabulary == ["", " ", "a", "b", ""]
    with torch.inference_mode():
        found = network.build()(torch.rand(2, 400))
    assert found.shape[0] == 2
    assert found.shape[2] == 5
