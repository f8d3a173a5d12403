"""Files that users edit or that are damaged, changed at random: a command works, or ends with one line and status 2."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.cli import Ended, put
from support.factories import make_layers
from support.paths import DATA

from codecbench.cli.main import main
from codecbench.errors import DataError, UsageError
from codecbench.experiment.config import DEFAULT_WORKLOAD, load
from codecbench.fitting import states
from codecbench.links.files import read_pairs, to_json
from codecbench.links.model import TcpRampLink, TraceLink
from codecbench.results.store import Store


def examples(count: int) -> settings:
    return settings(
        max_examples=count, deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )  # fmt: skip


PIECES = st.sampled_from(
    [
        b"", b'"', b"[", b"[" * 3000, b"{}", b"\0", b"\xff", b"\xff\xfe", b"\n", b"\r", b",", b";", b"\t", b"#", b"-",
        b"=", b" ", b"1e400", b"NaN", b"null", b"true", b"9" * 400, b"9" * 5000, b"0.0",
    ]
)  # fmt: skip


@st.composite
def edited(draw: st.DrawFn, content: bytes) -> bytes:
    """The content with up to three pieces put in the place of short stretches of it."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content)))
        end = min(len(content), at + draw(st.integers(0, 12)))
        content = content[:at] + draw(PIECES | st.binary(max_size=4)) + content[end:]
    return content


ODD = st.sampled_from(
    [None, True, -1, 0, 10**12, 10**400, 1e-320, 1e308, -1e308, "", "x", "1", [], [1], {}, {"a": 1}, "\n", "\ud800"]
)


