"""Plugins load from entry points and single files, and every mistake in one is named with its place and its cure."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from codecbench.codec import Codec
from codecbench.errors import PluginError, UsageError
from codecbench.links.model import Link
from codecbench.names import pick, suggestion
from codecbench.registry import (
    PluginHooks,
    codec_plugins,
    codecs,
    links,
    load_file,
    manager,
    plugin_hooks,
    reference,
    resolve,
    workloads,
)

HEAD = """
from codecbench import Codec, TcpRampLink, hookimpl

class Same(Codec):
    name = "same"
    def encode(self, x): return x.numpy().tobytes()
    def decode(self, payload): return self.spec.from_buffer(payload)
"""
HOOK = """
@hookimpl
def codecbench_register_codecs():
    return [Same]
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a plugin file."""

    def write(*parts: str, name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(textwrap.dedent(part) for part in parts))
        return path

    return write


def found_in(*files: Path) -> dict[str, type[Codec]]:
    return codecs(manager(files, with_entry_points=False))


def refused(*files: Path) -> str:
    with pytest.raises(PluginError) as caught:
        found_in(*files)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what loads -----------------------------------------------------------------------------------------------------


def test_the_builtin_codecs_workloads_and_links_come_through_entry_points() -> None:
    pm = manager()
    assert {"raw", "interpolation", "jpeg-huffman", "quant-huffman"} <= set(codecs(pm))
    assert "cifar10-resnet20" in workloads(pm)
    assert "wifi-450" in links(pm)
    assert list(codecs(pm)) == sorted(codecs(pm))


def test_a_single_file_loads_beside_the_installed_ones(write: Write) -> None:
    found = codecs(manager([write(HEAD, HOOK)]))
    assert {"same", "raw"} <= set(found)


def test_each_manager_is_a_fresh_one(write: Write) -> None:
    manager([write(HEAD, HOOK)])
    assert "same" not in codecs(manager())


def test_a_link_is_registered_by_its_hook(write: Write) -> None:
    hook = """
        @hookimpl
        def codecbench_register_links():
            return [TcpRampLink("slow", round_trip_s=0.1, bandwidth_bit_per_s=1e6)]
    """
    found = links(manager([write(HEAD, hook)], with_entry_points=False))
    assert isinstance(found["slow"], Link)


WORKLOAD_HOOK = """
@hookimpl
def codecbench_register_workloads():
    return []
