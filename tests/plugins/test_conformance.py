"""Every registered codec passes the conformance kit. The golden bitstreams lie in
plugins/codecbench_plugins/golden/."""

from __future__ import annotations

import pytest
from support.registered import CODECS, default_split_specs, one_point

from codecbench.kit.samples import spec_label
from codecbench.testing import parametrize_codec, run_checks


@parametrize_codec(list(CODECS.values()), points=one_point)
def test_conformance(check):
    check()


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS.values(), ids=list(CODECS))
def test_conformance_at_all_quick_points(codec):
    assert [outcome.line() for outcome in run_checks(codec) if outcome.status == "failed"] == []


@pytest.fixture(scope="module")
def split_specs():
    """The specs, each once: splits may have like tensors."""
    return list(dict.fromkeys(default_split_specs().values()))


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS.values(), ids=list(CODECS))
def test_conformance_at_the_default_splits(codec, split_specs):
    """At the tensor of every split, each check passes, or the codec says why it does not take such a tensor."""
    outcomes = run_checks(codec, specs=split_specs)
    assert [outcome.line() for outcome in outcomes if outcome.status == "failed"] == []
    for spec in split_specs:
        of_spec = [outcome for outcome in outcomes if outcome.subject.endswith(f"-{spec_label(spec)}")]
        passed = {outcome.check for outcome in of_spec if outcome.status == "passed"}
        refused = [outcome.reason for outcome in of_spec if outcome.check == "all_checks"] or codec.unavailable()
        print(f"{codec.name} at {spec_label(spec)}: {f'{len(passed)} checks passed' if passed else refused}")
        assert "check_damaged_payloads" in passed or refused
