"""The kit on deliberately broken codecs: each fails the check named for it, and nothing else; its twin passes."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paths import BROKEN, DOCS

from codecbench import DataError, TensorSpec, UsageError
from codecbench.kit.cases import Case
from codecbench.kit.damage import BOMB_BYTES, damaged
from codecbench.kit.golden import Golden, golden_files, golden_folder
from codecbench.kit.runner import CHECKS, CheckFailed, Kit
from codecbench.kit.samples import DEFAULT_SPECS, extremes, fit_data, samples, spec_label
from codecbench.registry import codecs, load_file, manager
from codecbench.testing import parametrize_codec, run_checks, write_golden

BROKEN_FILE = BROKEN
broken = load_file(BROKEN_FILE)
PAIRS = broken.PAIRS

FEATURES = TensorSpec((4, 8, 8))
IMAGE = TensorSpec((3, 32, 32), image=True)
SEQUENCE = TensorSpec((None, 6), max_length=20)


@pytest.fixture(scope="module")
def outcomes():
    """Outcomes by codec name. All codecs go through the other processes together, which saves starting many."""
    everyone = sorted({codec for pair in PAIRS for codec in pair[1:]}, key=lambda codec: codec.name)
    # Only a picture tempts this one, and the guard stops it before another process is needed.
    everyone.remove(broken.DatasetSmuggler)
    by_codec = {codec.name: [] for codec in [*everyone, broken.DatasetSmuggler]}
    for specs, group in (([FEATURES], everyone), ([IMAGE], [broken.DatasetSmuggler])):
        for outcome in run_checks(group, specs=specs):
            by_codec[outcome.subject.partition("[")[0].partition("-(")[0]].append(outcome)
    return by_codec


@pytest.mark.parametrize(("check", "codec"), [pair[:2] for pair in PAIRS], ids=[pair[1].name for pair in PAIRS])
def test_a_broken_codec_fails_the_check_named_for_it_and_no_other(check, codec, outcomes):
    assert {outcome.check for outcome in outcomes[codec.name] if outcome.status == "failed"} == {check}


@pytest.mark.parametrize("twin", sorted({pair[2] for pair in PAIRS}, key=lambda c: c.name), ids=lambda c: c.name)
def test_its_sound_twin_passes(twin, outcomes):
    status = {outcome.id: outcome.status for outcome in outcomes[twin.name]}
    passed = [id_ for id_, status in status.items() if status == "passed"]
    others = [id_ for id_ in status if id_ not in passed]
    # No twin but one keeps golden files, and one says that a point is not for every tensor.
    assert [id_ for id_ in others if not id_.endswith(("-check_golden", "[level=2]-(4, 8, 8)-all_checks"))] == []
    assert len(passed) >= 15


def test_every_check_has_a_broken_codec():
    assert {pair[0] for pair in PAIRS} == set(CHECKS)


def reason(outcomes, codec):
    (failed,) = {o.reason for o in outcomes[codec.name] if o.status == "failed"}
    return failed


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        (broken.FileSmuggler, r"^open of '.*' for writing: a codec may reach nothing but"),
        (broken.DatasetSmuggler, r"^open of '.*test\.png': a codec may reach nothing but"),
        (broken.FitsFromFile, r"^the codec raised GuardError: open of '.*python"),
        (
            broken.ClassAttributeSmuggler,
            r"^in an edge process that has only the payload: PayloadError: decode: KeyError",
        ),
        (broken.HashSeeded, r"^another process gives other bytes"),
        (broken.Hangs, r"bit flipped in byte \d: decode hangs: no answer after 2\.\d s of processor time"),
        (broken.Crashes, r"bit flipped in byte \d: decode ends the process: .*SIGSEGV"),
        (broken.Hoards, r"decode (allocates \d+ MiB|asks for more memory|ran out of memory)"),
        (broken.InflatesAll, r"that inflates to 128 MiB from byte 0: decode (allocates \d{3} MiB|hangs)"),
        (broken.TakesShort, r"^cut to 0 of 1024 bytes: decode gave the wrong tensor"),
        (broken.Drifted, r"^float32-4x8x8-default\.json: values differ by up to 1; raise version"),
        (broken.DividesByZero, r"^zeros: decode gives values that are not finite"),
        (broken.RaisesInConstructor, r"level=2\) raises ValueError: level 2 needs a vector"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_reason_says_what_to_mend(codec, text, outcomes):
    assert re.search(text, reason(outcomes, codec))


def test_checks_that_build_on_a_failed_one_are_skipped_and_name_it(outcomes):
    skipped = {o.check: o.reason for o in outcomes["broken-bytearray"] if o.status == "skipped"}
    assert skipped["check_decode_gives_tensor"] == "needs check_encode_gives_bytes, which fails"
    assert skipped["check_damaged_payloads"] == "needs check_encode_gives_bytes, which fails"
    assert "check_sealed" not in skipped


def test_the_dataset_smuggler_would_get_through_without_the_guard():
    codec = broken.DatasetSmuggler(IMAGE)
    picture = codec.images()[7]
    payload = codec.encode(picture)
    assert len(payload) == 3
    assert torch.equal(codec.decode(payload), picture)


def test_broken_codecs_load_as_a_plugin():
    found = codecs(manager([BROKEN_FILE], with_entry_points=False))
    assert {pair[1].name for pair in PAIRS if pair[0] != "check_metadata"} <= found.keys()


# --- how the kit is called -------------------------------------------------------------------------------------------


def by_id(mark):
    return {parameter.id: parameter for parameter in mark.args[1]}


def test_ids_name_codec_point_spec_and_check():
    ids = by_id(parametrize_codec(broken.PointPair, specs=[FEATURES, SEQUENCE]))
    assert "sound-points-check_metadata" in ids
    assert "sound-points[level=2]-(4, 8, 8)-check_same_bytes" in ids
    assert "sound-points[level=1]-(None, 6)-check_same_bytes" in ids
    assert not any("check_lossless" in id_ or "check_fit" in id_ for id_ in ids)


def test_a_skipped_point_is_seen_with_its_reason():
    (skip,) = [p for id_, p in by_id(parametrize_codec(broken.VectorsOnly, specs=[FEATURES])).items() if "all_" in id_]
    assert skip.id == "sound-vectors-only[level=2]-(4, 8, 8)-all_checks"
    with pytest.raises(pytest.skip.Exception, match="level 2 needs a vector"):
        skip.values[0]()


def test_a_failure_raises_and_what_builds_on_it_skips():
    found = by_id(parametrize_codec(broken.GivesBytearray, specs=[FEATURES]))
    with pytest.raises(CheckFailed, match="encode gives bytearray, not bytes"):
        found["broken-bytearray-(4, 8, 8)-check_encode_gives_bytes"].values[0]()
    with pytest.raises(pytest.skip.Exception, match="needs check_encode_gives_bytes, which fails"):
        found["broken-bytearray-(4, 8, 8)-check_lossless".replace("lossless", "decode_batch")].values[0]()


def test_expected_failures_are_marked():
    expected = {"check_encode_gives_bytes": "kept for old readers"}
    found = by_id(parametrize_codec(broken.GivesBytearray, specs=[FEATURES], expected_failed_checks=expected))
    marked = {id_: p.marks[0].kwargs["reason"] for id_, p in found.items() if p.marks}
    assert marked == {"broken-bytearray-(4, 8, 8)-check_encode_gives_bytes": "kept for old readers"}
    outcomes = run_checks(broken.GivesBytearray, specs=[FEATURES], expected_failed_checks=expected)
    (outcome,) = [o for o in outcomes if o.status == "expected"]
    assert outcome.line() == (
        "expected broken-bytearray-(4, 8, 8)-check_encode_gives_bytes: "
        "kept for old readers (encode gives bytearray, not bytes)"
    )
    assert not any(o.status == "failed" for o in outcomes)


def test_an_unknown_expected_failure_suggests_the_nearest():
    with pytest.raises(UsageError, match="no check 'check_same_byte'; did you mean 'check_same_bytes'"):
        parametrize_codec(broken.Plain, expected_failed_checks={"check_same_byte": "?"})


def test_an_unavailable_codec_is_skipped_with_its_reason(monkeypatch):
    monkeypatch.setattr(broken.Plain, "unavailable", classmethod(lambda cls: "needs imagecodecs"))
    (outcome,) = run_checks(broken.Plain, specs=[FEATURES])
    assert (outcome.status, outcome.reason) == ("skipped", "needs imagecodecs")


def test_outcomes_are_told_as_they_come():
    told = []
    outcomes = run_checks(broken.TakesNothing, specs=[FEATURES], on_outcome=told.append)
    assert told == outcomes
    assert {o.subject for o in outcomes} == {"broken-takes-nothing", "broken-takes-nothing-(4, 8, 8)"}


def test_importing_the_kit_imports_neither_torch_nor_pytest():
    code = "import sys, codecbench.testing; print(sorted({'torch', 'pytest', 'scipy', 'skimage'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- golden bitstreams -----------------------------------------------------------------------------------------------

PLUGIN = '''
from codecbench import Codec, hookimpl

class Kept(Codec):
    """Kept."""
    name = "kept"
    version = {version}
    points = ({{"gain": 1}}, {{"gain": 2}})
    def encode(self, x): return (x * self.gain).numpy().tobytes()
    def decode(self, payload): return self.spec.from_buffer(payload) / self.gain + {shift}

@hookimpl
def codecbench_register_codecs(): return [Kept]
'''


@pytest.fixture
def kept(tmp_path):
    """A codec in a file of its own, in a given version and with a given change of what it decodes to."""

    def make(version: int = 1, shift: float = 0.0):
        source = tmp_path / "kept.py"
        source.write_text(PLUGIN.format(version=version, shift=shift))
        module = ModuleType("kept")
        module.__file__ = str(source)
        sys.modules["kept"] = module  # where inspect looks for a class's source file
        exec(compile(source.read_text(), str(source), "exec"), module.__dict__)
        return module.Kept

    yield make
    sys.modules.pop("kept", None)


def golden_outcome(codec):
    return Kit([codec], [FEATURES]).outcome(CHECKS["check_golden"], codec)


def test_a_missing_golden_file_is_skipped_with_the_command(kept):
    outcome = golden_outcome(kept())
    assert outcome.status == "skipped"
    assert "2 missing of 2" in outcome.reason
    assert outcome.reason.endswith("codecbench check kept --update-golden")


def test_golden_files_are_written_once_and_hold(kept, tmp_path):
    written = write_golden(kept(), specs=[FEATURES])
    folder = tmp_path / "golden" / "kept"
    assert written == [folder / "float32-4x8x8-gain=1.json", folder / "float32-4x8x8-gain=2.json"]
    before = [path.read_bytes() for path in written]
    assert golden_outcome(kept()).status == "passed"
    assert write_golden(kept(), specs=[FEATURES]) == []
    assert [path.read_bytes() for path in written] == before


def test_checks_never_write_golden_files(kept, tmp_path):
    golden_outcome(kept())
    assert not (tmp_path / "golden").exists()


def test_another_decode_without_a_new_version_fails_and_is_not_overwritten(kept):
    (first, *_) = write_golden(kept(), specs=[FEATURES])
    before = first.read_bytes()
    changed = kept(shift=0.5)
    outcome = golden_outcome(changed)
    assert outcome.status == "failed"
    assert "values differ by up to 0.5; raise version" in outcome.reason
    with pytest.raises(UsageError, match="raise kept's version"):
        write_golden(changed, specs=[FEATURES])
    assert first.read_bytes() == before


def test_a_tiny_difference_is_allowed(kept):
    write_golden(kept(), specs=[FEATURES])
    assert golden_outcome(kept(shift=1e-6)).status == "passed"


def test_a_raised_version_asks_for_new_golden_files(kept):
    written = write_golden(kept(), specs=[FEATURES])
    raised = kept(version=2, shift=0.5)
    outcome = golden_outcome(raised)
    assert outcome.status == "skipped"
    assert "2 of an older version" in outcome.reason
    assert write_golden(raised, specs=[FEATURES]) == written
    assert golden_outcome(raised).status == "passed"
    outcome = golden_outcome(kept(version=1, shift=0.5))
    assert outcome.status == "failed"
    assert "is of version 2" in outcome.reason


def test_a_damaged_golden_file_is_named(kept):
    (first, *_) = write_golden(kept(), specs=[FEATURES])
    first.write_text(first.read_text()[:200])
    outcome = golden_outcome(kept())
    assert outcome.status == "failed"
    assert f"golden file {first} is damaged" in outcome.reason


@settings(max_examples=15, deadline=None)
@given(
    shape=st.sampled_from([(3,), (2, 0), (2, 3, 4)]),
    dtype=st.sampled_from(["float16", "float32", "int8", "int64"]),
    payload=st.binary(max_size=40),
    state=st.binary(max_size=40),
    point=st.dictionaries(st.sampled_from("abc"), st.one_of(st.booleans(), st.integers(), st.text(max_size=5))),
)
def test_golden_files_keep_what_they_are_given(tmp_path_factory, shape, dtype, payload, state, point):
    path = tmp_path_factory.mktemp("golden") / "x" / "y.json"
    values = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    golden = Golden("any", 3, TensorSpec(shape, dtype), point, state, payload, values)
    golden.write(path)
    again = Golden.read(path)
    assert (again.codec, again.version, again.spec, again.point) == ("any", 3, golden.spec, point)
    assert (again.edge_state, again.payload) == (state, payload)
    assert np.array_equal(again.values, values)
    assert again.values.dtype == values.dtype


def test_a_golden_file_of_another_format_is_refused(kept):
    (first, *_) = write_golden(kept(), specs=[FEATURES])
    first.write_text(first.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(DataError, match="has format 2, this codecbench reads 1"):
        Golden.read(first)


def test_golden_files_lie_beside_the_source():
    assert golden_folder(broken.Remembered) == BROKEN_FILE.parent.resolve() / "golden" / "sound-golden"
    assert [path.name for path in golden_files(broken.Remembered)] == ["float32-4x8x8-default.json"]


# --- samples ---------------------------------------------------------------------------------------------------------

MORE_SPECS = (
    *DEFAULT_SPECS,
    TensorSpec((1, 9, 5), image=True),
    TensorSpec((2, 3), "float16"),
    TensorSpec((2, 3), "float64"),
    TensorSpec((5,), "int8"),
    TensorSpec((5,), "uint8"),
    TensorSpec((5,), "int64"),
    TensorSpec((3, None), "int16", max_length=4),
)


@pytest.mark.parametrize("spec", MORE_SPECS, ids=spec_label)
def test_samples_fit_their_spec_and_repeat(spec):
    made, again = samples(spec, 8), samples(spec, 8)
    for x, same in zip(made, again, strict=True):
        assert spec.mismatch(x.shape, str(x.dtype).removeprefix("torch.")) is None
        assert x.is_contiguous()
        assert torch.equal(x, same)
    assert len({(tuple(x.shape), x.numpy().tobytes()) for x in made}) == 8 or spec.shape == (3, None)
    if None in spec.shape:
        assert len({tuple(x.shape) for x in made}) > 1
        assert made[0].shape == spec.max_shape


@pytest.mark.parametrize("spec", MORE_SPECS, ids=spec_label)
def test_extremes_fit_their_spec_and_are_finite(spec):
    for x in extremes(spec).values():
        assert spec.mismatch(x.shape, str(x.dtype).removeprefix("torch.")) is None
        assert bool(torch.isfinite(x).all())
    assert {"zeros", "all greatest"} <= extremes(spec).keys()


def test_extremes_of_floats_hold_denormals_and_one_huge_value():
    found = extremes(FEATURES)
    tiny = found["denormals"].abs()
    assert bool(((tiny > 0) & (tiny < torch.finfo(torch.float32).tiny)).any())
    assert int((found["one huge value"] > 1e29).sum()) == 1


def test_pictures_are_photographs_with_values_of_k_over_255():
    for x in samples(IMAGE, 8) + list(extremes(IMAGE).values()):
        pixels = (x * 255).round()
        assert torch.equal(pixels / 255, x)
        assert 0 <= pixels.min() <= pixels.max() <= 255
    assert float(samples(IMAGE)[0].std()) > 0.1


def test_photographs_ship_with_scikit_image():
    import skimage.data

    from codecbench.kit.samples import PHOTOGRAPHS

    assert all((Path(skimage.data.__file__).parent / name).is_file() for name in PHOTOGRAPHS)


@pytest.mark.parametrize("spec", [FEATURES, SEQUENCE], ids=spec_label)
def test_fit_data_keeps_its_promises(spec):
    data = fit_data(spec, max_s=100.0)
    seen = [x for xs, _ in data.batches(7) for x in xs]
    held = [x for xs, _ in data.held_out(7) for x in xs]
    assert (len(seen), len(held)) == (data.count, data.held_out_count)
    assert not any(x.shape == y.shape and torch.equal(x, y) for x in seen for y in held if x.shape == spec.max_shape)
    first, second = (next(data.batches(4)) for _ in range(2))
    assert first[1] != second[1] or not torch.equal(torch.as_tensor(first[0][0]), torch.as_tensor(second[0][0]))
    repeat = next(fit_data(spec, max_s=100.0).batches(7))
    assert torch.equal(repeat[0][0], seen[0])
    xs, targets = repeat
    xs = [x.clone().requires_grad_() for x in xs]
    scores = data.tail(xs)
    assert scores.shape == (len(xs), 4)
    assert scores.argmax(1).tolist() == targets
    scores.sum().backward()
    assert all(x.grad is not None for x in xs)


def test_the_clock_of_a_fit_is_virtual_and_runs_out():
    data = fit_data(FEATURES, max_s=1.0)
    ticks = 0
    while data.remaining_s() > 0:
        ticks += 1
    assert ticks == 19
    assert fit_data(FEATURES, max_s=0.0).remaining_s() == 0


# --- damage ----------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4))
def test_damage_repeats_and_changes_something(payloads):
    found = list(damaged(payloads))
    assert found == list(damaged(payloads))
    if len(payloads) == 1:
        assert payloads[0] not in [payload for what, payload in found if "random" not in what]
    assert len({what for what, _ in found}) >= 7


def test_the_bomb_is_a_valid_stream_of_zeros():
    (bomb,) = [payload for what, payload in damaged([b"x"]) if what.endswith("MiB from byte 0")]
    unpacker = zlib.decompressobj()
    size, rest = 0, bomb
    while rest:
        size += len(unpacker.decompress(rest, 1 << 24))
        rest = unpacker.unconsumed_tail
    assert unpacker.eof
    assert size == BOMB_BYTES
    assert len(bomb) < 1 << 20


# --- the page --------------------------------------------------------------------------------------------------------


def check_list() -> str:
    return "\n".join(f"- **`{check.name}`**: {check.says}" for check in CHECKS.values())


def test_the_page_lists_every_check_as_the_code_has_it():
    page = (DOCS / "reference" / "kit.md").read_text()
    assert check_list() in page


def test_close_enough_is_strict_for_lossless_and_integers():
    near = torch.tensor([1.0]), torch.tensor([1.0 + 1e-6])
    assert Case(broken.Plain, FEATURES, {}).close_enough(*near) is None
    assert Case(broken.Exact, FEATURES, {}).close_enough(*near) is not None
    whole = torch.tensor([100_000_000]), torch.tensor([100_000_001])
    assert Case(broken.Plain, FEATURES, {}).close_enough(*whole) is not None
