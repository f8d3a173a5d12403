"""No payload does a decoder harm: thousands that no encoder made, for every registered codec.

Each is decoded in a decoder process. It may be refused, or decode to a tensor that fits the spec; it may not crash the
process, hang, or let its memory grow over the limits of `codecbench.kit.trial`. The payloads are the same in every
run. A run with --run-slow tries MUTATED_PAYLOADS of them in all (default: 100,000), and prints how many a codec got:

    MUTATED_PAYLOADS=1000000 pytest --run-slow tests/kit/test_mutated_payloads.py
"""

from __future__ import annotations

import base64
import itertools
import os
import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paths import BROKEN
from support.registered import CODECS, one_point

from codecbench import TensorSpec
from codecbench.kit.cases import KitCase
from codecbench.kit.damage import mutated
from codecbench.kit.runner import Kit
from codecbench.kit.trial import Trial
from codecbench.registry import load_file

FAST_PAYLOADS = 100
"""For a codec, in every run of the tests."""
FAST_PAYLOADS_BY_CODEC = {"cs-generative": 4}
"""For codecs whose decode takes long: this one's runs a network backwards."""
SLOW_PAYLOADS = int(os.environ.get("MUTATED_PAYLOADS", "100_000"))
"""For all codecs together, with --run-slow."""
WEIGHTS = {"cs-generative": 0.45}
"""Shares of the codecs that get fewer of these than the others."""
MAX_FAULTS = 3
"""After so many a case's trial ends: each takes a new process."""


def try_mutated(kit: Kit, case: KitCase, count: int, max_faults: int = MAX_FAULTS) -> tuple[int, list[str]]:
    """How many of `count` payloads were tried, and the faults, each with the payload behind it."""
    trial, tried, faults = Trial(kit.opened(case, "edge"), case), 0, []
    for payload in itertools.islice(mutated(case.payloads, 0), count):
        if trial.decoder.closed:
            trial = Trial(kit.opened(case, "edge"), case)
        fault = trial.fault(payload)
        tried += 1
        if fault is not None:
            faults.append(f"{case.label}: {fault}; the payload in base64: {base64.b64encode(payload).decode()}")
        if len(faults) == max_faults:
            break
    return tried, faults


def try_codec(kit: Kit, name: str, count: int) -> int:
    """Spread payloads evenly over a codec's cases, fail where one does harm, and say how many were tried."""
    codec = CODECS[name]
    if codec.unavailable():
        pytest.skip(codec.unavailable())
    cases = [case for case in kit.cases if case.codec is codec]
    assert cases
    results = [
        try_mutated(kit, case, share) for case, share in zip(cases, shares(count, [1] * len(cases)), strict=True)
    ]
    faults = [fault for _, found in results for fault in found]
    assert not faults, "\n".join(faults)
    return sum(tried for tried, _ in results)


def shares(count: int, weights: Sequence[float]) -> list[int]:
    """The count in parts of these weights, whole numbers that sum to it."""
    ends = [round(count * sum(weights[: part + 1]) / sum(weights)) for part in range(len(weights))]
    return [end - start for start, end in itertools.pairwise([0, *ends])]


@pytest.fixture(scope="module")
def kit():
    """One point a spec, and one fork server for all codecs."""
    shared = Kit(list(CODECS.values()), points=one_point)
    yield shared
    shared.close()


@pytest.mark.parametrize("name", CODECS)
def test_mutated_payloads_do_no_harm(kit, name):
    count = FAST_PAYLOADS_BY_CODEC.get(name, FAST_PAYLOADS)
    assert try_codec(kit, name, count) == count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count"),
    list(zip(CODECS, shares(SLOW_PAYLOADS, [WEIGHTS.get(name, 1) for name in CODECS]), strict=True)),
    ids=list(CODECS),
)
def test_very_many_mutated_payloads_do_no_harm(name, count, capsys, record_property):
    kit = Kit([CODECS[name]])
    try:
        tried = try_codec(kit, name, count)
    finally:
        kit.close()
    assert tried == count
    record_property("mutated_payloads", tried)
    with capsys.disabled():
        print(f"\n{name}: {tried:,} mutated payloads did no harm")


# --- the payloads and the trial --------------------------------------------------------------------------------------

broken = load_file(BROKEN)
FEATURES = TensorSpec((4, 8, 8))


def test_shares_sum_to_the_count():
    assert shares(100, [1, 1, 1]) == [33, 34, 33]
    assert shares(1000, [1, 0.25, 1]) == [444, 112, 444]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4), st.integers(0, 1 << 32))
def test_mutated_payloads_repeat_and_none_is_valid(payloads, seed):
    found = list(itertools.islice(mutated(payloads, seed), 50))
    assert found == list(itertools.islice(mutated(payloads, seed), 50))
    assert not set(found) & set(payloads)
    # A single byte has few edits: of 3,000 seeds, one gave 24 different payloads of 50; two bytes gave 29.
    assert len(set(found)) > (25 if len(max(payloads, key=len)) > 1 else 15)


HARMFUL = {
    broken.TakesShort: r"decode gave the wrong tensor",
    broken.Crashes: r"decode ends the process: .*SIGSEGV",
    broken.Hoards: r"decode (allocates \d+ MiB|asks for more memory|ran out of memory)",
}


@pytest.fixture(scope="module")
def broken_kit():
    kit = Kit(list(HARMFUL), [FEATURES])
    yield kit
    kit.close()


@pytest.mark.parametrize("codec", HARMFUL, ids=lambda codec: codec.name)
def test_harm_is_found_and_told_with_the_payload(broken_kit, codec):
    (case,) = [case for case in broken_kit.cases if case.codec is codec]
    tried, (fault,) = try_mutated(broken_kit, case, 100, max_faults=1)
    what, _, payload = fault.partition("; the payload in base64: ")
    assert re.match(rf"{codec.name}-\(4, 8, 8\): {HARMFUL[codec]}", what)
    found = list(itertools.islice(mutated(case.payloads, 0), tried))
    assert base64.b64decode(payload, validate=True) == found[-1]
