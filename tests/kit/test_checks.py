"""The kit on deliberately broken codecs: each fails the check named for it alone; its valid counterpart passes."""

from __future__ import annotations

import re

import pytest
import torch
from support.paths import BROKEN, DOCS

from codecbench import TensorSpec
from codecbench.kit.runner import CHECKS
from codecbench.registry import codecs, load_file, manager
from codecbench.testing import run_checks

broken = load_file(BROKEN)
PAIRS = broken.PAIRS

FEATURES = TensorSpec((4, 8, 8))
IMAGE = TensorSpec((3, 32, 32), image=True)


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


@pytest.mark.parametrize("counterpart", sorted({pair[2] for pair in PAIRS}, key=lambda c: c.name), ids=lambda c: c.name)
def test_its_valid_counterpart_passes(counterpart, outcomes):
    status = {outcome.id: outcome.status for outcome in outcomes[counterpart.name]}
    passed = [id_ for id_, status in status.items() if status == "passed"]
    others = [id_ for id_ in status if id_ not in passed]
    # No counterpart but one keeps golden files, and one says that a point is not for every tensor.
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
            r"^in a decoder process that has only the payload: PayloadError: decode: KeyError",
        ),
        (broken.ScalesLargeBatches, r"^encode_batch of 128 samples gives other bytes than encode$"),
        (broken.CentresLargeBatches, r"^decode_batch of 128 payloads gives other tensors than decode: values differ"),
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
    found = codecs(manager([BROKEN], with_entry_points=False))
    assert {pair[1].name for pair in PAIRS if pair[0] != "check_metadata"} <= found.keys()


def check_list() -> str:
    return "\n".join(f"- **`{check.name}`**: {check.says}" for check in CHECKS.values())


def test_the_page_lists_every_check_as_the_code_has_it():
    page = (DOCS / "reference" / "kit.md").read_text()
    assert check_list() in page
