"""A described workload is a workload like any other: described, hashed, run in processes, recorded."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.descriptions import NETWORK, describe, write_pictures
from support.runs import RecordingReporter, execute

from codecbench.adapters.described import DescribedWorkload, resolve_workload, workload_class
from codecbench.checked_workload import CheckedWorkload, workload_class_fault
from codecbench.cli.main import main
from codecbench.codec import TensorSpec
from codecbench.descriptions.describe import describe_workload
from codecbench.errors import DataError
from codecbench.experiment.config import load
from codecbench.harness.run import Run
from codecbench.results.store import Store


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a network's file and pictures in two class folders."""
    (tmp_path / "net.py").write_text(NETWORK)
    write_pictures(tmp_path / "pictures", 24, classes=("cat", "dog"))
    return tmp_path


def made(place: Path, **others: Any) -> DescribedWorkload:
    texts = {"model": f"{place / 'net.py'}:build", "data": f"imagefolder:{place / 'pictures'}", "size": 16, **others}
    return workload_class(describe(**texts))()


def test_its_answers_are_those_of_a_workload(place: Path) -> None:
    workload = made(place)
    assert workload_class_fault(type(workload)) is None
    info = describe_workload(workload)
    assert info.name == "net-build-pictures-agreement"
    assert info.input_spec == TensorSpec((3, 16, 16), image=True)
    assert info.default_splits == ()
    assert [metric.name for metric in info.metrics] == ["agreement", "divergence"]
    assert sum(len(ids) for ids in info.sample_ids.values()) == 24
    checked = CheckedWorkload(workload)
    assert len(checked.inputs("test", [0, 1])) == 2


def test_another_process_makes_the_same_of_its_reference(place: Path) -> None:
    first = describe_workload(made(place))
    again = describe_workload(resolve_workload(first.reference)())
    assert again == first


def test_labels_are_the_numbers_of_the_folders(place: Path) -> None:
    workload = made(place, task="classification")
    names = list(workload.sample_ids("test"))
    assert workload.targets("test", range(len(names))) == [int(name.startswith("dog")) for name in names]


def test_weights_are_built_once_whoever_asks_first(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for order in (("weights_sha256", "build_model"), ("build_model", "weights_sha256")):
        workload = made(place)
        built: list[Any] = []
        build = workload.network.build
        monkeypatch.setattr(workload.network, "build", lambda built=built, build=build: built.append(1) or build())
        for method in order:
            getattr(workload, method)()
        assert len(built) == 1


def test_the_source_hash_follows_what_is_said_and_the_users_file_but_not_the_folder(
    place: Path, tmp_path: Path
) -> None:
    def digest(where: Path = place, **others: Any) -> str:
        return describe_workload(made(where, **others)).source_hash

    before = digest()
    shutil.copytree(place, tmp_path / "moved" / "there")
    assert digest(tmp_path / "moved" / "there") == before
    assert digest(name="another", budget=1.0, splits=("input",)) == before
    assert len({before, digest(size=20), digest(task="classification"), digest(weights="random")}) == 4
    (place / "moved" / "there" / "net.py").write_text(NETWORK.replace("8, 3, 2", "8, 3, 1"))
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(place / "moved" / "there", elsewhere)
    assert digest(elsewhere) != before


def test_a_size_is_needed_where_the_model_says_none(place: Path) -> None:
    with pytest.raises(DataError, match=r"^imagefolder:pictures has pictures, and the model net.py:build does not say"):
        _ = made(place, size=None).input_spec


CONFIG = """
model = "net.py:build"
data = "imagefolder:pictures"
task = "agreement"
size = 16
codec = ["raw:values=float32"]
out = "results"
"""


@pytest.mark.usefixtures("shared")
def test_a_file_and_a_folder_give_records_that_stay_current(place: Path) -> None:
    (place / "run.toml").write_text(CONFIG)
    config = load(place / "run.toml", {})
    summary, _ = execute(config)
    assert (summary.failed, summary.skipped) == (0, 0)
    records = Store(config.out).records()
    assert {record.key.workload for record in records} == {"net-build-pictures-agreement"}
    raw = [record for record in records if record.key.codec == "raw"]
    assert {record.key.split for record in raw} == {"input", "0", "2", "4"}
    assert all(record.task is not None and record.task.uncompressed == 100.0 for record in raw)
    words = shlex.split(raw[0].provenance.command)
    assert words[:8] == [
        "codecbench", "run", "--model", "net.py:build", "--data", "imagefolder:pictures", "--task", "agreement",
    ]  # fmt: skip
    assert words[8:10] == ["--size", "16"]
    with Run(config, RecordingReporter()) as job:
        todo, _ = job.earlier.missing(job.plan())
    assert todo == []


@pytest.mark.usefixtures("shared")
def test_a_model_of_a_library_gives_a_table(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", id2label={0: "dog", 1: "cat"}
    )
    config.save_pretrained(place / "resnet")
    monkeypatch.chdir(place)
    words = (
        "run --model hf:resnet --weights random --data imagefolder:pictures --task classification --size 32 "
        "--codec raw:values=uint8 --split input"
    )
    main(words.split())
    printed = capsys.readouterr().out
    assert "resnet-pictures-classification: smallest payload" in printed
    assert "top-5 %" in printed