"""


def test_the_hooks_of_each_plugin_are_known(write: Write) -> None:
    single, both = write(HEAD, HOOK), write(HEAD.replace("same", "other"), HOOK, WORKLOAD_HOOK, name="both.py")
    pm = manager([single, both], with_entry_points=False)
    assert plugin_hooks(pm) == [
        PluginHooks(str(single), str(single.resolve()), ("codecbench_register_codecs",)),
        PluginHooks(str(both), str(both.resolve()), ("codecbench_register_codecs", "codecbench_register_workloads")),
    ]
    assert [plugin.mixed for plugin in plugin_hooks(pm)] == [False, True]
    assert codec_plugins(pm) == dict(zip(("same", "other"), plugin_hooks(pm), strict=True))
    for plugin in plugin_hooks(manager([single, both])):
        assert PluginHooks.from_json(json.loads(json.dumps(plugin.to_json()))) == plugin
    installed = {plugin.name: plugin for plugin in plugin_hooks(manager())}
    assert installed["cifar10"].hooks == ("codecbench_register_workloads",)
    assert not any(plugin.mixed for plugin in installed.values())


def test_a_codec_that_two_plugins_register_is_mixed_if_one_is(write: Write) -> None:
    write(HEAD, name="shared_by_two.py")
    taken = "from codecbench import hookimpl\nfrom shared_by_two import Same\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(write(taken, HOOK, WORKLOAD_HOOK, name="a.py").parent))
        pm = manager([write(taken, HOOK, WORKLOAD_HOOK, name="a.py"), write(taken, HOOK, name="b.py")])
    assert codec_plugins(pm)["same"].mixed


def test_listing_imports_no_torch() -> None:
    code = (
        "import sys; from codecbench.registry import codecs, links, manager, workloads; pm = manager();"
        "codecs(pm), workloads(pm), links(pm);"
        "print({'torch', 'scipy', 'skimage', 'PIL', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


# --- what does not --------------------------------------------------------------------------------------------------


def test_a_name_used_twice_names_both_sides(write: Write) -> None:
    first, second = write(HEAD, HOOK, name="first.py"), write(HEAD, HOOK, name="second.py")
    message = refused(first, second)
    assert message.startswith("codec name 'same' is used by ")
    assert message.endswith("; rename one")
    assert f"{first.resolve()}:Same" in message
    assert f"{second.resolve()}:Same" in message


def test_a_name_of_an_installed_codec_is_taken(write: Write) -> None:
    path = write(HEAD.replace('"same"', '"raw"'), HOOK)
    with pytest.raises(PluginError, match=r"'raw' is used by .*mine\.py:Same and codecbench_plugins\.raw\.Raw"):
        codecs(manager([path]))


def test_the_same_file_named_twice(write: Write) -> None:
    path = write(HEAD, HOOK)
    assert "is loaded twice; name it once" in refused(path, path)


def test_a_misspelt_hook_is_named_with_the_right_one(write: Write) -> None:
    path = write(HEAD, "codecbench_helper = 1", HOOK.replace("register_codecs", "register_codec"))
    assert refused(path) == (
        f"plugin {path}: unknown hook 'codecbench_register_codec'; did you mean 'codecbench_register_codecs'?"
    )


def test_a_hook_with_an_argument_too_many(write: Write) -> None:
    path = write(HEAD, "codecbench_helper = 1", HOOK.replace("codecs()", "codecs(config)"))
    assert "config" in refused(path)
    assert "codecbench_helper" not in refused(path)


def test_a_plugin_without_a_marked_hook_registers_nothing(write: Write) -> None:
    path = write(HEAD, HOOK.replace("@hookimpl", ""))
    assert refused(path) == (
        f"plugin {path} registers nothing; decorate a codecbench_register_... function with @hookimpl"
    )


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("x = 1\nraise ValueError('two\\nlines')", "line 2: ValueError: two lines"),
        ("import no_such_package", "line 1: ModuleNotFoundError: No module named 'no_such_package'"),
        ("def f(:\n    pass", "line 1: invalid syntax"),
        ("import sys\n\nsys.exit('run me not')", "line 3: SystemExit: run me not"),
    ],
)
def test_an_import_error_names_file_and_line(write: Write, source: str, reason: str) -> None:
    path = write(source)
    message = refused(path)
    assert message.startswith(f"plugin {path.resolve()} does not import: {path.resolve()}, ")
    assert message.endswith(reason)


def test_a_broken_installed_plugin_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("theirs", "no_such_package.plugin", "codecbench")
    monkeypatch.setattr("codecbench.registry.entry_points", lambda group: [entry])
    with pytest.raises(PluginError, match=r"plugin 'theirs' \(no_such_package\.plugin\): .*No module named"):
        manager()


def test_a_missing_file(tmp_path: Path) -> None:
    assert "no plugin file" in refused(tmp_path / "nowhere.py")


def test_a_file_that_is_no_python(write: Write) -> None:
    assert "is not a Python file" in refused(write("name: mine", name="mine.yaml"))


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ("Same", "it must return a list, [Same]"),
        ("[Same()]", "codecbench_register_codecs failed: "),
        ("['same']", "gave 'same', which is not a subclass of Codec"),
        ("[int]", "which is not a subclass of Codec"),
        ("5", "gave 5; it must return a list"),
    ],
)
def test_a_hook_that_gives_no_list_of_classes(write: Write, result: str, reason: str) -> None:
    assert reason in refused(write(HEAD, HOOK.replace("[Same]", result)))


MADE = {
    "in a loop": ("""
for n in (1, 2):
    class Looped(Same):
        name = f"looped-{n}"
    ALL = [*globals().get("ALL", ()), Looped]
""", "ALL", "line 11: codec 'looped-1'", "Looped: at the top of the module, another class has that name"),
    "by a function": ("""
def make():
    class Made(Same):
        name = "made"
    return Made
""", "[make()]", "line 11: codec 'made'", "make.<locals>.Made: it is made in a function"),
    "by type()": ("""
def extra(self):
    return 1
""", '[type("Typed", (Same,), {"name": "typed", "extra": extra})]', "line 10: codec 'typed'",
        "Typed: at the top of the module, nothing has that name"),
    "by type(), with the name of another": ("", '[type("Same", (Same,), {"name": "typed"})]', "line 4: codec 'typed'",
        "Same: at the top of the module, nothing has that name"),
    "and replaced by a decorator": ("""
def slower(kind):
    return type(kind)(kind.__name__ + "Slow", (kind,), {"name": "slow"})
@slower
class Fast(Same):
    name = "fast"
""", "[Fast]", "line 12: codec 'slow'", "FastSlow: at the top of the module, nothing has that name"),
    "and overwritten": ("""
class Two(Same):
    name = "first"
First = Two
class Two(Same):
    name = "second"
""", "[First]", "line 10: codec 'first'", "Two: at the top of the module, another class has that name"),
}  # fmt: skip


@pytest.mark.parametrize("made", MADE)
def test_a_class_that_no_other_process_finds_is_refused_with_its_line_and_the_cure(write: Write, made: str) -> None:
    source, registered, place, reason = MADE[made]
    path = write(HEAD, source, HOOK.replace("[Same]", registered))
    message = refused(path)
    assert message.startswith(str(path.resolve()))
    assert place in message
    assert f"other processes cannot find its class {reason}; define each class with a name of its own" in message


def test_a_workload_made_in_a_loop_is_refused(write: Write) -> None:
    source = """
