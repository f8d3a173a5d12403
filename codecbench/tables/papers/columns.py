"""The columns of tables by their stable names, which CSV and the option --columns share, and what each of them is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from codecbench.tables.document import with_interval
from codecbench.tables.formats import short

Better: TypeAlias = Literal["lower", "higher", ""]
SHORT = "short"
"""The `spec` of numbers of two or three digits, see `formats.short`."""


@dataclass(frozen=True)
class Column:
    """A column of a table: its stable name, its heading, the format of its numbers and their better direction.

    `spec` is a format specification, SHORT, or "" for a column of text. `interval` names the fields of both ends.
    """

    name: str
    heading: str
    spec: str = SHORT
    better: Better = ""
    interval: tuple[str, str] | None = None

    @property
    def is_text(self) -> bool:
        """True for a column of text."""
        return not self.spec

    def value(self, fields: Mapping[str, Any]) -> float | None:
        """Returns the number of a line, None where it has none."""
        found = fields.get(self.name)
        return None if found is None or self.is_text else float(found)

    def number(self, fields: Mapping[str, Any]) -> str:
        """Returns the number or the text of a line without its interval, a hyphen where there is none."""
        if self.is_text:
            return str(fields.get(self.name) or "-")
        return self._formatted(self.value(fields))

    def ends(self, fields: Mapping[str, Any]) -> str:
        """Returns the interval of a line, `[87.4, 92.8]`, or an empty text."""
        low, high = (fields.get(name) for name in self.interval or ("", ""))
        return "" if low is None or high is None else f"[{self._formatted(low)}, {self._formatted(high)}]"

    def _formatted(self, number: float | None) -> str:
        return short(number) if self.spec == SHORT else with_interval(number, None, None, self.spec)


def metric_columns(heading: str, decimals: int, better: Better) -> tuple[Column, Column]:
    """Returns the columns of the deciding metric and of its change, with their intervals."""
    return (
        Column("value", heading, f".{decimals}f", better, ("low", "high")),
        Column("change", "change", f"+.{decimals}f", better, ("change_low", "change_high")),
    )


NAMES = {
    "budget": (
        "payload_bytes", "payload_percent", "network_ms", "network_percent", "device_ms", "edge_ms", "latency_ms",
        "latency_p95_ms", "speed_up", "decode_ms", "edge_state_bytes", "value", "change", "point",
    ),
    "points": (
        "payload_bytes", "payload_percent", "bound_bytes", "value", "change", "choice_change", "encode_ms", "decode_ms",
        "device_state_bytes", "edge_state_bytes", "codec", "point",
    ),
    "bd-rate": (
        "bd_rate_percent", "from", "to", "overlap", "points", "dropped", "anchor_points", "anchor_dropped",
    ),
    "equal-accuracy": ("payload_bytes", "ratio", "encode_ms", "decode_ms", "edge_state_bytes", "finer_point"),
    "training": ("fit_mean_s", "training_percent", "points"),
}  # fmt: skip
"""The names that --columns and --sort take by kind; `latency` has those of `budget`. Other metrics add their names."""

MEANINGS = {
    "source": "measured, or paper for its published rows",
    "workload": "the workload's name",
    "metric": "the name of the metric",
    "unit": "the unit of the metric",
    "n": "test samples",
    "sample_set": "the test samples by name",
    "seed": "the seed of the run",
    "budget": "the accepted loss, in the unit of the metric",
    "link": "the link of network times",
    "device": "the device: host, as measured, or a profile that predicts",
    "edge": "the edge: host, as measured, or a profile that predicts",
    "split": "the split point",
    "row": "the row: a codec, or one of its variants",
    "codec": "the codec's name",
    "point": "the operating point",
    "status": "ok, or why there are no numbers",
    "payload_bytes": "mean payload of a sample, in bytes",
    "payload_percent": "mean payload, in % of the raw tensor",
    "bound_bytes": "Shannon bound of the payload's symbols, in bytes",
    "network_ms": "mean time on the link, in ms",
    "network_percent": "time on the link, in % of that of the raw tensor",
    "network_of_mean": "True where it is the time of the mean payload",
    "device_ms": "median of head and encode, in ms",
    "edge_ms": "median of decode and tail, in ms",
    "latency_ms": "median end-to-end latency, in ms",
    "latency_p95_ms": "its 95th percentile, in ms",
    "speed_up": "latency of the whole network on the device, over that of the row",
    "predicted": "the steps whose time a device profile predicts",
    "encode_ms": "median time to encode a sample, in ms",
    "decode_ms": "median time to decode a sample, in ms",
    "device_state_bytes": "what the device holds before the first sample, in bytes",
    "edge_state_bytes": "what the edge holds before the first sample, in bytes",
    "value": "the metric on the test samples",
    "low": "lower end of the 95 % interval of the value, or of payload_bytes in --kind equal-accuracy",
    "high": "upper end of the same",
    "change": "change of the metric from the uncompressed model, paired",
    "change_low": "lower end of its 95 % interval",
    "change_high": "upper end of its 95 % interval",
    "choice_change": "change of the metric on the samples of the choice",
    "falls": "True where a smaller payload of the same row does better",
    "over_budget": "True where no point is within the budget",
    "uncertain": "True where the interval of the choice crosses the budget",
    "over_on_test": "True where the loss on the test samples is over the budget by its whole interval",
    "chosen_on_test": "True where the point was chosen on the test samples",
    "isolation": "the isolation of the codec's code",
    "mixed_plugin": "True where the codec's file registers the workload, too",
    "notes": "why points are missing",
    "other_metrics": "the other metrics by name, as JSON",
    "anchor": "the row that others are compared with",
    "bd_rate_percent": "bytes more or fewer than the anchor's at equal metric, in %",
    "from": "start of the common range of the metric",
    "to": "end of the common range of the metric",
    "overlap": "the common range as a share of the narrower curve's",
    "points": "operating points: on the envelope of the curve, or fitted in --kind training",
    "dropped": "points that a smaller payload of the row equals or beats",
    "anchor_points": "points on the envelope of the anchor's curve",
    "anchor_dropped": "points of the anchor that a smaller payload equals or beats",
    "reason": "why there is no number",
    "upper_bound": "True where the coarsest point is within the budget",
    "ratio": "payload_bytes over those of the anchor",
    "ratio_low": "lower end of its 95 % interval",
    "ratio_high": "upper end of its 95 % interval",
    "finer_point": "the first point of the curve that is within the budget",
    "fit_mean_s": "mean time to fit a point, in s",
    "fit_min_s": "the shortest fit, in s",
    "fit_max_s": "the longest fit, in s",
    "training_s": "training of the model itself, in s",
    "training_percent": "mean time to fit, in % of the model's training",
    "best": "with --best: the columns in which the row is best, separated by spaces",
    "pareto": "with --best: True where the row is Pareto-optimal",
}  # fmt: skip
"""The meanings of columns and of the other fields of CSV, by name."""
