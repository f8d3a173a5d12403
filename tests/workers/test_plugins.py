"""Plugins asked in processes of their own: all of them say what they say here, and none can speak for another."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.paths import MISBEHAVING, TINY
from support.prepared import PreparedServer

from codecbench import TensorSpec, TensorStatistics
from codecbench.descriptions.catalogue import LocalCatalogue
from codecbench.errors import PluginError, UsageError
from codecbench.registry import manager, reference, workloads
from codecbench.workers import plugins
from codecbench.workers.forks import can_fork
from codecbench.workers.plugins import PluginCatalogue

IMAGE = TensorSpec((3, 8, 8), image=True)
SPECS = (IMAGE, TensorSpec((16, 8, 8)), TensorSpec((None, 6), max_length=40))

SAME = """
from codecbench import Codec, hookimpl

class Same(Codec):
    "The values as they are."
    name = "same"
    def encode(self, x): return x.numpy().tobytes()
    def decode(self, payload): return self.spec.from_buffer(payload)

@hookimpl
def codecbench_register_codecs():
    return [Same]
"""

WORKLOAD = """
from pathlib import Path
from codecbench import RatioMetric, Workload, hookimpl

LABELS = Path(__file__).with_name("labels.txt").read_text().split()

class Labelled(Workload):
    name = "labelled"
    metrics = (RatioMetric("top-1", "%", higher_is_better=True, scale=100.0, binary=True),)
    default_splits = ("input",)
    budget = 1.0
    def build_model(self): ...
    def sample_ids(self, subset): return range(len(LABELS))
    def inputs(self, subset, positions): ...
    def targets(self, subset, positions): ...
    def score(self, output, target): ...
    def weights_sha256(self): return "0" * 64
    input_spec = None

@hookimpl
def codecbench_register_workloads():
    return [Labelled]
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a plugin file."""

    def write(text: str, name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return path

    return write


@pytest.fixture
def alone(prepared_server: PreparedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """No installed plugin takes part. The fork server is forked itself."""
    prepared_server.share(monkeypatch, sealed=False)
    monkeypatch.setattr(plugins, "installed_plugins", dict)


# --- what they say --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def asked() -> Iterator[PluginCatalogue]:
    """All installed plugins and two files."""
    with PluginCatalogue([TINY, MISBEHAVING]) as catalogue:
        yield catalogue


@pytest.fixture(scope="module")
def local() -> LocalCatalogue:
    return LocalCatalogue(manager([TINY, MISBEHAVING]))


def test_names_and_infos_are_those_of_this_process(asked: PluginCatalogue, local: LocalCatalogue) -> None:
    assert list(asked.names()) == list(local.names())
    assert {"raw", "zstd", "steady"} <= set(asked.names())
    for name in local.names():
        assert asked.info(name) == local.info(name)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_points_are_those_of_this_process(asked: PluginCatalogue, local: LocalCatalogue, spec: TensorSpec) -> None:
    for name in local.names():
        for preset in ("quick", "full"):
            assert asked.at(name, spec, preset) == local.at(name, spec, preset), name
    assert asked.at("steady", spec, "quick", {"bits": 16}) == local.at("steady", spec, "quick", {"bits": 16})


def test_statistics_reach_the_codecs(asked: PluginCatalogue, local: LocalCatalogue) -> None:
    statistics = TensorStatistics(32, 64.0, 0.0, 1.0, 0.3, 0.38, 0.5, 1.0, 14.0)
    plain = TensorSpec((1, 8, 8))
    spec = replace(plain, statistics=statistics)
    assert asked.at("klt", spec, "quick") == local.at("klt", spec, "quick") != asked.at("klt", plain, "quick")


def test_workloads_are_those_of_this_process(asked: PluginCatalogue) -> None:
    for name, kind in workloads(manager([TINY])).items():
        assert asked.workload(name) == reference(kind)


def test_an_unknown_name_suggests_the_nearest(asked: PluginCatalogue) -> None:
    with pytest.raises(UsageError, match="no codec 'steddy'; did you mean 'steady'"):
        asked.info("steddy")
    with pytest.raises(UsageError, match="no workload 'tinny'; did you mean 'tiny'"):
        asked.workload("tinny")


def test_the_seal_of_the_processes_is_told(asked: PluginCatalogue) -> None:
    assert asked.isolation is not None
    assert asked.isolation.audit_hook


@pytest.mark.usefixtures("alone")
def test_processes_started_by_exec_say_the_same(write: Write) -> None:
    path = write(SAME)
    found = []
    for fork in {can_fork(), False}:
        with PluginCatalogue([path], fork=fork) as catalogue:
            found.append((catalogue.info("same"), catalogue.at("same", IMAGE, "full"), catalogue.isolation))
    assert found[0] == found[-1]
    assert found[0][:2] == (LocalCatalogue(manager([path])).info("same"), found[0][1])


# --- mistakes -------------------------------------------------------------------------------------------------------


def refusal(*files: Path) -> str:
    with pytest.raises(PluginError) as caught:
        PluginCatalogue(files)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.usefixtures("alone")
def test_a_file_that_raises_is_named_with_its_line(write: Write) -> None:
    path = write("import codecbench\n1 / 0\n")
    assert refusal(path) == f"plugin {path} does not import: {path}, line 2: ZeroDivisionError: division by zero"


@pytest.mark.usefixtures("alone")
def test_a_file_that_registers_nothing_says_what_to_do(write: Write) -> None:
    assert "registers nothing; decorate a codecbench_register_... function" in refusal(write("import codecbench\n"))


@pytest.mark.usefixtures("alone")
def test_a_file_that_is_named_twice_or_is_not_there(write: Write, tmp_path: Path) -> None:
    path = write(SAME)
    assert refusal(path, path) == f"plugin {path} is loaded twice; name it once"
    assert refusal(tmp_path / "absent.py").startswith(f"no plugin file {tmp_path}/absent.py; give the path")


@pytest.mark.usefixtures("alone")
def test_one_name_for_two_codecs_names_both_files(write: Write) -> None:
    first, second = write(SAME), write(SAME, "other.py")
    assert refusal(first, second) == f"codec name 'same' is used by {first}:Same and {second}:Same; rename one"


@pytest.mark.usefixtures("prepared")
def test_a_file_cannot_take_the_name_of_an_installed_codec(write: Write) -> None:
    path = write(SAME.replace('"same"', '"raw"'))
    text = refusal(path)
    assert text.startswith("codec name 'raw' is used by codecbench_plugins.")
    assert text.endswith(f" and {path}:Same; rename one")


# --- what a plugin may read -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("alone")
def test_a_workload_that_reads_its_own_file_at_import_is_loaded(write: Write, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("3 1 2")
    path = write(WORKLOAD)
    with PluginCatalogue([path]) as catalogue:
        assert catalogue.workload("labelled") == f"{path}:Labelled"
        assert list(catalogue.names()) == []


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("other", ["", WORKLOAD], ids=["codec", "both"])
def test_a_codecs_file_that_reads_a_file_at_import_is_refused(write: Write, tmp_path: Path, other: str) -> None:
    (tmp_path / "labels.txt").write_text("3 1 2")
    table = 'from pathlib import Path\nTABLE = Path(__file__).with_name("labels.txt").read_text()\n'
    path = write(table + SAME + other)
    text = refusal(path)
    assert text.startswith(f"plugin {path} does not import: ")
    assert "GuardError: open of " in text
    assert "labels.txt" in text
    assert "a codec may reach nothing but its arguments" in text


# --- one plugin and the others ----------------------------------------------------------------------------------------

MEDDLING = """
import codecbench.codec, codecbench.registry
import codecbench.descriptions.codec_info as infos, codecbench.descriptions.describe as describe
import codecbench_plugins.raw as raw

