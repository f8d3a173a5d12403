"""Finds, loads and checks plugins (entry points and single files), and collects what they register by name."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import math
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from codecbench import hookspecs
from codecbench.checked_workload import workload_class_fault
from codecbench.codec import Codec
from codecbench.devices.profile import HOST, DeviceProfile
from codecbench.errors import PluginError
from codecbench.links.model import Link
from codecbench.locations import class_location
from codecbench.names import suggestion
from codecbench.system.helper_modules import add_folder, added_folders, check_helpers
from codecbench.workload import Workload

GROUP = "codecbench"
BESIDE_CONFIG = "codecbench_plugin.py"
FILE_PREFIX = "codecbench_file_"
"""The prefix of the names of modules that are loaded from single files."""
CODECS_HOOK, WORKLOADS_HOOK = "codecbench_register_codecs", "codecbench_register_workloads"


@dataclass(frozen=True)
class PluginHooks:
    """The hooks that one plugin implements. `name` is that of its entry point, or the path of its single file."""

    name: str
    file: str | None
    hooks: tuple[str, ...]

    @property
    def mixed(self) -> bool:
        """True if the plugin registers both codecs and workloads."""
        return {CODECS_HOOK, WORKLOADS_HOOK} <= set(self.hooks)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_json` makes an equal object."""
        return {**asdict(self), "hooks": list(self.hooks)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PluginHooks:
        """The inverse of `to_json`."""
        return cls(values["name"], values["file"], tuple(values["hooks"]))


def manager(plugin_files: Sequence[Path] = (), *, with_entry_points: bool = True) -> pluggy.PluginManager:
    """Return a new plugin manager with all installed plugins and these single files, loaded and checked.

    Raises PluginError if a plugin cannot be imported, misspells a hook, or registers nothing.
    """
    pm = pluggy.PluginManager(GROUP)
    pm.add_hookspecs(hookspecs)
    if with_entry_points:
        for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
            _register(pm, _loaded(entry), entry.name)
    check_helpers([Path(path).resolve() for path in plugin_files])
    for path in plugin_files:
        _register(pm, load_file(path), str(path))
    return pm


def installed_plugins() -> dict[str, str]:
    """Return the entry points of all installed plugins, names to modules, sorted. Imports none of them."""
    return {entry.name: entry.value for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name)}


def manager_of(name: str, value: str | None) -> pluggy.PluginManager:
    """Return a new plugin manager with one plugin: an entry point's name and value, or a file and None.

    Raises PluginError as `manager` does.
    """
    if value is None:
        return manager([Path(name)], with_entry_points=False)
    pm = pluggy.PluginManager(GROUP)
    pm.add_hookspecs(hookspecs)
    _register(pm, _loaded(EntryPoint(name, value, GROUP)), name)
    return pm


def _loaded(entry: EntryPoint) -> ModuleType:
    try:
        module: ModuleType = entry.load()
    except (Exception, SystemExit) as error:
        raise PluginError(f"plugin {entry.name!r} ({entry.value}): {_where(error)}") from error
    return module


def load_file(path: Path) -> ModuleType:
    """Import a plugin file that belongs to no package. Raises PluginError with file and line.

    Its folder comes to the end of the import path, so it can import modules that lie beside it.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise PluginError(f"no plugin file {path}; give the path of a .py file")
    name = f"{FILE_PREFIX}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is not a Python file; give the path of a .py file")
    add_folder(path.parent)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise PluginError(f"plugin {path} does not import: {_where(error)}") from error
    return module


def _where(error: BaseException) -> str:
    """Return the error in one line, with the file and line where it was raised."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    frame = frames[-1] if frames else None
    place = f"{frame.filename}, line {frame.lineno}: " if frame else ""
    return f"{place}{type(error).__name__}: {' '.join(str(error).split())}"


def _register(pm: pluggy.PluginManager, module: ModuleType, label: str) -> None:
    try:
        pm.register(module, name=label)
        pm.check_pending()
    except pluggy.PluginValidationError as error:
        hooks = [name for name in vars(hookspecs) if name.startswith("codecbench_register")]
        marked = [n for n, item in vars(module).items() if hasattr(item, f"{GROUP}_impl")]
        wrong = next((n for n in marked if n not in hooks), "")
        reason = f"unknown hook {wrong!r}{suggestion(wrong, hooks)}" if wrong else " ".join(str(error).split())
        raise PluginError(f"plugin {label}: {reason}") from error
    except ValueError as error:
        raise PluginError(f"plugin {label} is loaded twice; name it once") from error
    if not pm.get_hookcallers(module):
        raise PluginError(
            f"plugin {label} registers nothing; decorate a codecbench_register_... function with @hookimpl"
        )


