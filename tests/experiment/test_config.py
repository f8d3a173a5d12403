"""A run's configuration: TOML files, options over them, and what is wrong with either in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codecbench.errors import UsageError
from codecbench.experiment.config import RunConfig, load, parse_codec

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a configuration file."""

    def write(text: str) -> Path:
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return path

    return write


def refused(path: Path | None, options: dict[str, Any] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        load(path, options or {})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nothing_given_is_the_quick_preset() -> None:
    config = load(None, {"workload": None, "codec": [], "all_splits": False})
    assert config == RunConfig()
    assert (config.workload, config.sample_limit, config.timing_samples) == ("cifar10-resnet20", 500, 24)


@pytest.mark.parametrize(
    ("options", "samples"),
    [
        ({"preset": "full"}, None),
        ({"preset": "full", "samples": 10}, 10),
        ({"samples": "all"}, None),
        ({"samples": 7}, 7),
    ],
)
def test_samples(options: dict[str, Any], samples: int | None) -> None:
    assert load(None, options).sample_limit == samples


def test_every_key_may_stand_in_the_file(write: Write) -> None:
    path = write(
        """
        workload = "tiny"
        codec = ["raw", "steady:bits=16"]
        split = ["input"]
        all_splits = true
        preset = "full"
        points = "auto"
        samples = 12
        seed = 3
        plugin = ["a.py", "sub/b.py"]
        data_dir = "data"
        cache_dir = "cache"
        out = "results"
        timeout_s = 1.5
        max_fit_s = 2
        scratch_gb = 0.5
        torch_device = "cuda"
        fresh = true
        fit = true
        executor = "slurm"
        jobs = 4
        measure = "accuracy"
        dask = "tcp://a:8786"
        shared_dir = "shared"
        slurm = ["partition=long"]
        """
    )
    config = load(path, {})
    folder = path.parent
    assert config.model_dump() == {
        "workload": "tiny", "codec": ["raw", "steady:bits=16"], "split": ["input"], "all_splits": True,
        "preset": "full", "points": "auto", "samples": 12, "seed": 3,
        "plugin": [folder / "a.py", folder / "sub" / "b.py"],
        "data_dir": folder / "data", "cache_dir": folder / "cache", "out": folder / "results", "timeout_s": 1.5,
        "max_fit_s": 2.0, "scratch_gb": 0.5, "torch_device": "cuda", "fresh": True, "fit": True,
        "description": None, "executor": "slurm", "jobs": 4, "measure": "accuracy", "dask": "tcp://a:8786",
        "shared_dir": folder / "shared", "slurm": ["partition=long"],
    }  # fmt: skip
    assert set(config.model_dump()) == set(RunConfig.model_fields)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b'\xef\xbb\xbfseed = 3\r\ncodec = ["caf\xc3\xa9"]\r\n')
    config = load(path, {})
    assert (config.seed, config.codec) == (3, ["caf\u00e9"])


def test_options_win_over_the_file_also_where_they_are_zero(write: Write) -> None:
    path = write('seed = 5\nworkload = "tiny"\nout = "there"')
    config = load(path, {"seed": 0, "workload": None, "out": Path("here"), "fresh": False, "codec": []})
    assert (config.seed, config.workload, config.out) == (0, "tiny", Path("here"))


