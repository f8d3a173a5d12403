"""Descriptions of codecs and workloads: what they say, and that they cross as JSON unchanged."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import ANY

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.codec_files import method, plugin_with
from support.factories import make_info
from support.paths import LEARNING, MISBEHAVING, TINY

from codecbench import Codec, RateKnob, RatioMetric, SetMetric, TensorSpec
from codecbench.descriptions.catalogue import LocalCatalogue
from codecbench.descriptions.codec_info import CodecAtSpec, CodecInfo, CodecSummary, PointInfo, PointRequest
from codecbench.descriptions.describe import describe_at, describe_codec, describe_workload
from codecbench.descriptions.workload_info import SetMetricInfo, WorkloadInfo
from codecbench.errors import DataError, PluginError, UsageError
from codecbench.experiment.config import DEFAULT_WORKLOAD
from codecbench.registry import manager, resolve, workloads
from codecbench.results.cell import CellKey
from codecbench.toolbox.codecs import Points

VECTOR = TensorSpec((4,))
IMAGE = TensorSpec((3, 8, 8), image=True)

Described = CodecSummary | CodecInfo | PointInfo | CodecAtSpec | WorkloadInfo


def through_json(described: Described) -> Any:
    return type(described).from_json(json.loads(json.dumps(described.to_json())))


# --- JSON -----------------------------------------------------------------------------------------------------------

values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
points = st.dictionaries(st.text(), values, max_size=4)
lines = st.none() | st.text()
point_infos = st.builds(
    PointInfo, points, lines, lines, st.booleans(), lines, starts_from=st.none() | points, starts_from_fault=lines
)


@given(st.builds(CodecAtSpec, st.lists(point_infos, min_size=1, max_size=4).map(tuple), points))
def test_what_a_codec_says_of_a_tensor_crosses_unchanged(described: CodecAtSpec) -> None:
    found = through_json(described)
    assert found == described
    for before, after in zip(described.points, found.points, strict=True):
        assert list(after.point) == list(before.point)  # the order of arguments makes labels


@given(points)
def test_a_cell_has_the_same_key_when_its_point_has_crossed(point: Mapping[str, Any]) -> None:
    def cell(found: PointInfo) -> str:
        return CellKey("toy", "stem", "alpha", 1, found.point, 0, "test-4").cell

    assert cell(through_json(PointInfo(point))) == cell(PointInfo(point))


def test_every_builtin_codec_and_workload_crosses_unchanged() -> None:
    catalogue = LocalCatalogue(manager())
    for name in catalogue.names():
        assert through_json(catalogue.info(name)) == catalogue.info(name)
        for spec in (VECTOR, IMAGE, TensorSpec((16, 8, 8)), TensorSpec((None, 6), max_length=40)):
            described = catalogue.at(name, spec, "full")
            assert through_json(described) == described
    for summary in catalogue.summaries():
        assert through_json(summary) == summary
    described_workload = describe_workload(workloads(manager())[DEFAULT_WORKLOAD]())
    assert through_json(described_workload) == described_workload


# --- a codec --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def catalogue() -> LocalCatalogue:
    return LocalCatalogue(manager([MISBEHAVING, LEARNING]))


def test_a_codec_of_a_file_is_described(catalogue: LocalCatalogue) -> None:
    info = catalogue.info("bounded")
    assert (info.name, info.version, info.tags, info.rows_by, info.fit_samples) == ("bounded", 1, (), (), 4000)
    assert (info.file, info.plugin) == (str(MISBEHAVING), "file misbehaving.py")
    assert resolve(info.reference).name == "bounded"
    assert info.has_bound
    assert not catalogue.info("steady").has_bound
    assert [catalogue.info(name).exports_state for name in ("learns", "steady")] == [True, False]
    assert [catalogue.info(name).overrides_starts_from for name in ("chained", "greedy")] == [True, False]
    assert catalogue.info("greedy").fit_samples is None


def test_a_codec_is_described_by_the_first_paragraph_of_its_own_docstring(catalogue: LocalCatalogue) -> None:
    class Quiet(resolve(catalogue.info("steady").reference)):  # type: ignore[misc]
        pass

    class Wordy(Quiet):
        """One
        sentence.

        More.
        """

    assert [describe_codec(kind).description for kind in (Quiet, Wordy)] == ["", "One sentence."]


def test_a_codec_of_a_package_is_described(catalogue: LocalCatalogue) -> None:
    info = catalogue.info("deepcod")
    assert info.reference == "codecbench_plugins.deepcod:Deepcod"
    assert info.plugin.startswith("codecbench ")
    assert info.plugin.endswith(" (codecbench_plugins.deepcod)")
    assert "learned" in info.tags
    assert Path(info.checkpoints_folder or "").is_dir()
    assert catalogue.info("raw").checkpoints_folder is None
    assert catalogue.info("raw").rows_by == ("values",)


def test_checkpoints_in_a_package_that_is_not_there_have_no_folder(catalogue: LocalCatalogue) -> None:
    class Lost(resolve(catalogue.info("steady").reference)):  # type: ignore[misc]
        checkpoints = "no_such_package:checkpoints"

    info = describe_codec(Lost)
    assert (info.checkpoints, info.checkpoints_folder) == ("no_such_package:checkpoints", None)


def test_a_name_that_is_not_registered_is_refused_with_the_nearest(catalogue: LocalCatalogue) -> None:
    with pytest.raises(UsageError, match="no codec 'stedy'; did you mean 'steady'"):
        catalogue.info("stedy")
    with pytest.raises(UsageError, match="no codec 'stedy'; did you mean 'steady'"):
        catalogue.at("stedy", VECTOR, "quick")


def test_a_codec_of_a_file_with_a_workload_is_marked(tmp_path: Path, catalogue: LocalCatalogue) -> None:
    plugin = plugin_with(tmp_path)
    imports = TINY.read_text().replace("from __future__ import annotations\n", "")
    plugin.write_text(f"{plugin.read_text()}\n{imports}")
    mixed = LocalCatalogue(manager([plugin]))
    assert mixed.info("mine").mixed_plugin
    assert not mixed.info("raw").mixed_plugin
    assert not catalogue.info("steady").mixed_plugin


def test_a_list_reads_no_source_and_imports_no_torch(
    catalogue: LocalCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codecbench.descriptions.describe.source_sha256", None)
    found = {summary.name: summary for summary in catalogue.summaries()}
    assert found["chained"].points == ({"width": 1}, {"width": 2}, {"width": 4})
    assert found["chained"].docstring.startswith("Each point starts from the next finer one")
    assert found["raw"].module == "codecbench_plugins.raw"


# --- a codec and a tensor -------------------------------------------------------------------------------------------


def test_points_are_complete_and_come_with_what_their_fits_need(catalogue: LocalCatalogue) -> None:
    described = catalogue.at("chained", VECTOR, "full")
    assert described.defaults == {"width": 1}
    assert described.points == (
        PointInfo({"width": 1}, needs_fit=True, starts_from={"width": 2}),
        PointInfo({"width": 2}, needs_fit=True, starts_from={"width": 4}),
        PointInfo({"width": 4}, needs_fit=True),
    )
    assert catalogue.at("chained", VECTOR, "quick", {"width": 4}).points == (PointInfo({"width": 4}, needs_fit=True),)
    assert catalogue.at("steady", VECTOR, "quick").points == (PointInfo({"bits": 16}), PointInfo({"bits": 32}))


def test_a_start_with_an_unknown_argument_is_a_fault_of_the_fit_only(catalogue: LocalCatalogue) -> None:
    (found,) = catalogue.at("lost", VECTOR, "full").points
    assert (found.fault, found.needs_fit, found.starts_from) == (None, True, None)
    assert found.starts_from_fault == "starts_from gave a point with the argument 'depth', which the codec lacks"


def test_a_skip_says_nothing_of_fits(catalogue: LocalCatalogue) -> None:
    assert catalogue.at("skips-input", IMAGE, "quick").points == (PointInfo({}, "takes no images"),)


RAISES = "asked about this tensor, the codec raised ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("points_for(cls, spec): return 1 / 0", PointInfo({}, fault=RAISES)),
        ("point_defaults(cls, spec): return 1 / 0", PointInfo({}, fault=RAISES)),
        ("unavailable(cls): return 1 / 0", PointInfo({"bits": 16}, fault=RAISES)),
        ("skip_reason(cls, spec, **point): return 1 / 0", PointInfo({"bits": 16}, fault=RAISES)),
        ("needs_fit(cls, spec, **point): return 1 / 0", PointInfo({"bits": 16}, needs_fit_fault=RAISES)),
        ("starts_from(cls, spec, **point): return 1 / 0", PointInfo({"bits": 16}, starts_from_fault=RAISES)),
        ("starts_from(cls, spec, **point): return {'bits': 32}", PointInfo({"bits": 16}, starts_from={"bits": 32})),
        ("unavailable(cls): return 'needs a package'", PointInfo({"bits": 16}, "needs a package")),
        ("skip_reason(cls, spec, **point): return 7", PointInfo({"bits": 16}, "7")),
    ],
)
def test_an_error_of_the_codec_is_a_fault_of_its_own_cells(tmp_path: Path, source: str, expected: PointInfo) -> None:
    plugin = plugin_with(tmp_path, method(source))
    described = LocalCatalogue(manager([plugin], with_entry_points=False)).at("mine", VECTOR, "quick")
    assert described.points[0] == expected


def test_a_default_that_json_does_not_know_is_a_fault(tmp_path: Path) -> None:
    plugin = plugin_with(tmp_path, method("point_defaults(cls, spec): return {'bits': 16, 'kind': {1}}"))
    found = LocalCatalogue(manager([plugin], with_entry_points=False)).at("mine", VECTOR, "quick", {"bits": 32})
    assert "not JSON serializable" in (found.points[0].fault or "")


def test_a_users_and_an_authors_mistake_end_the_run(tmp_path: Path, catalogue: LocalCatalogue) -> None:
    with pytest.raises(UsageError, match=r"codec 'steady' has no argument 'bist'; did you mean 'bits'\?; it takes: bi"):
        catalogue.at("steady", VECTOR, "quick", {"bist": 3})
    plugin = plugin_with(tmp_path, method("points_for(cls, spec): return ()"))
    with pytest.raises(PluginError, match=r"mine\.py:Steady: points is a tuple of mappings"):
        LocalCatalogue(manager([plugin], with_entry_points=False)).at("mine", VECTOR, "quick")


def test_a_requested_point_as_text_takes_the_types_of_the_codecs_own(catalogue: LocalCatalogue) -> None:
    def point(name: str, text: str) -> Any:
        return catalogue.at(name, VECTOR, "quick", text).points[0].point

    assert point("steady", "bits=8") == {"bits": 8}
    assert repr(point("interpolation", "scale=1")["scale"]) == "1.0"
    with pytest.raises(UsageError, match=r"^codec 'steady': bits takes a number, not many$"):
        catalogue.at("steady", VECTOR, "quick", "bits=many")
    with pytest.raises(UsageError, match=r"codec 'steady' has no argument 'bist'"):
        catalogue.at("steady", VECTOR, "quick", "bist=3")


def test_a_value_is_at_fault_only_where_the_codec_takes_its_own(tmp_path: Path) -> None:
    source = "skip_reason(cls, spec, **point): return 'odd' if point['bits'] % 2 or spec.shape == (4,) else None"
    plugin = plugin_with(tmp_path, method(source))
    catalogue = LocalCatalogue(manager([plugin], with_entry_points=False))
    for spec, point, refused in ((IMAGE, "bits=3", True), (VECTOR, "bits=3", False), (VECTOR, "bits=16", False)):
        (found,) = catalogue.at("mine", spec, "quick", point).points
        assert (found.skip_reason, found.refused) == ("odd", refused)
    assert not any(found.refused for found in catalogue.at("mine", VECTOR, "quick").points)
    assert not catalogue.at("mine", IMAGE, "quick", "bits=8").points[0].refused


class Numbers(Codec):
    """Operating points of numpy's numbers that are Python's too."""

    name = "numbers"
    points = ({"scale": np.float64(0.5)},)
    encode = decode = None  # type: ignore[assignment]


class Knobbed(Codec):
    """Two rows, with a knob."""

    name = "knobbed"
    points = ({"level": 1, "way": "slow"}, {"level": 3, "way": "slow"}, {"level": 2, "way": "fast"})
    rows_by = ("way",)
    implied: ClassVar[Mapping[str, Any]] = {"way": "slow"}
    encode = decode = None  # type: ignore[assignment]

    @classmethod
    def rate_knob(cls, spec: TensorSpec) -> RateKnob | None:
        return RateKnob("level", 1, 4, integer=True) if spec.ndim == 1 else None


def test_a_search_has_the_values_that_are_asked_for() -> None:
    def points(spec: TensorSpec, point: PointRequest | None) -> list[dict[str, Any]]:
        return [dict(found.point) for found in describe_at(Knobbed, spec, "auto", point).points]

    fast = [{"level": level, "way": "fast"} for level in (1, 2, 3, 4)]
    assert points(VECTOR, "way=fast") == points(VECTOR, {"way": "fast"}) == fast
    assert points(VECTOR, None) == [*({"level": level} for level in (1, 2, 3, 4)), *fast]
    assert points(VECTOR, "level=3") == [{"level": 3}]
    assert points(IMAGE, "way=fast") == [{"level": 2, "way": "fast"}]
    assert points(IMAGE, "way=slow") == [{"level": 1}, {"level": 3}]
    assert points(IMAGE, "level=4") == [{"level": 4}]
    assert describe_at(Knobbed, VECTOR, "quick", "way=fast").points == (PointInfo({"level": 1, "way": "fast"}),)


def test_points_are_pythons_own_numbers() -> None:
    (found,) = describe_at(Numbers, VECTOR, "full").points
    assert type(found.point["scale"]) is float
    (found,) = describe_at(Numbers, VECTOR, "full", {"scale": 1}).points
    assert repr(found.point["scale"]) == "1.0"


class WithKnob(Numbers):
    """A rate knob, and points of its own between and beside the knob's values, in two rows."""

    name = "with-knob"
    points = ({"step": 5.5, "fast": True}, {"step": 9.0, "fast": True}, {"step": 3.3, "fast": False}, {"step": 1.0})
    rows_by = ("fast",)

    @classmethod
    def quick_points_for(cls, spec: TensorSpec) -> Points:
        return cls.points[:1]

    @classmethod
    def point_defaults(cls, spec: TensorSpec) -> dict[str, Any]:
        return {"step": 2.0, "fast": True}

    @classmethod
    def rate_knob(cls, spec: TensorSpec) -> RateKnob:
        return RateKnob("step", 6.0, 5.0)


