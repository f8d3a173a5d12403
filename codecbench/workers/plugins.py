"""The codecs and workloads of all plugins, asked in sealed processes: one for each plugin, which holds no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from codecbench.codec import TensorSpec
from codecbench.descriptions.codec_info import CodecAtSpec, CodecInfo, PointRequest, Preset
from codecbench.errors import PluginError
from codecbench.isolation.seal import Isolation
from codecbench.names import pick
from codecbench.registry import installed_plugins
from codecbench.system.helper_modules import check_helpers, with_helpers
from codecbench.workers.closing import Closing
from codecbench.workers.connection import WorkerClient
from codecbench.workers.forks import SealedProcesses
from codecbench.workers.launch import Process
from codecbench.workers.protocol import Role


class PluginClient(WorkerClient):
    """A process with one plugin. `load` comes first."""

    role: ClassVar[Role] = "plugin"

    def __init__(self, process: Process) -> None:
        super().__init__(process=process)

    def start_load(self, plugin: str, entry_point: str | None, *, reads_free: bool = False) -> None:
        """Start to seal the process and to load a plugin: an entry point with its value, or a file.

        With `reads_free` the plugin may read files meanwhile.
        """
        self.send("load_plugin", {"plugin": plugin, "entry_point": entry_point, "reads_free": reads_free})

    def finish_load(self) -> LoadedPlugin:
        """Return what the plugin registers. Raises PluginError if it cannot be loaded."""
        found = self.receive().fields
        return LoadedPlugin(
            codecs=found["codecs"], workloads={name: tuple(pair) for name, pair in found["workloads"].items()},
            isolation=Isolation.from_json(found["isolation"]),
        )  # fmt: skip

    def start_infos(self, names: Sequence[str]) -> None:
        """Start to describe codecs of the plugin."""
        self.send("describe_codecs", {"names": list(names)})

    def finish_infos(self) -> list[CodecInfo]:
        """Return what holds for each of the codecs with every tensor."""
        return [CodecInfo.from_json(info) for info in self.receive().fields["infos"]]

    def at(self, name: str, spec: TensorSpec, preset: Preset, point: PointRequest | None) -> CodecAtSpec:
        """Return what a codec of the plugin says of a tensor."""
        fields = {
            "name": name,
            "spec": spec.to_json(),
            "statistics": spec.statistics.to_json() if spec.statistics else None,
            "preset": preset,
            "point": point if point is None or isinstance(point, str) else dict(point),
        }
        return CodecAtSpec.from_json(self.call("describe_at", fields).fields["at"])


@dataclass(frozen=True)
class LoadedPlugin:
    """What a plugin registers: labels of codecs by name; labels and references of workloads by name."""

    codecs: Mapping[str, str]
    workloads: Mapping[str, tuple[str, str]]
    isolation: Isolation


class PluginCatalogue(Closing):
    """The codecs and workloads of the installed plugins and of plugin files. A context manager that ends its processes.

    Names are known once it is made. Raises PluginError as `registry.manager` does.
    """

    def __init__(self, plugin_files: Sequence[Path] = (), *, fork: bool | None = None) -> None:
        files = [Path(path).resolve() for path in plugin_files]
        twice = next((path for path in files if files.count(path) > 1), None)
        if twice is not None:
            raise PluginError(f"plugin {twice} is loaded twice; name it once")
        missing = next((path for path in files if not path.is_file()), None)
        if missing is not None:
            raise PluginError(f"no plugin file {missing}; give the path of a .py file")
        check_helpers(files)
        self._processes = SealedProcesses("plugin", with_helpers(files), fork=fork)
        self._clients: dict[str, PluginClient] = {}
        self._codecs: dict[str, tuple[str, PluginClient]] = {}
        self._workloads: dict[str, tuple[str, str]] = {}
        self._infos: dict[str, CodecInfo] = {}
        self.isolation: Isolation | None = None
        """The parts of the seal that hold in the processes of plugins, and so in those of codecs."""
        try:
            self._load({**installed_plugins(), **dict.fromkeys(map(str, files))})
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End all processes."""
        for client in self._clients.values():
            client.close()
        self._processes.close()

    def names(self) -> Sequence[str]:
        """Return the names of all codecs, sorted."""
        return sorted(self._codecs)

    def infos(self, names: Sequence[str]) -> Sequence[CodecInfo]:
        """Return what holds for each codec with every tensor. The plugins answer at the same time.

        Raises UsageError for an unknown name.
        """
        names_of: dict[PluginClient, list[str]] = {}
        known = dict(sorted(self._codecs.items()))
        for name in dict.fromkeys(names):
            _, client = pick(known, name, "codec")
            if name not in self._infos:
                names_of.setdefault(client, []).append(name)
        for client, own in names_of.items():
            client.start_infos(own)
        for client in names_of:
            self._infos |= {info.name: info for info in client.finish_infos()}
        return [self._infos[name] for name in names]

    def info(self, name: str) -> CodecInfo:
        """Return what holds for a codec with every tensor. Raises UsageError for an unknown name."""
        return self.infos([name])[0]

    def at(self, name: str, spec: TensorSpec, preset: Preset, point: PointRequest | None = None) -> CodecAtSpec:
        """Return what a codec says of a tensor: of the preset's points, or of `point` alone."""
        return self._codecs[name][1].at(name, spec, preset, point)

    def workload(self, name: str) -> str:
        """Return the reference of a workload's class. Raises UsageError for an unknown name."""
        return pick(dict(sorted(self._workloads.items())), name, "workload")[1]

    def _load(self, plugins: Mapping[str, str | None]) -> None:
        for plugin, entry_point in plugins.items():
            self._start(plugin, entry_point, reads_free=False)
        for plugin, entry_point in plugins.items():
            try:
                self._add(plugin, self._clients[plugin].finish_load())
            except PluginError as refused:
                # A workload's module may read its own files when it is loaded; a codec's may not.
                self._clients[plugin].close()
                self._start(plugin, entry_point, reads_free=True)
                found = self._clients[plugin].finish_load()
                if found.codecs:
                    raise refused
                self._add(plugin, found)

    def _start(self, plugin: str, entry_point: str | None, *, reads_free: bool) -> None:
        self._clients[plugin] = PluginClient(self._processes.start())
        self._clients[plugin].start_load(plugin, entry_point, reads_free=reads_free)

    def _add(self, plugin: str, found: LoadedPlugin) -> None:
        self.isolation = self.isolation or found.isolation
        for name, label in found.codecs.items():
            _refuse_duplicate("codec", name, label, self._codecs.get(name, (label,))[0])
            self._codecs[name] = label, self._clients[plugin]
        for name, (label, reference) in found.workloads.items():
            _refuse_duplicate("workload", name, label, self._workloads.get(name, (label,))[0])
            self._workloads[name] = label, reference
        if not found.codecs:
            self._clients[plugin].close()


def _refuse_duplicate(kind: str, name: str, label: str, other: str) -> None:
    if label != other:
        raise PluginError(f"{kind} name {name!r} is used by {other} and {label}; rename one")
