"""Texts that titles, axes and captions of several figures share."""

from __future__ import annotations

from codecbench.analysis.study import Study
from codecbench.devices.profile import HOST


def metric_label(study: Study) -> str:
    """Returns the metric with its unit, for an axis: `top-1, %`."""
    task = study.task
    label = f"{task.metric}, {task.unit}" if task.unit else task.metric
    return label if task.higher_is_better else f"{label} (less is better)"


def budget_text(study: Study) -> str:
    """Returns the accepted loss in words: `a loss of at most 1 point of top-1`."""
    unit = f"point{'' if study.budget == 1 else 's'}" if study.task.unit == "%" else study.task.unit
    return f"a loss of at most {f'{study.budget:g} {unit}'.strip()} of {study.task.metric}"


def setting_text(study: Study) -> str:
    """Returns sentences on the networks and the two machines."""
    links = [scenario.link for scenario in study.scenarios]
    networks = "; ".join(f"{link.name} ({link.description})" if link.description else link.name for link in links)
    edge = _machine(study.scenario.edge_name)
    return f"Network, modelled: {networks}. Device: {device_text(study)}. Edge: {edge}."


def device_text(study: Study) -> str:
    """Returns the machine of the device's times, as text."""
    return _machine(study.scenario.device_name)


def _machine(name: str) -> str:
    return "the machine of the records, measured" if name == HOST else f"{name}, predicted"


def machines_text(study: Study) -> str:
    """Returns the end of a title where times are predicted, `, device phone predicted`, else an empty text."""
    sides = (("device", study.scenario.device_name), ("edge", study.scenario.edge_name))
    predicted = " and ".join(f"{side} {name}" for side, name in sides if name != HOST)
    return f", {predicted} predicted" if predicted else ""


def small_print(study: Study) -> str:
    """Returns the note inside a figure: times of the network are modelled, and which others are predicted."""
    sides = (("Device", study.scenario.device_name), ("Edge", study.scenario.edge_name))
    predicted = [f"{side} times predicted ({name})." for side, name in sides if name != HOST]
    return " ".join(["Network modelled.", *predicted])