for kind in [item for item in vars(raw).values() if isinstance(item, type)]:
    try:
        kind.version, kind.points = 99, ({"worse": 1},)
    except TypeError:
        continue
codecbench.codec.Codec.quick_points_for = classmethod(lambda cls, spec: ({"worse": 1},))
codecbench.registry.class_label = lambda item: "somebody.Else"
describe.describe_codec = describe.describe_at = None
"""


@pytest.mark.usefixtures("prepared")
def test_a_plugin_that_changes_others_changes_nothing_of_what_they_say(write: Write, local: LocalCatalogue) -> None:
    with PluginCatalogue([write(MEDDLING + SAME)]) as catalogue:
        assert "same" in catalogue.names()
        for name in ("raw", "zstd", "interpolation"):
            assert catalogue.info(name) == local.info(name)
            assert catalogue.at(name, IMAGE, "quick") == local.at(name, IMAGE, "quick")


IMPORTED = """
import json, sys
from pathlib import Path
from codecbench import TensorSpec, TensorStatistics
from codecbench.workers.plugins import PluginCatalogue

with PluginCatalogue([Path(path) for path in sys.argv[1:]]) as catalogue:
    for name in catalogue.names():
        catalogue.info(name)
        catalogue.at(name, TensorSpec((3, 8, 8), image=True), "full")
    catalogue.workload("tiny")
    print(json.dumps([list(catalogue.names()), sorted(sys.modules)]))
"""


def test_the_main_process_imports_no_plugin_and_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, str(TINY), str(MISBEHAVING)], capture_output=True, text=True, check=True
    )
    names, modules = json.loads(done.stdout)
    assert {"raw", "steady"} <= set(names)
    plugin_modules = ("codecbench_plugins", "codecbench_datasets", "codecbench_file_", "torch", "codecbench.toolbox")
    assert [module for module in modules if module.startswith(plugin_modules)] == []