def paths_of(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value within plain JSON values."""
    pairs = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in pairs:
        yield (*path, key)
        yield from paths_of(value, (*path, key))


@st.composite
def altered(draw: st.DrawFn, values: Any) -> bytes:
    """JSON of the values, of which one or two are others, missing, or there under another name."""
    changed = copy.deepcopy(values)
    for _ in range(draw(st.integers(1, 2))):
        *above, last = draw(st.sampled_from(list(paths_of(changed))))
        place = changed
        for key in above:
            place = place[key]
        match draw(st.integers(0, 9)):
            case 0 if isinstance(place, dict):
                del place[last]
            case 1 if isinstance(place, dict):
                place["other"] = place.pop(last)
            case _:
                place[last] = draw(ODD)
        if not list(paths_of(changed)):
            break
    return json.dumps(changed).encode()


def command(*words: str | Path) -> Ended:
    """Run a command and return how it ended: not by an internal error, and an error takes one line."""
    status, out, err = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            status = int(end.code or 0)
    ended = Ended(status, out.getvalue(), err.getvalue())
    assert ended.status in (0, 1, 2), ended.err
    assert ended.status != 2 or len(ended.err.splitlines()) == 1, ended.err
    return ended


CONFIG = b"""workload = "tiny"
codec = ["raw", "steady:bits=16"]
split = ["stem"]
preset = "full"
samples = 12
seed = 3
plugin = ["a.py"]
out = "results"
timeout_s = 1.5
"""


@given(st.data())
@examples(60)
def test_configurations(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(data.draw(edited(CONFIG)))
    with contextlib.suppress(UsageError):
        load(path, {})


LINKS = [
    TcpRampLink("l", 0.01, 8e6, description="of a test").with_background(0.2),
    TraceLink("t", [0, 3, 3, 9], latency_s=0.1, opportunity_bytes=700.5),
]


@given(st.data())
@examples(60)
def test_files_of_links(tmp_path: Path, data: st.DataObject) -> None:
    text = to_json(data.draw(st.sampled_from(LINKS)))
    path = tmp_path / "l.json"
    path.write_bytes(data.draw(edited(text.encode()) | altered(json.loads(text))))
    command("link", "show", path)


@given(st.data())
@examples(30)
def test_traces(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "t.trace"
    path.write_bytes(data.draw(edited(b"0\n3\n3\n19\n")))
    command("link", "show", path)


PAIRS = b'note,bytes,ms\na,1000,1.5\nb,2000,2\n"c,d",30000,4e0\n# e\nf,4,0.5\ng,500000,60\n'


@given(st.data())
@examples(60)
def test_pairs(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(data.draw(edited(PAIRS)))
    with contextlib.suppress(DataError):
        sizes, ms = read_pairs(path)
        assert len(sizes) == len(ms)


@pytest.fixture(scope="module")
def kept_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a record of each age, of which those before schema 3 have no digest that tells a change."""
    out = tmp_path_factory.mktemp("records")
    put(out, codec="beta", workload=DEFAULT_WORKLOAD)
    Store(out).write_layers(DEFAULT_WORKLOAD, make_layers())
    return out


COMMANDS = (
    ["table"], ["table", "--kind", "latency"], ["table", "--kind", "points", "--format", "csv"],
    ["table", "--kind", "training"], ["table", "--kind", "bd-rate"], ["plan"],
    ["report", "--no-figures"], ["export", "all.csv"],
)  # fmt: skip


@given(st.data())
@examples(60)
def test_records(tmp_path: Path, kept_folder: Path, monkeypatch: pytest.MonkeyPatch, data: st.DataObject) -> None:
    monkeypatch.chdir(tmp_path)
    values = json.loads((DATA / f"record-v{data.draw(st.integers(1, 3))}.json").read_text())
    values["key"]["workload"] = DEFAULT_WORKLOAD
    path = kept_folder / DEFAULT_WORKLOAD / "input" / "changed-0123456789ab.json"
    path.write_bytes(data.draw(altered(values) | edited(json.dumps(values).encode())))
    command(*data.draw(st.sampled_from(COMMANDS)), "--out", kept_folder)


@given(st.data())
@examples(15)
def test_descriptions_of_layers(tmp_path: Path, data: st.DataObject) -> None:
    put(tmp_path / "out", workload=DEFAULT_WORKLOAD)
    store = Store(tmp_path / "out")
    store.write_layers(DEFAULT_WORKLOAD, make_layers())
    (path,) = store.out.rglob("layers.json")
    text = path.read_bytes()
    path.write_bytes(data.draw(edited(text) | altered(json.loads(text))))
    command("table", "--kind", "latency", "--device", "raspberry-pi-4", "--out", store.out)


class Marks:
    """An object whose pickle, when it is loaded, makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@given(st.data())
@examples(30)
def test_states_are_read_or_not_there(tmp_path: Path, data: st.DataObject) -> None:
    path = states.keep("key", states.FittedState(b"device", b"edge", 1.0, {"codec": "a"}), tmp_path)
    path.write_bytes(data.draw(edited(path.read_bytes())))
    found = states.read(tmp_path, "key")
    assert found is None or (found.device, found.edge) == (b"device", b"edge")


@given(st.data())
@examples(30)
def test_tensors_of_states_are_read_or_refused(data: st.DataObject) -> None:
    from codecbench.toolbox.learning.state import State

    about = np.frombuffer(b'{"a": 1}', np.uint8)
    content = safetensors.numpy.save({"about": about, "w": np.ones((2, 3), np.float32)})
    with contextlib.suppress(ValueError):
        assert isinstance(State.from_bytes(data.draw(edited(content))).about, dict)


def test_no_state_runs_code(tmp_path: Path) -> None:
    """Neither where a state is read, nor where a codec takes it."""
    from codecbench.toolbox.learning.state import State

    mark = tmp_path / "ran"
    harmful = pickle.dumps(Marks(mark))
    with zipfile.ZipFile(tmp_path / "key.zip", "w") as packed:
        for name in ("device", "edge", "state.json", "about.json", "info.json"):
            packed.writestr(name, harmful)
    assert states.read(tmp_path, "key") is None
    with pytest.raises(ValueError, match="no state of a learned codec"):
        State.from_bytes(harmful)
    record = tmp_path / "out" / "w" / "s" / "a-0123456789ab.json"
    record.parent.mkdir(parents=True)
    record.write_bytes(harmful)
    assert command("table", "--out", tmp_path / "out").status == 2
    assert not mark.exists()
    pickle.loads(harmful)  # it would have made its mark
    assert mark.exists()