def test_a_plugin_beside_the_file_is_loaded_too(write: Write) -> None:
    path = write('plugin = ["other.py"]')
    beside = path.parent / "codecbench_plugin.py"
    assert load(path, {}).plugin == [path.parent / "other.py"]
    beside.write_text("")
    assert load(path, {}).plugin == [path.parent / "other.py", beside]
    assert load(path, {"plugin": [Path("mine.py")]}).plugin == [Path("mine.py"), beside]
    assert load(path, {"plugin": [beside]}).plugin == [beside]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("smaples = 3", "unknown key 'smaples'; did you mean 'samples'?; allowed are workload, codec, split"),
        ("zzz = 3", "unknown key 'zzz'; allowed are workload, codec, split, all_splits, preset, points, samples"),
        ('samples = "some"', "samples: "),
        ("samples = 0", "samples: input should be greater than 0, got 0"),
        ("seed = -1", "seed: input should be greater than or equal to 0, got -1"),
        ('points = "all"', "points: input should be 'preset' or 'auto', got 'all'"),
        ('preset = "slow"', "preset: input should be 'quick' or 'full', got 'slow'"),
        ('torch_device = "tpu"', "torch_device: input should be 'cpu' or 'cuda'"),
        ("timeout_s = 0", "timeout_s: input should be greater than 0"),
        ('plugin = "mine.py"', "plugin: input should be a valid list"),
        ("codec = [3]", "codec: input should be a valid string, got 3"),
        ("out = 3", "out: input is not a valid path"),
        ("samples = ", "is not TOML: "),
        ("[[", "is not TOML: "),
        ("seed = 1\nseed = 2", "is not TOML: Cannot overwrite a value (at "),
        ("codec = " + "[" * 5000, "is not TOML: it is nested too deeply"),
        ("seed = 1" + "0" * 5000, "is not TOML: "),
        ("seed = 1" + "0" * 400, "seed: input should be less than 4294967296, got 1000"),
        ("timeout_s = nan", "timeout_s: "),
        ("timeout_s = inf", "timeout_s: "),
        ('data_dir = "a\\u0000b"', "data_dir: "),
        ('plugin = ["a\\u0000b"]', "plugin: "),
    ],
)
def test_a_wrong_key_or_value_names_file_and_key(write: Write, text: str, reason: str) -> None:
    path = write(text)
    message = refused(path)
    assert message.startswith(str(path))
    assert reason in message


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"samples": 0}, "--samples: input should be greater than 0, got 0"),
        ({"timeout_s": 0.0}, "--timeout-s: input should be greater than 0, got 0.0"),
        ({"seed": 2**32}, "--seed: input should be less than 4294967296"),
    ],
)
def test_a_wrong_option_is_named_as_it_is_written(write: Write, options: dict[str, Any], reason: str) -> None:
    assert refused(None, options).startswith(reason)
    assert refused(write("samples = 3"), options).startswith(reason)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.toml") == f"cannot read {tmp_path / 'none.toml'}: No such file or directory"
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "is not TOML" in refused(tmp_path / "binary.toml")


@pytest.mark.parametrize(
    ("text", "name", "point"),
    [
        ("raw", "raw", {}),
        ("raw:", "raw", {}),
        ("zlib:level=3", "zlib", {"level": 3}),
        ("x:a=NaN,c=-Infinity", "x", {"a": "NaN", "c": "-Infinity"}),
        ("jpeg: quality = 50 , shared=true,", "jpeg", {"quality": 50, "shared": True}),
        (
            "x:scale=0.5,mode=fast,none=null,list=[1]",
            "x",
            {"scale": 0.5, "mode": "fast", "none": "null", "list": "[1]"},
        ),
        ("x:path=a=b", "x", {"path": "a=b"}),
    ],
)
def test_a_codec_with_arguments(text: str, name: str, point: dict[str, Any]) -> None:
    assert parse_codec(text) == (name, point)


def test_a_number_beyond_all_numbers_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^codec 'x:a=1e999': 1e999 is too large for a number$"):
        parse_codec("x:a=1e999")