def plugin_hooks(pm: pluggy.PluginManager) -> list[PluginHooks]:
    """Return the hooks of each plugin, in the order in which the plugins were loaded."""
    return [_hooks_of(pm, name, plugin) for name, plugin in pm.list_name_plugin()]


def codec_plugins(pm: pluggy.PluginManager) -> dict[str, PluginHooks]:
    """Return the plugin that registers each codec, by the codec's name; of several, one that is mixed."""
    found: dict[str, PluginHooks] = {}
    for name, plugin in pm.list_name_plugin():
        hooks = _hooks_of(pm, name, plugin)
        others = [other for _, other in pm.list_name_plugin() if other is not plugin]
        for codec in _results(pm.subset_hook_caller(CODECS_HOOK, remove_plugins=others)):
            found[codec.name] = found.get(codec.name, hooks) if not hooks.mixed else hooks
    return found


def _hooks_of(pm: pluggy.PluginManager, name: str, plugin: Any) -> PluginHooks:
    hooks = sorted(caller.name for caller in pm.get_hookcallers(plugin) or ())
    return PluginHooks(name, getattr(plugin, "__file__", None), tuple(hooks))


def codecs(pm: pluggy.PluginManager) -> dict[str, type[Codec]]:
    """Return the registered codec classes by name, sorted. Raises PluginError for a duplicate name or a bad class."""
    found = _collect(_registered(pm, CODECS_HOOK), "codec", Codec)
    for codec in found.values():
        _check_codec(codec)
    return found


def workloads(pm: pluggy.PluginManager) -> dict[str, type[Workload]]:
    """Return the registered workload classes by name, sorted. Raises PluginError for a duplicate or a bad class."""
    found = _collect(_registered(pm, WORKLOADS_HOOK), "workload", Workload)
    for workload in found.values():
        fault = workload_class_fault(workload)
        if fault is not None:
            raise PluginError(fault)
    return found


def links(pm: pluggy.PluginManager) -> dict[str, Link]:
    """Return the registered links by name, sorted. Raises PluginError for a duplicate name."""
    found: dict[str, Link] = {}
    for link in _registered(pm, "codecbench_register_links"):
        if not isinstance(link, Link):
            raise PluginError(f"codecbench_register_links gave {link!r}, which is not a Link")
        _add(found, link.name, link, "link")
    return dict(sorted(found.items()))


def devices(pm: pluggy.PluginManager) -> dict[str, DeviceProfile]:
    """Return the registered device profiles by name, sorted. Raises PluginError for a duplicate or reserved name."""
    found: dict[str, DeviceProfile] = {}
    for device in _registered(pm, "codecbench_register_devices"):
        if not isinstance(device, DeviceProfile):
            raise PluginError(f"codecbench_register_devices gave {device!r}, which is not a DeviceProfile")
        if device.name == HOST:
            raise PluginError(f"device name {HOST!r} stands for the machine of the records; rename the profile")
        _add(found, device.name, device, "device")
    return dict(sorted(found.items()))


def _registered(pm: pluggy.PluginManager, hook: str) -> list[Any]:
    return _results(getattr(pm.hook, hook))


def _results(caller: pluggy.HookCaller) -> list[Any]:
    """Return the items that all implementations of a hook return. Raises PluginError with file and line."""
    hook = caller.name
    try:
        results = caller()
        wrong = [result for result in results if isinstance(result, type) or not isinstance(result, Iterable)]
        if not wrong:
            return [item for result in results for item in result]
    except Exception as error:
        raise PluginError(f"{hook} failed: {_where(error)}") from error
    raise PluginError(f"{hook} gave {wrong[0]!r}; it must return a list, [{getattr(wrong[0], '__name__', '...')}]")


def _collect(items: Iterable[Any], kind: str, base: type[Any]) -> dict[str, type[Any]]:
    found: dict[str, type[Any]] = {}
    for item in items:
        if not (isinstance(item, type) and issubclass(item, base)):
            raise PluginError(f"codecbench_register_{kind}s gave {item!r}, which is not a subclass of {base.__name__}")
        name = getattr(item, "name", None)
        if not isinstance(name, str) or not name or not name.replace("-", "").replace("_", "").isalnum():
            raise PluginError(f"{class_label(item)} needs a class attribute 'name' of letters, digits and hyphens")
        reason = not_found_by_name(item)
        if reason is not None:
            raise PluginError(f"{class_location(item)}: {kind} {name!r}: {reason}")
        _add(found, name, item, kind)
    return dict(sorted(found.items()))


