"""Codecs that cheat are caught, or get an honest codec's number: in a run with all its processes, and by the kit.

docs/reference/kit.md has the same in a table.
"""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.paths import CHEATS, CLOCK_CHEATS, IMPORT_CHEATS, NO_KERNEL_SEAL, ROOT, TINY
from support.prepared import PreparedServer

from codecbench.codec import TensorSpec
from codecbench.errors import CodecFailure, WorkerDied, WorkerError
from codecbench.experiment.config import RunConfig
from codecbench.experiment.progress import Silence
from codecbench.harness.run import Run
from codecbench.results.record import Record
from codecbench.results.store import Store
from codecbench.workers import launch
from codecbench.workers.codec_client import CodecClient
from codecbench.workers.forks import CodecProcesses
from codecbench.workers.protocol import Reply

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the seal by the kernel is a part of Linux")

RAW_BYTES = 6 * 4 * 4 * 4
"""The size of the tensor at the split, float32."""
WORK_S = 0.005
"""The processor time that every codec of CLOCK_CHEATS takes for a step."""
HONEST = {"plain": {}, "deflated-on-threads": {}, "slow": {}, "raw": {"values": "float32"}, "quant-huffman": {}}
"""Codecs that nothing may change, from the files of the cheats and from elsewhere."""

REFUSED = "the seal refused it|GuardError"
SEALED_OFF = {
    "semaphores-python": REFUSED, "semaphores-native": REFUSED, "fifo-python": REFUSED, "fifo-native": REFUSED,
    "shared-memory-python": REFUSED, "shared-memory-native": REFUSED, "system-v-memory": REFUSED,
    "socket-python": REFUSED, "socket-native": REFUSED, "file-python": REFUSED, "file-native": REFUSED,
    "file-named-like-module": REFUSED, "file-torch": REFUSED, "file-arrow": REFUSED,
    "labels-of-module": "cannot read test.json", "labels-of-file": REFUSED, "labels-of-plugin": REFUSED,
}  # fmt: skip
"""Codecs with a point `careful`, and why they fail without it. With it they send the values, and a byte more."""
HIDDEN = "encode reported .* ms, (took .* ms|and .* ms more were worked in the step)"
"""Round trips tell of hidden time on a machine that is free, processor times on a crowded one, too."""
FAILS = {
    "lock": REFUSED,
    "priority": REFUSED,
    "memory-of-another-process": REFUSED,
    "needs-a-file": "put what a side needs into export",
    "exit-status": "the encoder process ended with status 3",
    "text-of-error": "^encode: ValueError",
    "number-of-payloads": "encode_batch gave no list of .* payloads",
    "shape-of-tensor": "decode gave the wrong tensor",
    "attribute-of-payload": "no attribute 'values'",
    "labels-of-points-bold": "asked about this tensor, the codec raised DataError: cannot read test.json",
    "joint-batch": "gives other bytes than those that were scored",
    "two-faces": "gives other bytes than those that were scored",
    "remembers": "gives other bytes than those that were scored",
    "fast-alone": "gives other bytes than those that were scored",
    "clock-timed": HIDDEN,
    "clock-of-process": HIDDEN,
    "clock-of-two-in-three": "encode reported .* ms, and .* ms more were worked in the step",
    "clock-of-empty-round-trip": HIDDEN,
    "clock-forged": "the encoder process sent a reply that makes no sense",
    "work-when-holding": "encode reported .* ms, and .* ms more were worked outside the step",
    "work-when-taken": "decode reported .* ms, and .* ms more were worked outside the step",
}
"""Why the others fail."""
HONEST_NUMBER = {
    "labels-in-memory": RAW_BYTES + 1, "labels-of-points": RAW_BYTES + 1, "labels-of-fit": RAW_BYTES + 1,
    "labels-at-import": RAW_BYTES, "positions-of-descriptors": RAW_BYTES, "bound": RAW_BYTES, "a-saboteur": RAW_BYTES,
}  # fmt: skip
"""Codecs that find nothing, and the payload that they send then."""
HONEST_TIME = ("slow", "clock-of-harness", "clock-of-python", "cache")
"""Codecs whose reported times are true."""
EITHER = {
    "access-times": "Heard: heard",
    "work-of-thread": "encode reported .* ms, (and .* ms more were worked (outside|in) the step|took .* ms)",
}  # fmt: skip

