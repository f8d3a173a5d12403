"""The choices that a page offers, of a device, an edge, a link and an accepted loss, and the headline of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from codecbench.analysis import planner
from codecbench.analysis.latency import Scenario
from codecbench.analysis.planner import Candidate, Limits
from codecbench.devices.layers import ModelLayers
from codecbench.devices.profile import HOST, DeviceProfile
from codecbench.headlines.headline import Headline
from codecbench.links.model import Link
from codecbench.report.subject import Subject

BUDGET_MULTIPLES = (0.0, 0.5, 2.0, 4.0)
"""The losses that are offered beside the report's own, as its multiples."""

MAX_CHOICES = 1500
"""The most choices of a page, whose headlines take about a kilobyte each."""


@dataclass(frozen=True)
class Choosable:
    """Machines and links to choose from, beside those of a report's scenarios.

    `layers` are the layers of each workload's model by name; where they are missing, no machine can be predicted.
    """

    devices: Sequence[DeviceProfile] = ()
    links: Sequence[Link] = ()
    layers: Mapping[str, ModelLayers] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Choices:
    """The devices, edges, links and losses of a workload's choices, of which there are all combinations.

    A machine that is None is the one of the records. `scenario` is the report's first one: its machines, its link and
    the report's loss are the default choice.
    """

    subject: Subject
    scenario: Scenario
    devices: Sequence[DeviceProfile | None]
    edges: Sequence[DeviceProfile | None]
    links: Sequence[Link]
    budgets: Sequence[float]

    @classmethod
    def of(cls, subject: Subject, choosable: Choosable, at_most: int = MAX_CHOICES) -> Choices:
        """Returns the choices of a workload. The edges are the machines on which plain code is as fast as on the host.

        Where there would be more than `at_most`, the last values of the longest lists are left out.
        """
        first = subject.scenarios[0]
        profiles = choosable.devices if _can_predict(subject, choosable.layers) else ()
        edges = [profile for profile in profiles if profile.general_factor <= 1]
        links = {link.name: link for link in (*(each.link for each in subject.scenarios), *choosable.links)}
        budgets = dict.fromkeys(float(f"{multiple * subject.budget:.3g}") for multiple in BUDGET_MULTIPLES)
        lists: tuple[list[Any], ...] = (
            _machines(first.device, profiles),
            _machines(first.edge, edges),
            list(links.values()),
            list(dict.fromkeys((subject.budget, *budgets))),
        )
        while math.prod(map(len, lists)) > at_most and len(longest := max(lists, key=len)) > 2:
            longest.pop()  # the default is the first, or the second behind the machine of the records
        scenario = replace(first, layers={**(first.layers or {}), **choosable.layers})
        return cls(subject, scenario, lists[0], lists[1], lists[2], sorted(lists[3]))

    def headlines(self) -> Iterator[Headline]:
        """Yields the headline of each choice; the loss changes fastest, then the link, then the edge."""
        for device, edge in product(self.devices, self.edges):
            scenario = replace(self.scenario, device=device, edge=edge)
            found = planner.candidates(self.subject.records, scenario)
            for link in self.links:
                there = undominated(planner.over_link(found, link))
                for budget in self.budgets:
                    yield Headline(there, Limits(budget), replace(scenario, link=link), self.subject.metric)

    @property
    def default(self) -> tuple[int, int, int, int]:
        """The places of the default device, edge, link and loss in their lists."""
        names = [link.name for link in self.links]
        return (
            self.devices.index(self.scenario.device),
            self.edges.index(self.scenario.edge),
            names.index(self.scenario.link.name),
            self.budgets.index(self.subject.budget),
        )


def undominated(found: Sequence[Candidate]) -> list[Candidate]:
    """Returns the candidates that no other of the same row and split precedes in both latency and loss.

    Whatever the accepted loss is, the best candidate of any rows and splits is among them, and so is the Pareto front.
    """
    best: dict[tuple[str, str], float] = {}
    kept = set()
    order = sorted(range(len(found)), key=lambda i: (found[i].latency.median_s, found[i].loss, found[i].payload_bytes))
    for i in order:
        group = (found[i].split, found[i].row)
        if found[i].loss < best.get(group, float("inf")):
            best[group] = found[i].loss
            kept.add(i)
    return [candidate for i, candidate in enumerate(found) if i in kept]


def _machines(own: DeviceProfile | None, more: Sequence[DeviceProfile]) -> list[DeviceProfile | None]:
    """Returns the machine of the records, the report's own, and more; each name once."""
    named = {profile.name: profile for profile in more if profile.name != HOST}
    if own is not None:
        named = {own.name: own, **{name: profile for name, profile in named.items() if name != own.name}}
    return [None, *named.values()]


def _can_predict(subject: Subject, layers: Mapping[str, ModelLayers]) -> bool:
    """Returns True if the layers are there, and those of the model of the records."""
    model = layers.get(subject.workload)
    weights = {record.provenance.weights_hash for record in subject.measured}
    return model is not None and (model.weights_sha256 == "" or weights == {model.weights_sha256})