@pytest.mark.parametrize("text", ["x:level", "x:=3", "x: =3", "x:a=1,b"])
def test_arguments_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not key=value; write NAME:key=value,key=value"):
        parse_codec(text)


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ('mode="1",window="a,b"', {"mode": "1", "window": "a,b"}),
        ('mode = "true" , level=3', {"mode": "true", "level": 3}),
        (r'mode="say \"a\""', {"mode": 'say "a"'}),
        ("a=1e-7,b=-3,c=True,d=.5,e=01x", {"a": 1e-7, "b": -3, "c": True, "d": 0.5, "e": "01x"}),
        ('a=x=y,b=5" disk,c=""', {"a": "x=y", "b": '5" disk', "c": ""}),
    ],
)
def test_text_in_quotes_stays_text(text: str, point: dict[str, Any]) -> None:
    assert parse_codec(f"x:{text}") == ("x", point)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x:a=1,a=2", "codec 'x:a=1,a=2': 'a' is there twice; keep one"),
        ('x:a="1', "is not key=value"),
        ("x:a=1e400", "codec 'x:a=1e400': 1e400 is too large for a number"),
        (f"x:a={'9' * 5000}", "is too large for a number"),
        (r'x:a="\q"', "is no text in quotes"),
    ],
)
def test_arguments_that_cannot_be_read(text: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_codec(text)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


DESCRIBED = {"model": "net.py:build", "data": "imagefolder:pictures", "task": "agreement"}


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The options that describe a workload of files in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text("")
    (tmp_path / "pictures").mkdir()
    return dict(DESCRIBED)


def test_a_workload_is_described_by_options(described: dict[str, Any], tmp_path: Path) -> None:
    config = load(None, {**described, "size": 64})
    assert config.workload == "net-build-pictures-agreement"
    assert config.description is not None
    assert config.description.model == f"{tmp_path / 'net.py'}:build"
    assert config.description.data == f"imagefolder:{tmp_path / 'pictures'}"
    assert config.description.size == 64


@pytest.mark.parametrize("table", ["", "[workload]\n"])
def test_a_file_describes_a_workload_by_keys_or_a_table(
    described: dict[str, Any], write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    path = write(table + "\n".join(f'{key} = "{value}"' for key, value in described.items()) + '\nname = "mine"')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = load(path, {})
    assert config.workload == "mine"
    assert config.description is not None
    assert config.description.data == f"imagefolder:{tmp_path / 'pictures'}"


def test_options_replace_single_keys_of_a_described_workload(described: dict[str, Any], write: Write) -> None:
    path = write("\n".join(f'{key} = "{value}"' for key, value in described.items()))
    config = load(path, {"task": "classification", "name": "other"})
    assert config.workload == "other"
    assert config.description is not None
    assert config.description.task == "classification"
    assert load(path, {"workload": "tiny"}).description is None


def test_data_may_lie_in_the_data_folder(described: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "sets" / "deep").mkdir(parents=True)
    config = load(None, {**described, "data": "imagefolder:deep", "data_dir": tmp_path / "sets"})
    assert config.description is not None
    assert config.description.data == f"imagefolder:{tmp_path / 'sets' / 'deep'}"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"task": None}, "--model describes a workload, which needs --task as well"),
        ({"workload": "tiny"}, "--workload and --model exclude each other; name a workload or describe one"),
        ({"data": "imagefolder:none"}, "--data imagefolder:none: there is no such file or folder: none"),
        ({"data": "imagefoldr:pictures"}, "--data imagefoldr:pictures: no kind of data 'imagefoldr'; did you mean"),
        ({"data": "imagefolder:"}, "--data imagefolder:: something has to follow imagefolder:, as in imagefolder:DIR"),
        ({"model": "none.py:build"}, "--model none.py:build: there is no file none.py"),
        ({"model": "torchvison:resnet18"}, "--model torchvison:resnet18: no kind of model 'torchvison'; did you mean"),
        ({"model": "resnet18"}, "--model resnet18: no kind of model 'resnet18'"),
        ({"weights": "net.pth"}, "--weights net.pth: there is no such file"),
        ({"weights": "net.py"}, "--weights: weights are a .safetensors file, which holds no code, or 'random', got"),
        ({"size": 0}, "--size: input should be greater than 0, got 0"),
        ({"name": "a/b"}, "--name: a workload's name has letters, digits and single hyphens, got 'a/b'"),
        ({"shape": "3,4"}, "--shape: a shape is like 3x64x64"),
        ({"labels": "none.txt"}, "--labels none.txt: there is no such file"),
    ],
)
def test_a_description_that_cannot_be_used(described: dict[str, Any], options: dict[str, Any], reason: str) -> None:
    assert refused(None, {**described, **options}).startswith(reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('model = "net.py:build"', "model describes a workload, which needs data and task as well"),
        ('[workload]\nmodel = "net.py:build"\nmodle = 3', "unknown key 'modle'; did you mean 'model'?"),
        ('model = "net.py:build"\ndata = "imagefolder:none"', "data imagefolder:none: there is no such file or folder"),
        ('workload = "tiny"\nmodel = "net.py:build"', "workload names a workload and model describes one"),
        ("[description]\nmodel = 3", "unknown key 'description'; model, data, task describe a workload"),
    ],
)
def test_a_file_whose_description_cannot_be_used(
    described: dict[str, Any], write: Write, text: str, reason: str
) -> None:
    path = write(text)
    assert refused(path).startswith(f"{path}: {reason}")