def test_a_search_chooses_among_the_knobs_values_and_the_codecs_own_points_of_the_row() -> None:
    points = [found.point for found in describe_at(WithKnob, VECTOR, "auto").points]
    steps = [point["step"] for point in points]
    assert all(point["fast"] is True for point in points)
    assert steps == sorted([*RateKnob("step", 6.0, 5.0).values(), 9.0, 5.5, 1.0], reverse=True)


# --- a workload -----------------------------------------------------------------------------------------------------


def tiny(ids: Callable[[str], Any]) -> WorkloadInfo:
    kind = workloads(manager([TINY], with_entry_points=False))["tiny"]
    changed = type("Tiny", (kind,), {"sample_ids": lambda self, subset: ids(subset), "__module__": kind.__module__})
    return describe_workload(changed())


def test_a_workload_is_described() -> None:
    kind = workloads(manager([TINY], with_entry_points=False))["tiny"]
    info = describe_workload(kind())
    assert (info.name, info.metrics, info.default_splits) == ("tiny", kind.metrics, ("input", "stem", "block"))
    assert (info.budget, info.dataset, info.training_s, info.training_note) == (1.0, None, None, "")
    assert info.input_spec == IMAGE
    assert {subset: len(ids) for subset, ids in info.sample_ids.items()} == {"fit": 40, "choice": 24, "test": 64}
    assert info.training_ids == info.sample_ids["fit"] == tuple(range(40))
    assert resolve(info.reference) is kind
    assert info.weights_sha256 == kind().weights_sha256()


