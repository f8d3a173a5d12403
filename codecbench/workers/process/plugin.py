"""A plugin process: loads one plugin, sealed, and says what it registers and what its codecs say of themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pluggy

from codecbench.codec import TensorSpec
from codecbench.descriptions.describe import describe_at, describe_codec
from codecbench.isolation.audit import reading
from codecbench.isolation.landlock import Ruleset
from codecbench.isolation.seal import close_process, close_writes, readable_files
from codecbench.operating_points import TensorStatistics
from codecbench.registry import class_label, codecs, manager_of, plugin_hooks, reference, workloads
from codecbench.workers.launch import OWN_LOG
from codecbench.workers.protocol import OperationResult, Reply


class PluginProcess:
    """Serves the operations of a plugin process. `rules` are the files that it may read once it is sealed."""

    def __init__(self, rules: Ruleset | None) -> None:
        self._rules = rules
        self._pm: pluggy.PluginManager | None = None
        self._mixed = False

    def op_prepare(self, request: Reply) -> OperationResult:
        """Find the files that this process may read, where it was not forked from one that has found them."""
        self._rules = readable_files([Path(source) for source in request.fields["sources"]])
        return {}, ()

    def op_load_plugin(self, request: Reply) -> OperationResult:
        """Seal this process for good and load a plugin; return its hooks, and the codecs and workloads by name.

        With `reads_free`, the plugin may read files while it is loaded.
        """
        isolation = close_writes() if request.fields["reads_free"] else close_process(self._rules, output=OWN_LOG)
        self._pm = manager_of(request.fields["plugin"], request.fields["entry_point"])
        (hooks,) = plugin_hooks(self._pm)
        self._mixed = hooks.mixed
        found = {
            "codecs": {name: class_label(codec) for name, codec in codecs(self._pm).items()},
            "workloads": {name: [class_label(kind), reference(kind)] for name, kind in workloads(self._pm).items()},
        }
        return {**found, "mixed": hooks.mixed, "isolation": isolation.to_json()}, ()

    def op_describe_codecs(self, request: Reply) -> OperationResult:
        """Return what holds for codecs of the plugin with every tensor."""
        found = codecs(self._manager)
        with reading():  # the source is hashed
            infos = [describe_codec(found[name], mixed_plugin=self._mixed) for name in request.fields["names"]]
        return {"infos": [info.to_json() for info in infos]}, ()

    def op_describe_at(self, request: Reply) -> OperationResult:
        """Return what a codec of the plugin says of a tensor."""
        fields = request.fields
        codec, spec = codecs(self._manager)[fields["name"]], TensorSpec.from_json(fields["spec"])
        if fields["statistics"]:
            spec = replace(spec, statistics=TensorStatistics.from_json(fields["statistics"]))
        return {"at": describe_at(codec, spec, fields["preset"], fields["point"]).to_json()}, ()

    @property
    def _manager(self) -> pluggy.PluginManager:
        if self._pm is None:
            raise RuntimeError("no plugin is loaded")
        return self._pm
