"""The report's last section: everything that is needed to make its records and the page again."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from codecbench.analysis.agreement import made_with
from codecbench.analysis.latency import Scenario
from codecbench.devices.profile import DeviceProfile
from codecbench.links.model import Link
from codecbench.report import views
from codecbench.report.page import Ids, Section
from codecbench.report.views import TableView
from codecbench.results.cell import point_label
from codecbench.results.record import Provenance, Record

FIGURES_OF_A_LIST = 6
"""The length of lists up to which a link's parameters are shown; of longer lists, only the length is shown."""


def provenance(ids: Ids, records: Sequence[Record], scenarios: Sequence[Scenario], command: str) -> Section:
    """Returns the section. `command` is the command line that made the page."""
    values = {
        "command": command,
        "tables": [
            _table(ids, "What the records were made with", "what", _environment(records)),
            _sources(ids, records),
            _table(ids, "Networks and machines of this page", "name", _parameters(scenarios)),
        ],
        "commands": sorted({record.provenance.command for record in records}),
    }
    return Section("provenance.html", 2, ids.of("provenance"), "Provenance", values)


def _table(ids: Ids, caption: str, stub: str, pairs: Iterable[tuple[str, str, str]]) -> TableView:
    lines = [(name, (value, more)) for name, value, more in pairs]
    return views.table(ids, views.rows(stub, ("value", "of"), "ll", lines), caption)


def _environment(records: Sequence[Record]) -> Iterator[tuple[str, str, str]]:
    """Yields (name, value, count) of every distinct value: the number of records that have it."""

    def counted(name: str, of: Callable[[Record], object]) -> Iterator[tuple[str, str, str]]:
        counts = Counter(str(of(record)) for record in records)
        for value, count in sorted(counts.items()):
            yield name, value, f"{count} of {len(records)} records"

    yield from counted("codecbench", lambda r: r.provenance.codecbench)
    yield from counted("commit", lambda r: _commit(r.provenance.git, r.provenance.dirty))
    yield from counted("weights of the model", lambda r: f"{r.key.workload}: {r.provenance.weights_hash}")
    yield from counted("source of the workload", lambda r: f"{r.key.workload}: {_known(made_with(r).workload_source)}")
    yield from counted("data of the workload", lambda r: f"{r.key.workload}: {_known(made_with(r).data)}")
    yield from counted("test samples", lambda r: f"{r.key.workload}: {r.key.sample_set}")
    if any(record.choice for record in records):
        chosen = [record for record in records if record.choice]
        counts = Counter(f"{r.key.workload}: {r.choice.sample_set}" for r in chosen if r.choice)
        for value, count in sorted(counts.items()):
            yield "samples of the choice", value, f"{count} of {len(records)} records"
    yield from counted("seed", lambda r: r.key.seed)
    yield from counted("machine", lambda r: f"{r.provenance.cpu}, {r.provenance.cores} cores, {r.provenance.os}")
    yield from counted("timed on", lambda r: f"{r.provenance.torch_device}, threads: {r.provenance.threads}")
    yield from counted("isolation", lambda r: _isolation(r.provenance))
    yield from counted("Python", lambda r: r.provenance.python)
    names = sorted({name for record in records for name in record.provenance.packages})
    for name in names:
        yield from counted(name, lambda r, name=name: r.provenance.packages.get(name, "not recorded"))  # type: ignore[misc]
    days = sorted(record.provenance.started_utc for record in records)
    yield "runs began", f"{days[0]} to {days[-1]}", f"{len(set(days))} runs"


def _known(digest: str | None) -> str:
    return "not recorded before schema 4" if digest is None else digest


def _isolation(where: Provenance) -> str:
    """Returns level and detail, and whether the codec's file also registers the workload."""
    held = f"{where.isolation} ({where.isolation_detail})" if where.isolation_detail else where.isolation
    return f"{held}, codec and workload in one file" if where.mixed_plugin else held


def _commit(git: str | None, dirty: bool | None) -> str:
    if git is None:
        return "outside a checkout"
    return f"{git}, with changes" if dirty else git


def _sources(ids: Ids, records: Sequence[Record]) -> TableView:
    counts = Counter(
        (r.key.codec, str(r.key.codec_version), r.provenance.plugin, r.provenance.source_hash) for r in records
    )
    lines = [(codec, (*rest, str(count))) for (codec, *rest), count in sorted(counts.items())]
    block = views.rows("codec", ("version", "plugin", "SHA-256 of its source", "records"), "lllr", lines)
    return views.table(ids, block, "Sources of the codecs")


def _parameters(scenarios: Sequence[Scenario]) -> Iterator[tuple[str, str, str]]:
    for scenario in scenarios:
        yield scenario.link.name, _link(scenario.link), f"link, {type(scenario.link).__name__}, modelled"
    sides = {(name, side): profile for s in scenarios for name, side, profile in _machines(s)}
    for (name, side), profile in sides.items():
        yield name, _profile(profile), f"{side}, {'predicted' if profile else 'measured'}"


def _machines(scenario: Scenario) -> Iterator[tuple[str, str, DeviceProfile | None]]:
    yield scenario.device_name, "device", scenario.device
    yield scenario.edge_name, "edge", scenario.edge


def _link(link: Link) -> str:
    return f"{link.description}: {_values(_fields(link))}" if link.description else _values(_fields(link))


def _fields(item: Any) -> dict[str, Any]:
    """Returns the parameters of a dataclass, none of a link that is not a dataclass: they are not known here."""
    if not dataclasses.is_dataclass(item):
        return {}
    return {
        field.name: getattr(item, field.name)
        for field in dataclasses.fields(item)
        if field.name not in ("name", "description")
    }


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in values.items()) or "no parameters"


def _value(value: Any) -> str:
    if isinstance(value, Link):
        return f"({value.name}: {_values(_fields(value))})"
    if isinstance(value, (tuple, list)) and len(value) > FIGURES_OF_A_LIST:
        return f"of {len(value)} values"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _profile(profile: DeviceProfile | None) -> str:
    if profile is None:
        return "the machine of the records"
    numbers = {
        "factors": point_label(profile.factors), "errors": point_label(profile.errors),
        "general_factor": f"{profile.general_factor:g}", "call_s": f"{profile.call_s:g}",
    }  # fmt: skip
    text = ", ".join(f"{name} {value}" for name, value in numbers.items() if value)
    return f"{profile.description} ({profile.kind}; {profile.source}; {text})"