def test_metrics_are_described_without_their_code() -> None:
    class Best(SetMetric):
        def values(self, outcomes: Any, counts: Any) -> Any:
            return counts.max(axis=1)

    class Share(RatioMetric):
        pass

    kind = workloads(manager([TINY], with_entry_points=False))["tiny"]
    metrics = Share("hits", "%", True, 100.0, True), Best("best", "px", False, decimals=2, outcome="boxes")
    info = describe_workload(type("Tiny", (kind,), {"metrics": metrics, "__module__": kind.__module__})())
    assert info.metrics == (
        RatioMetric("hits", "%", True, 100.0, True), SetMetricInfo("best", "px", False, decimals=2, outcome="boxes"),
    )  # fmt: skip
    assert info.metric == info.metrics[0]
    assert through_json(info) == info


def test_a_class_with_the_old_attribute_metric_is_described_as_such() -> None:
    kind = workloads(manager([TINY], with_entry_points=False))["tiny"]
    old = type("Tiny", (kind,), {"metric": kind.metrics[0], "__module__": kind.__module__})
    assert describe_workload(old()) == replace(
        describe_workload(kind()), names_one_metric=True, reference=ANY, source_hash=ANY
    )


@pytest.mark.parametrize("make", [range, np.arange, lambda n: [np.int32(i) for i in range(n)]])
def test_identifiers_of_numpy_become_pythons_integers(make: Callable[[int], Any]) -> None:
    info = tiny(lambda _subset: make(3))
    assert info.sample_ids["test"] == info.training_ids == (0, 1, 2)
    assert {type(found) for found in info.sample_ids["test"]} == {int}
    assert through_json(info) == info