NATIVE = (
    "semaphores-native", "shared-memory-native", "system-v-memory", "file-native", "file-named-like-module",
    "file-torch", "file-arrow",
)  # fmt: skip
"""Ways that the audit hook alone leaves open."""
NEED_ENCODER = ("fifo-native", "socket-native")
"""Ways that it leaves open, but that end with the encoder: in the timing pass, no decoder starts before that."""
LEAKS = ("labels-of-file", "labels-of-plugin")
"""Files that it lets be read: by native calls, and modules."""
HINTS = ("lock", "priority", "memory-of-another-process")
"""Native calls that it does not see."""


Found = Mapping[tuple[str, int | None], Record]


def names_in(*files: Path) -> list[str]:
    return [name for file in files for name in re.findall(r'^    name = "(.+?)"$', file.read_text(), re.MULTILINE)]


def copied(folder: Path, plugins: Iterable[Path]) -> list[Path]:
    """Copies of the workload's file and of plugin files, in folders that are not on the import path."""
    copies = []
    for path in (TINY, *plugins):
        copies.append(folder / path.parent.name / path.name)
        copies[-1].parent.mkdir(exist_ok=True)
        copies[-1].write_bytes(path.read_bytes())
    return copies


def results_of(out: Path, codecs: list[str], plugins: tuple[Path, ...]) -> Found:
    """The records of a run by the name of the codec and its argument `careful`."""
    config = RunConfig(
        workload="tiny", samples=32, split=["stem"], codec=codecs, plugin=copied(out.parent, plugins), out=out
    )
    with Store(out).locked(), Run(config, Silence()) as run:
        run.execute()
    return {(r.key.codec, _careful(r.key.point)): r for r in Store(out).records()}


def _careful(point: Mapping[str, Any]) -> int | None:
    return point.get("careful")


@pytest.fixture(autouse=True, scope="module")
def _left_behind() -> Iterator[None]:
    """Remove what cheats leave on the machine where nothing stops them."""
    yield
    for folder, pattern in (("/var/tmp", "codecbench-cheat-*"), ("/dev/shm", "*codecbench-cheat-*")):
        for path in Path(folder).glob(pattern):
            path.unlink()
    for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]:
        _, identifier, _, size, *_ = map(int, line.split()[:4])
        if size == RAW_BYTES:
            ctypes.CDLL(None).shmctl(identifier, 0, None)


FAST = (
    "semaphores-python", "file-native", "labels-of-module", "joint-batch", "two-faces", "clock-timed",
    "work-when-holding", "clock-forged", "labels-in-memory", "labels-at-import", "clock-of-harness",
    "a-saboteur", "text-of-error",
)  # fmt: skip
"""One of each kind; --run-slow runs all."""


def kinds(names: Iterable[str]) -> list[Any]:
    """Parameters of these codecs; those that are not among the fast ones are slow."""
    return [pytest.param(name, marks=() if name in (*FAST, *HONEST) else pytest.mark.slow) for name in names]


FILES = (CHEATS, CLOCK_CHEATS, IMPORT_CHEATS)
OTHERS = [name for name in HONEST if name in ("raw", "quant-huffman")]