def _add(found: dict[str, Any], name: str, item: Any, kind: str) -> None:
    if name in found and found[name] is not item:
        both = f"{class_label(found[name])} and {class_label(item)}"
        raise PluginError(f"{kind} name {name!r} is used by {both}; rename one")
    found[name] = item


def not_found_by_name(item: type[Any]) -> str | None:
    """Return why another process cannot find this very class by its name, and the cure; None if it can.

    A class is found by the name of its module and its own. One that is made in a function, in a loop or by `type()` is
    not there, or another one is.
    """
    found: Any = sys.modules.get(item.__module__)
    for part in item.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is item:
        return None
    other = "another class has that name" if isinstance(found, type) else "nothing has that name"
    why = "it is made in a function" if "<locals>" in item.__qualname__ else f"at the top of the module, {other}"
    return (
        f"other processes cannot find its class {item.__qualname__}: {why}; define each class with a name of its own "
        "at the top of the module, and share code in a base class"
    )


def class_label(item: Any) -> str:
    """Return the name of a class, or of an instance's class, for errors: with its file if it is a single file's."""
    kind = item if isinstance(item, type) else type(item)
    module = sys.modules.get(kind.__module__)
    if kind.__module__.startswith(FILE_PREFIX) and module is not None:
        return f"{module.__file__}:{kind.__qualname__}"
    return f"{kind.__module__}.{kind.__qualname__}"


def _check_codec(codec: type[Codec]) -> None:
    if inspect.isabstract(codec):
        missing = ", ".join(sorted(codec.__abstractmethods__))
        raise PluginError(f"{class_label(codec)} does not define {missing}")
    if not isinstance(codec.version, int) or codec.version < 1:
        raise PluginError(f"{class_label(codec)} needs an integer version of at least 1, not {codec.version!r}")
    check_points(codec, codec.points)


def check_points(codec: type[Codec], points: Any) -> None:
    """Raise PluginError unless these are operating points: at least one mapping of names to JSON scalars."""
    if not isinstance(points, (tuple, list)) or not points or not all(isinstance(p, Mapping) for p in points):
        raise PluginError(f'{class_label(codec)}: points is a tuple of mappings like ({{"level": 1}},), not {points!r}')
    for point in points:
        for key, value in point.items():
            finite = not isinstance(value, float) or math.isfinite(value)
            if not isinstance(value, (bool, int, float, str)) or not finite:
                raise PluginError(
                    f"{class_label(codec)}: {key}={value!r} in a point is no JSON scalar; use a finite number or text"
                )


def source_of(item: type[Any]) -> Path:
    """Return the file that defines a class."""
    return Path(inspect.getsourcefile(item) or item.__module__).resolve()


def reference(item: type[Any]) -> str:
    """Return a text with which another process finds the class.

    It is "package.module:Class" or "path/to/file.py:Class"; of a module beside a plugin file "path/to:module:Class".
    """
    path = Path(inspect.getsourcefile(item) or "").resolve()
    try:
        spec = importlib.util.find_spec(item.__module__)
    except (ImportError, ValueError):
        spec = None
    importable = spec is not None and spec.origin is not None and Path(spec.origin).resolve() == path
    importable = importable and not item.__module__.startswith(FILE_PREFIX)
    if not importable:
        return f"{path}:{item.__qualname__}"
    folder = str(path.parents[item.__module__.count(".") + (path.name == "__init__.py")])
    return f"{f'{folder}:' if folder in added_folders() else ''}{item.__module__}:{item.__qualname__}"


def reference_file(text: str) -> str:
    """Return the file that a text of `reference` names, or the dotted module."""
    place = text.rpartition(":")[0]
    folder, _, module = place.rpartition(":")
    return f"{Path(folder, *module.split('.'))}.py" if folder else place


def resolve(text: str) -> Any:
    """Return the class that a text of `reference` names. Raises PluginError if there is none."""
    place, _, qualname = text.rpartition(":")
    folder, _, place = place.rpartition(":")
    if folder:
        add_folder(Path(folder))
    try:
        item: Any = load_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except ImportError as error:
        raise PluginError(f"module {place} does not import: {_where(error)}") from error
    for part in qualname.split("."):
        item = getattr(item, part, None)
    if not isinstance(item, type):
        raise PluginError(f"{place} defines no class {qualname}")
    return item


def named_file(codec: str) -> Path | None:
    """Return the file in the current folder that `codecbench new-codec` writes for a codec of this name, or None."""
    file = Path(f"{codec.replace('-', '_')}.py")
    return file if file.is_file() else None