from codecbench import hookimpl
from support.workloads.tiny import Tiny
FOUND = []
for n in (1, 2):
    class Sized(Tiny):
        name = f"sized-{n}"
    FOUND.append(Sized)
"""
    path = write(source, WORKLOAD_HOOK.replace("[]", "FOUND"))
    with pytest.raises(PluginError, match=r"mine\.py, line 6: workload 'sized-1': other processes cannot find"):
        workloads(manager([path], with_entry_points=False))


def test_nested_aliased_and_imported_classes_are_found_by_their_own_names(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
class Family:
    class Member(Same):
        name = "member"
Alias = Same
"""
    monkeypatch.syspath_prepend(str(write(HEAD.replace('"same"', '"elsewhere"'), name="another_home.py").parent))
    taken = "from another_home import Same as Elsewhere"
    path = write(HEAD, source, taken, HOOK.replace("[Same]", "[Family.Member, Alias, Elsewhere]"))
    found = found_in(path)
    assert list(found) == ["elsewhere", "member", "same"]
    assert all(resolve(reference(kind)) is kind for kind in found.values())


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('name = "same"', "pass", "needs a class attribute 'name'"),
        ('name = "same"', 'name = "a b"', "of letters, digits and hyphens"),
        ("def decode", "def decoed", "Same does not define decode"),
        ('name = "same"', 'name, version = "same", "2"', "needs an integer version of at least 1, not '2'"),
        ('name = "same"', 'name, points = "same", ({"level": 1})', "points is a tuple of mappings"),
        ('name = "same"', 'name, points = "same", ()', "points is a tuple of mappings"),
        ('name = "same"', 'name, points = "same", ({"size": (1, 2)},)', "size=(1, 2) in a point is no JSON scalar"),
        ('name = "same"', 'name, points = "same", ({"size": float("inf")},)', "size=inf in a point is no JSON scalar"),
    ],
)
def test_a_class_that_cannot_be_used(write: Write, old: str, new: str, reason: str) -> None:
    path = write(HEAD.replace(old, new), HOOK)
    assert f"{path.resolve()}:Same" in refused(path)
    assert reason in refused(path)


# --- finding again --------------------------------------------------------------------------------------------------


def test_references_resolve_to_the_class_they_name(write: Write) -> None:
    single = found_in(write(HEAD, HOOK))["same"]
    installed = codecs(manager())["raw"]
    assert reference(installed) == "codecbench_plugins.raw:Raw"
    assert reference(single).endswith("mine.py:Same")
    assert resolve(reference(installed)) is installed
    assert resolve(reference(single)) is single


def test_a_reference_to_a_file_holds_in_another_process(write: Write) -> None:
    single = found_in(write(HEAD, HOOK))["same"]
    code = "import sys; from codecbench.registry import resolve; print(resolve(sys.argv[1]).name)"
    done = subprocess.run(
        [sys.executable, "-c", code, reference(single)], check=True, capture_output=True, text=True, cwd="/"
    )
    assert done.stdout == "same\n"


@pytest.mark.parametrize("text", ["codecbench_plugins.raw:Rwa", "codecbench_plugins.rwa:Raw", "/nowhere/mine.py:Same"])
def test_a_reference_to_nothing(text: str) -> None:
    with pytest.raises(PluginError):
        resolve(text)


def test_loading_a_file_twice_gives_the_same_module(write: Write) -> None:
    path = write(HEAD, HOOK)
    assert load_file(path) is load_file(path.parent / "." / path.name)


def test_pick_suggests_the_nearest_or_lists_what_there_is() -> None:
    catalogue = {"raw": int, "zlib": str}
    assert pick(catalogue, "raw", "codec") is int
    with pytest.raises(UsageError, match=r"no codec 'zilb'; did you mean 'zlib'\?"):
        pick(catalogue, "zilb", "codec")
    with pytest.raises(UsageError, match="no codec 'qqq'; there are: raw, zlib"):
        pick(catalogue, "qqq", "codec")
    with pytest.raises(UsageError, match="there are: none"):
        pick({}, "raw", "codec")
    assert suggestion("stage", ["stage1"]) == "; did you mean 'stage1'?"
    assert suggestion("xyz", ["stage1"]) == ""


def test_the_only_name_that_begins_so_is_suggested() -> None:
    names = ["cifar10-resnet20", "raw", "stage1", "stage2"]
    assert suggestion("cifar", names) == "; did you mean 'cifar10-resnet20'?"
    assert suggestion("cifar1-resnet", names) == "; did you mean 'cifar10-resnet20'?"
    assert suggestion("ci", names) == ""
