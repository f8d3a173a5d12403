"""End-to-end latency: sums of a sample's own steps, measured or predicted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.factories import LINK, make_layers, make_profile, make_record, sizes_of

from codecbench.analysis.latency import STEPS, Scenario, latency_of, local_latency, raw_network
from codecbench.errors import DataError, UsageError
from codecbench.links.model import FixedRateLink, TcpRampLink

RAMP = TcpRampLink("ramp", round_trip_s=0.05, bandwidth_bit_per_s=1e8)
"""A link whose time is not linear in the bytes: a larger message waits for acknowledgements."""


def test_a_latency_is_the_sum_of_a_samples_own_steps() -> None:
    record = make_record(split="stem", payload_bytes=1_000, encode_s=0.001)
    assert record.timed is not None
    found = latency_of(record, Scenario(LINK))
    for i, total_s in enumerate(found.total_s):
        own = [getattr(record.timed, f"{step}_s")[i] for step in ("head", "encode", "decode", "tail")]
        assert total_s == pytest.approx(sum(own) + LINK.seconds([1_000])[0])
    assert list(found.steps_s) == list(STEPS)
    assert found.median_s == sorted(found.total_s)[1]
    assert found.device_s == pytest.approx(1.1 * (0.001 + 0.001))
    assert found.edge_s == pytest.approx(1.1 * (0.002 + 0.003))
    assert found.predicted == frozenset()
    assert found.payload_bytes == [1_000] * 4


def test_a_95th_percentile_needs_twenty_samples() -> None:
    record = make_record()
    assert record.timed is not None
    assert latency_of(record, Scenario(LINK)).p95_s is None
    many = {name: values * 5 for name, values in record.timed.model_dump().items()}
    longer = record.model_copy(update={"timed": record.timed.model_copy(update=many)})
    found = latency_of(longer, Scenario(LINK))
    assert found.p95_s == sorted(found.total_s)[18]


def test_a_record_of_schema_1_stands_for_one_sample_of_its_medians() -> None:
    record = make_record(with_timed=False, payload_bytes=500, encode_s=0.001)
    found = latency_of(record, Scenario(FixedRateLink("x", bandwidth_bit_per_s=8e6)))
    assert found.total_s.tolist() == pytest.approx([0.001 + 0.0005 + 0.002 + 0.003])
    assert found.p95_s is None


def test_a_cell_without_times_is_refused() -> None:
    with pytest.raises(DataError, match="is failed: it has no times"):
        latency_of(make_record(status="failed"), Scenario(LINK))


def test_profiles_take_the_place_of_their_own_side() -> None:
    record, layers = make_record(split="stem", encode_s=0.001), {"toy": make_layers()}
    slow, fast = make_profile("slow", layer_s=0.01, general=4.0), make_profile("fast", layer_s=0.0001, general=0.5)
    measured = latency_of(record, Scenario(LINK))
    on_slow = latency_of(record, Scenario(LINK, device=slow, layers=layers))
    assert on_slow.predicted == {"head", "encode"}
    assert on_slow.steps_s["head"].tolist() == pytest.approx([0.01] * 4)  # one layer is before the stem
    assert on_slow.steps_s["encode"] == pytest.approx(4 * measured.steps_s["encode"])
    assert on_slow.steps_s["tail"].tolist() == measured.steps_s["tail"].tolist()
    both = latency_of(record, Scenario(LINK, slow, fast, layers))
    assert both.predicted == {"head", "encode", "decode", "tail"}
    assert both.steps_s["tail"].tolist() == pytest.approx([0.0004] * 4)
    assert both.steps_s["decode"] == pytest.approx(measured.steps_s["decode"] / 2)
    assert both.steps_s["network"].tolist() == measured.steps_s["network"].tolist()


def test_operations_of_a_codec_are_predicted_as_those_of_the_model_and_the_rest_as_plain_code() -> None:
    layers = {"toy": make_layers()}  # 5,000 FLOPs
    edge = make_profile("edge", layer_s=0.0001, general=0.5)
    record = make_record(split="stem", decoder_flop=1_000)
    measured = latency_of(record, Scenario(LINK))
    model_s = measured.step_median_s("head", "tail")
    counted_s = np.minimum(measured.steps_s["decode"], model_s / 5)
    expected = (measured.steps_s["decode"] - counted_s) / 2 + counted_s * 0.0005 / model_s
    assert latency_of(record, Scenario(LINK, edge=edge, layers=layers)).steps_s["decode"] == pytest.approx(expected)
    # More operations than fit into the measured time: all of it is theirs.
    record = make_record(split="stem", decoder_flop=10**9, encoder_flop=10**9)
    found = latency_of(record, Scenario(LINK, edge, edge, layers))
    for step in ("encode", "decode"):
        assert found.steps_s[step] == pytest.approx(measured.steps_s[step] * 0.0005 / model_s)


def test_a_profile_needs_the_layers() -> None:
    with pytest.raises(UsageError, match=r"needs the layers of workload 'toy'.*run 'codecbench run'"):
        latency_of(make_record(), Scenario(LINK, device=make_profile("slow", layer_s=0.01, general=4.0)))


@pytest.mark.parametrize("side", ["device", "edge"])
def test_layers_of_another_model_predict_nothing(side: str) -> None:
    profile, record = make_profile("slow", layer_s=0.01, general=4.0), make_record()
    for known in ("", record.provenance.weights_hash):
        layers = {"toy": replace(make_layers(), weights_sha256=known)}
        assert latency_of(record, Scenario(LINK, **{side: profile}, layers=layers)).predicted  # type: ignore[arg-type] - a side by its name
    layers = {"toy": replace(make_layers(), weights_sha256="e" * 64)}
    with pytest.raises(UsageError, match=r"are of another model \(weights eeeeeeee\) than these records .*11111111"):
        latency_of(record, Scenario(LINK, **{side: profile}, layers=layers))  # type: ignore[arg-type] - a side by its name


def test_local_is_head_and_tail_of_the_shallowest_split() -> None:
    records = [make_record(split="stem"), make_record(codec="a"), make_record(codec="b"), make_record(status="failed")]
    found = local_latency(records, Scenario(LINK))
    assert found.median_s == pytest.approx(1.1 * 0.003)
    assert found.steps_s["network"].tolist() == [0.0] * 4
    profile = make_profile("slow", layer_s=0.01, general=4.0)
    predicted = local_latency(records, Scenario(LINK, device=profile, layers={"toy": make_layers()}))
    assert predicted.median_s == pytest.approx(0.05)
    assert predicted.predicted == {"head"}
    with pytest.raises(DataError, match="no cell was measured"):
        local_latency([make_record(status="skipped")], Scenario(LINK))


def test_a_network_time_is_the_mean_over_the_samples_and_not_the_time_of_the_mean() -> None:
    record = make_record(payload_bytes=10_000)
    sizes = [100] * 7 + [79_300]
    found = Scenario(RAMP, payload_sizes=sizes_of({record.cell: sizes})).network_s(record)
    assert found.seconds == pytest.approx(RAMP.seconds(sizes).mean())
    assert not found.of_mean
    for without in (Scenario(RAMP), Scenario(RAMP, payload_sizes=sizes_of({}))):
        assert without.network_s(record) == (pytest.approx(float(RAMP.seconds([10_000])[0])), True)
    assert found.seconds != pytest.approx(float(RAMP.seconds([10_000])[0]), rel=0.05)


def test_the_raw_tensor_takes_the_time_of_its_bytes_and_where_they_vary_that_of_the_codec_raw() -> None:
    raw = make_record(codec="raw", point={"values": "float32"}, payload_bytes=10_000, raw_bytes=10_000)
    other = make_record(payload_bytes=100, raw_bytes=10_000)
    sizes = [100] * 7 + [79_300]
    scenario = Scenario(RAMP, payload_sizes=sizes_of({raw.cell: sizes}))
    assert raw_network([other, raw], scenario) == (pytest.approx(float(RAMP.seconds([10_000])[0])), False)
    assert raw.tensor is not None
    varying = {"tensor": raw.tensor.model_copy(update={"shape": [None, 4]})}
    raw, other = raw.model_copy(update=varying), other.model_copy(update=varying)
    assert raw_network([other, raw], scenario) == (pytest.approx(RAMP.seconds(sizes).mean()), False)
    assert raw_network([other], scenario) == (pytest.approx(float(RAMP.seconds([10_000])[0])), True)