@pytest.fixture(scope="module")
def cheated(
    prepared_server: PreparedServer, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Found:
    chosen = names_in(*FILES) if request.config.getoption("--run-slow") else [*FAST, *HONEST]
    codecs = [name for name in chosen if name not in ("half-reply", *OTHERS)] + OTHERS
    with pytest.MonkeyPatch.context() as patch:
        prepared_server.share(patch)  # codec processes seal themselves in any case
        found = results_of(tmp_path_factory.mktemp("cheated") / "out", codecs, FILES)
    if found["plain", None].provenance.isolation != "kernel":
        pytest.skip("this machine or container cannot seal processes by the kernel")
    return found


@pytest.fixture(scope="module")
def undisturbed(prepared_server: PreparedServer, tmp_path_factory: pytest.TempPathFactory) -> Found:
    with pytest.MonkeyPatch.context() as patch:
        prepared_server.share(patch)
        return results_of(tmp_path_factory.mktemp("undisturbed") / "out", list(HONEST), (CHEATS, CLOCK_CHEATS))


def test_every_cheat_has_its_line_here():
    listed = {*SEALED_OFF, *FAILS, *HONEST_NUMBER, *HONEST_TIME, *EITHER, *HONEST, "half-reply"}
    assert set(names_in(*FILES)) - listed == set()


@pytest.mark.parametrize("name", kinds(SEALED_OFF))
def test_a_way_beside_the_payload_is_closed(cheated, name):
    record = cheated[name, 0]
    assert record.status == "failed"
    assert re.search(SEALED_OFF[name], record.reason or "")


@pytest.mark.parametrize("name", kinds(SEALED_OFF))
def test_who_finds_it_closed_pays_the_honest_price(cheated, name):
    record = cheated[name, 1]
    assert record.status == "ok", record.reason
    assert record.size.payload_bytes.mean == RAW_BYTES + 1


@pytest.mark.parametrize("name", kinds(FAILS))
def test_a_cheat_fails_its_cell(cheated, name):
    (record,) = (r for (codec, _), r in cheated.items() if codec == name)
    assert record.status == "failed"
    assert re.search(FAILS[name], record.reason or ""), record.reason


@pytest.mark.parametrize("name", kinds(HONEST_NUMBER))
def test_a_cheat_gets_an_honest_size(cheated, name):
    (record,) = (r for (codec, careful), r in cheated.items() if codec == name and careful in (None, 1))
    assert record.status == "ok", record.reason
    assert record.size.payload_bytes.mean == HONEST_NUMBER[name]


@pytest.mark.parametrize("name", kinds(HONEST_TIME))
def test_a_cheat_gets_an_honest_time(cheated, name):
    record = cheated[name, None]
    assert record.status == "ok", record.reason
    assert record.time.encode_s.median >= WORK_S
    assert record.time.decode_s.median >= WORK_S


@pytest.mark.parametrize("name", kinds(EITHER))
def test_a_cheat_whose_luck_decides_is_caught_or_honest(cheated, name):
    """A thread may not get to the sample in time, and a file system may keep no times of access."""
    for (codec, _), record in cheated.items():
        if codec == name and record.status == "failed":
            assert re.search(EITHER[name], record.reason or ""), record.reason
        elif codec == name and name.startswith("work"):
            assert record.time.encode_s.median >= WORK_S / 2
        elif codec == name:
            assert record.size.payload_bytes.mean >= RAW_BYTES


@pytest.mark.parametrize("name", HONEST)
def test_no_cheat_changes_another_codecs_payloads_or_outcomes(cheated, undisturbed, name):
    pairs = [(record, cheated[key]) for key, record in undisturbed.items() if key[0] == name]
    assert pairs
    for alone, beside in pairs:
        assert (alone.status, alone.reason) == (beside.status, beside.reason) == ("ok", None)
        assert alone.digests == beside.digests
        assert (alone.size, alone.task) == (beside.size, beside.task)


# --- what else a codec may send ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def processes() -> Iterator[CodecProcesses]:
    """Processes of codecs that say what they like."""
    with CodecProcesses([CLOCK_CHEATS]) as started:
        yield started


def test_half_a_reply_costs_its_own_cell(monkeypatch, processes):
    monkeypatch.setattr(launch, "STALL_S", 1)
    with CodecClient(processes.start()) as client:
        client.open(f"{CLOCK_CHEATS}:HalfReply", TensorSpec((4,)), {}, "device")
        with pytest.raises(WorkerDied, match=r"^the encoder process stopped within a reply$"):
            client.encode_samples([np.zeros(4, np.float32)])


@pytest.mark.parametrize(
    "fields",
    [{"seconds": float("nan")}, {"seconds": -1.0}, {"seconds": None}, {}],
    ids=["no number", "negative", "null", "nothing"],
)
def test_a_reply_without_sense_is_the_codecs_failure(monkeypatch, processes, fields):
    with CodecClient(processes.start()) as client:
        client.open(f"{CLOCK_CHEATS}:Slow", TensorSpec((4,)), {}, "device")
        call = client.call
        monkeypatch.setattr(
            client, "call", lambda op, *args, **kw: Reply(fields, []) if op == "step" else call(op, *args, **kw)
        )
        with pytest.raises(CodecFailure, match=r"^the encoder process sent a reply that makes no sense$"):
            client.encode_timed(np.zeros(4, np.float32))


def test_what_seals_a_process_is_known_before_a_codec_is_loaded(processes):
    """A codec could change what its process says of itself."""
    for request, answer in (("seal", {"side": "device", "tensors": None, "threads": 1}), ("ping", {})):
        with CodecClient(processes.start()) as client:
            client.call(request, answer)
            opened = {"codec": f"{CLOCK_CHEATS}:Slow", "spec": TensorSpec((4,)).to_json(), "point": {}}
            if request == "seal":
                assert client.call("open", {**opened, "side": "device"}, [b""]).fields == {}
            else:
                with pytest.raises(WorkerError, match="a codec is loaded in a sealed process only"):
                    client.call("open", {**opened, "side": "device"}, [b""])


# --- a kernel without Landlock and seccomp ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """A run with the audit hook alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(NO_KERNEL_SEAL)
        return results_of(tmp_path_factory.mktemp("hooked") / "out", ["plain", *SEALED_OFF, *HINTS], (CHEATS,))


@pytest.mark.slow
def test_a_run_without_the_kernels_seal_says_so(hooked):
    assert {record.provenance.isolation for record in hooked.values()} == {"audit"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SEALED_OFF)
def test_the_audit_hook_alone_sees_pythons_functions_and_no_native_call(hooked, name):
    record = hooked[name, 0]
    if name in NATIVE:
        assert record.status == "ok", record.reason
        assert record.size.payload_bytes.mean == 5
    elif name in NEED_ENCODER:
        assert record.status == "failed"
        assert "decode: " in (record.reason or "")
    elif name in LEAKS:
        assert record.size.payload_bytes.mean == 1
    else:
        assert record.status == "failed"
        assert re.search(SEALED_OFF[name], record.reason or ""), record.reason


@pytest.mark.slow
@pytest.mark.parametrize("name", HINTS)
def test_the_audit_hook_alone_sees_no_native_hint(hooked, name):
    assert "GuardError" not in (hooked[name, None].reason or "")


# --- the kit ----------------------------------------------------------------------------------------------------------

CHECKS = """
import json, sys
from pathlib import Path
from codecbench import registry
from codecbench.codec import TensorSpec
from codecbench.testing import run_checks

found = {}
for name, codec in registry.codecs(registry.manager([Path(sys.argv[1])])).items():
    if name in sys.argv[2:]:
        outcomes = run_checks(codec, specs=[TensorSpec((4, 8, 8))])
        found[name] = [outcome.check for outcome in outcomes if outcome.status == "failed"]
print(json.dumps(found))
"""


def checked(file: Path, *names: str) -> dict[str, list[str]]:
    """The checks that each codec fails. They run in a process of their own: the kit runs codecs in its process."""
    done = subprocess.run([sys.executable, "-c", CHECKS, file, *names], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_the_kit_finds_ways_beside_the_payload():
    names = SEALED_OFF.keys() - {"labels-of-plugin"}  # the kit has no workload
    found = checked(CHEATS, *names)
    assert [name for name, failed in found.items() if not failed] == []
    assert found.keys() == names


@pytest.mark.slow
def test_the_kit_finds_codecs_that_are_not_what_they_seem():
    names = ("two-faces", "joint-batch", "remembers", "number-of-payloads", "shape-of-tensor", "attribute-of-payload")
    found = checked(CHEATS, "plain", "deflated-on-threads", *names)
    assert {name: found[name] for name in ("plain", "deflated-on-threads")} == {"plain": [], "deflated-on-threads": []}
    assert [name for name in names if not found[name]] == []