def test_texts_are_identifiers_too() -> None:
    names = [f"img_{n}.png" for n in range(3)]
    info = tiny(lambda _subset: np.array(names))
    assert info.sample_ids["test"] == info.training_ids == tuple(names)
    assert {type(found) for found in info.sample_ids["test"]} == {str}
    assert through_json(info) == info


@pytest.mark.parametrize("wrong", [1.0, None, True, np.float64(2), np.array([[1], [2]]), 2**63, "\ud800", b"name"])
def test_what_is_no_identifier_is_named_with_the_line(wrong: Any) -> None:
    with pytest.raises(DataError, match=r"^workload 'tiny' \(.*py, line \d+\): sample_ids\('choice'\) holds .*ident"):
        tiny(lambda subset: [0, wrong] if subset == "choice" else [0])


@pytest.mark.parametrize(
    ("ids", "mistake"),
    [
        ({"test": []}, "sample_ids('test') is empty; results are reported on these samples, so give some"),
        ({"choice": []}, "sample_ids('choice') is empty; operating points are chosen on these samples, so give some"),
        ({"test": [3, 3]}, "sample_ids('test') holds 3 twice; identifiers must differ"),
        ({"test": ["a", 1]}, "sample_ids('test') holds integers and texts; return one kind"),
        ({"choice": ["a"]}, "some subsets have integers as identifiers and some have texts; return one kind"),
    ],
)
def test_identifiers_that_cannot_be_used_are_refused(ids: dict[str, Any], mistake: str) -> None:
    with pytest.raises(DataError) as caught:
        tiny(lambda subset: ids.get(subset, [0]))
    assert str(caught.value).endswith(f"): {mistake}")


def test_a_tensor_without_axes_is_skipped_by_codecs_that_look_at_its_axes(catalogue: LocalCatalogue) -> None:
    scalar = TensorSpec(())
    assert [found.skip_reason for found in catalogue.at("webp", scalar, "quick").points] == [
        "takes no tensor without axes, of one value a sample"
    ]
    for name in catalogue.names():
        if catalogue.info(name).plugin.startswith("codecbench "):
            assert {found.fault for found in catalogue.at(name, scalar, "quick").points} == {None}


# --- what a description is for --------------------------------------------------------------------------------------


def test_descriptions_can_be_keys_and_compared() -> None:
    info = make_info()
    assert {info: 1}[make_info()] == 1
    assert replace(info, source_hash="f" * 64) != info
