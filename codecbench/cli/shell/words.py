"""The words that can follow a begun command line: commands, options, and the values of options."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from codecbench.experiment.config import DEFAULT_WORKLOAD
from codecbench.registry import codecs, devices, links, manager, workloads

Candidates = Mapping[str, str]
"""Words, each with a short text."""

_CHOICES = re.compile(r"[a-z-]+(\|[a-z-]+)+")
"""A metavar that lists the values of an option: `quick|full`."""


def candidates(context: Any, words: Sequence[str]) -> Candidates:
    """Return the words that can stand in the place of the last one, which may be empty; none where a file name stands.

    `context` is click's, of any command of the program. Names are those of installed plugins.
    """
    *before, begun = [word for word in words if word != "="]  # Bash makes three words of --option=value
    command, left = _command(context.find_root().command, before)
    option = _option(command, before[-1]) if before else None
    if option is not None and not option.is_flag:
        return _beginning(begun, _values(context, option, before))
    if begun.startswith("-"):
        return _beginning(begun, {name: _short(p.help) for p in command.params for name in p.opts if name[:1] == "-"})
    if hasattr(command, "commands"):
        shown = {name: each for name, each in command.commands.items() if not each.hidden}
        return _beginning(begun, {name: _short(each.help) for name, each in shown.items()})
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    place = min(len(left), len(arguments) - 1)
    return _beginning(begun, _values(context, arguments[place], before)) if arguments else {}


def _command(root: Any, words: Sequence[str]) -> tuple[Any, list[str]]:
    """Return the command that the words name, and its positional arguments so far."""
    command, left, is_value = root, [], False
    for word in words:
        option = _option(command, word)
        if is_value or option is not None or word.startswith("-"):
            is_value = not is_value and option is not None and not option.is_flag
        elif word in getattr(command, "commands", {}):
            command = command.commands[word]
        else:
            left.append(word)
    return command, left


def _option(command: Any, word: str) -> Any:
    return next((each for each in command.params if word.startswith("-") and word in each.opts), None)


def _values(context: Any, parameter: Any, words: Sequence[str]) -> Candidates:
    """Return the values of an option or an argument, where they are known."""
    choices = [item.value for item in parameter.shell_complete(context, "") if item.type == "plain"]
    if choices:
        return dict.fromkeys(choices, "")
    metavar = (parameter.metavar or "").replace("\\", "")
    if _CHOICES.fullmatch(metavar):
        return dict.fromkeys(metavar.split("|"), "")
    return _names(parameter.opts[-1], metavar, words)


def _names(option: str, metavar: str, words: Sequence[str]) -> Candidates:
    pm = manager()
    if option == "--codec" or metavar.startswith("[CODEC"):
        return {name: _short(codec.__doc__) for name, codec in codecs(pm).items()}
    if option == "--workload":
        return {name: _short(workload.__doc__) for name, workload in workloads(pm).items()}
    if option == "--split":
        named = dict(pairwise(words)).get("--workload", DEFAULT_WORKLOAD)
        workload = workloads(pm).get(named)
        return dict.fromkeys(workload.default_splits, "") if workload is not None else {}
    if option == "--link":
        return {name: _short(link.description) for name, link in links(pm).items()}
    if option in ("--device", "--edge"):
        return {"host": "as measured", **{name: _short(d.description) for name, d in devices(pm).items()}}
    return {}


def _beginning(begun: str, found: Candidates) -> Candidates:
    return {word: text for word, text in found.items() if word.startswith(begun)}


def _short(text: str | None) -> str:
    """Return the first sentence of a help text, in one line."""
    return " ".join((text or "").split()).split(". ")[0].rstrip(".")
