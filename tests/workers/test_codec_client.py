"""Codec processes: what crosses, what a bad codec can do to its process, and what is seen of it from outside."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.codec_processes import PLAIN, SAMPLES, SPEC, is_gone, opened
from support.paths import MISBEHAVING

from codecbench.codec import Side
from codecbench.errors import CodecbenchError, CodecFailure, FailureCode, PayloadError, WorkerDied, WorkerTimeout
from codecbench.measure import Deadline
from codecbench.workers import codec_client
from codecbench.workers.codec_client import CodecClient
from codecbench.workers.forks import CodecProcesses
from codecbench.workers.tensor_file import TensorFile

MIB = 1 << 20
SHAPES = [sample.shape for sample in SAMPLES]

Open = Callable[..., CodecClient]


@pytest.fixture(scope="module")
def processes() -> Iterator[CodecProcesses]:
    with CodecProcesses([MISBEHAVING]) as started:
        yield started


@pytest.fixture
def open_codec(processes: CodecProcesses) -> Iterator[Open]:
    """Opens processes with codecs of `misbehaving.py`, and closes them when the test ends."""
    clients = []

    def open_codec(kind: str, side: Side = "device", **options: Any) -> CodecClient:
        clients.append(opened(processes, MISBEHAVING, kind, side, **options))
        return clients[-1]

    yield open_codec
    for client in clients:
        client.close()


@pytest.fixture
def tensors(tmp_path: Path) -> TensorFile:
    """A chunk's file with the samples in it."""
    file = TensorFile(tmp_path / "tensors", SPEC, len(SAMPLES)).create()
    for row, sample in enumerate(SAMPLES):
        file.write(row, sample)
    return file


# --- codecs that behave ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batched", [True, False])
def test_payloads_decode_in_another_process(open_codec: Open, batched: bool) -> None:
    encoder, decoder = open_codec("Steady", bits=32), open_codec("Steady", "edge", bits=32)
    assert len({encoder.pid, decoder.pid, os.getpid()}) == 3
    payloads = encoder.encode_samples(SAMPLES, batched=batched)
    assert payloads == PLAIN
    decoded = decoder.decode_payloads(payloads, batched=batched)
    assert all(np.array_equal(a, b) for a, b in zip(decoded, SAMPLES, strict=True))


def test_each_process_holds_its_own_operating_point(open_codec: Open) -> None:
    found = [open_codec("Steady", bits=bits).encode_samples(SAMPLES[:1]) for bits in (32, 16)]
    assert [len(payload) for (payload,) in found] == [24, 12]


def test_no_samples_are_no_payloads(open_codec: Open) -> None:
    assert open_codec("Steady").encode_samples([]) == []
    assert open_codec("Steady", "edge").decode_payloads([]) == []


def test_a_chunk_goes_from_one_file_to_another(open_codec: Open, tensors: TensorFile, tmp_path: Path) -> None:
    encoder = open_codec("Bounded", tensors=tensors)
    encoder.start_encode(1, SHAPES[1:], bounds=True)
    encoded = encoder.finish_encode(Deadline(60))
    assert encoded.payloads == PLAIN[1:]
    assert encoded.bound_bytes == [24.0 - float(sample.max()) for sample in SAMPLES[1:]]
    encoder.start_encode(0, SHAPES[:1], bounds=False)
    assert encoder.finish_encode(Deadline(60)).bound_bytes is None
    decoded = TensorFile(tmp_path / "decoded", SPEC, 3).create()
    decoder = open_codec("Bounded", "edge", tensors=decoded)
    decoder.start_decode(1, encoded.payloads)
    assert decoder.finish_decode(Deadline(60)) == SHAPES[1:]
    assert all(np.array_equal(decoded.read(row, (2, 3)), SAMPLES[row]) for row in (1, 2))
    assert not decoded.read(0, (2, 3)).any()


def test_a_codec_without_bounds_gives_none(open_codec: Open, tensors: TensorFile) -> None:
    encoder = open_codec("Steady", tensors=tensors)
    encoder.start_encode(0, SHAPES, bounds=True)
    assert encoder.finish_encode(Deadline(60)).bound_bytes == [None] * 3


def test_both_states_are_exported_of_a_codec_that_needs_no_fit(processes: CodecProcesses) -> None:
    with CodecClient(processes.start()) as client:
        assert client.export(f"{MISBEHAVING}:Steady", SPEC, {}) == (b"", b"")
    with CodecClient(processes.start()) as client, pytest.raises(CodecFailure, match="export: OverflowError: too wide"):
        client.export(f"{MISBEHAVING}:RaisesInConstructor", SPEC, {})


def test_printing_disturbs_nothing(open_codec: Open) -> None:
    assert open_codec("Prints").encode_samples(SAMPLES) == PLAIN


@pytest.mark.parametrize("side", ["device", "edge"])
def test_a_process_has_folders_and_an_environment_of_its_own(
    open_codec: Open, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = open_codec("TellsWhere", side)
    (payload,) = client.encode_samples(SAMPLES[:1])
    told = json.loads(payload)
    home = client.folder / "home"
    assert told["cwd"] == told["environment"]["HOME"] == told["environment"]["TMPDIR"] == str(home)
    assert list(home.iterdir()) == []
    assert not [name for name in told["environment"] if name.startswith(("XDG_", "CODECBENCH_"))]
    assert told["environment"]["OPENBLAS_NUM_THREADS"] == told["environment"]["OMP_NUM_THREADS"] == "1"


def test_the_process_says_what_seals_it(open_codec: Open) -> None:
    isolation = open_codec("Steady").isolation
    assert isolation is not None
    assert isolation.audit_hook


@pytest.mark.parametrize("side", ["device", "edge"])
def test_an_unknown_class_state_or_argument_is_a_failure_of_the_codec(open_codec: Open, side: Side) -> None:
    with pytest.raises(CodecFailure, match="defines no class NoSuchCodec"):
        open_codec("NoSuchCodec", side)
    with pytest.raises(CodecFailure, match="restore: ValueError: steady keeps no state, but was given 2 bytes"):
        open_codec("Steady", side, state=b"ab")
    with pytest.raises(CodecFailure, match="restore: TypeError: steady has no argument 'bist'"):
        open_codec("Steady", side, bist=3)


# --- one sample, timed and counted ------------------------------------------------------------------------------------


def test_timed_steps_give_the_same_result_and_a_time_within_the_round_trip(open_codec: Open) -> None:
    payload, encoding = open_codec("Steady", bits=32).encode_timed(SAMPLES[1])
    assert payload == PLAIN[1]
    tensor, decoding = open_codec("Steady", "edge", bits=32).decode_timed(payload)
    assert np.array_equal(tensor, SAMPLES[1])
    for timed in (encoding, decoding):
        assert timed.reported_s > 0
        assert min(timed.round_trip_s, timed.empty_s) >= 0


def test_a_wait_for_a_processor_is_no_part_of_a_round_trip(open_codec: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec that has just used its share of a busy core waits before and after a step, and is not to blame for it."""
    steady, waits = open_codec("Steady"), itertools.count()
    monkeypatch.setattr(codec_client, "processor_wait_s", lambda pid=None: 1000.0 * next(waits) if pid else 0.0)
    _, timed = steady.encode_timed(SAMPLES[1])
    assert (timed.round_trip_s, timed.empty_s) == (0.0, 0.0)
    assert timed.reported_s > 0


def test_a_timed_step_that_gives_no_bytes_or_a_wrong_tensor_is_a_failure(open_codec: Open) -> None:
    with pytest.raises(CodecFailure, match="encode gave str, not bytes"):
        open_codec("GivesText").encode_timed(SAMPLES[0])
    with pytest.raises(CodecFailure, match="encode: RuntimeError: no such tensor"):
        open_codec("RaisesInEncode").encode_timed(SAMPLES[0])
    with pytest.raises(CodecFailure, match="decode gave the wrong tensor: shape"):
        open_codec("DecodesWrongShape", "edge").decode_timed(PLAIN[0])
    with pytest.raises(PayloadError, match="decode: KeyError: 'table'"):
        open_codec("RaisesInDecode", "edge").decode_timed(PLAIN[0])


def test_the_cost_of_an_encoder_is_counted(open_codec: Open) -> None:
    plain = open_codec("Steady").encoder_cost(SAMPLES[0])
    assert (plain.flop, plain.parameters) == (None, None)
    network = open_codec("Weighs").encoder_cost(SAMPLES[0])
    assert network.parameters == 6 * 4 + 4
    assert network.flop == 2 * 6 * 4


def test_the_operations_of_a_decoder_are_counted_with_those_of_gradients(open_codec: Open) -> None:
    plain, weighed = (open_codec(kind).encode_timed(SAMPLES[0])[0] for kind in ("Steady", "Weighs"))
    assert open_codec("Steady", "edge").decoder_flop(plain) is None
    # Forward, and the gradient of the weights; the input needs none.
    assert open_codec("Weighs", "edge").decoder_flop(weighed) == 2 * (2 * 6 * 4)


def test_the_memory_growth_of_an_encoder_is_seen_from_outside(open_codec: Open) -> None:
    steady, grows = (open_codec(kind).encoder_cost(SAMPLES[0]).peak_bytes for kind in ("Steady", "TakesMemory"))
    if steady is None or grows is None:
        pytest.skip("this system does not tell a process's peak")
    assert steady < 16 * MIB
    assert 60 * MIB < grows < 120 * MIB


# --- codecs that break the contract: the process lives on -------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "reason", "code"),
    [
        ("RaisesInEncode", "encode: RuntimeError: no such tensor", FailureCode.RAISED),
        ("GivesText", "encode gave str, not bytes", FailureCode.NOT_BYTES),
        ("GivesTooFew", "encode_batch gave no list of 3 payloads", FailureCode.WRONG_COUNT),
        ("ChangesInput", "encode changed its input", FailureCode.CHANGED_INPUT),
        ("Opens", "encode: GuardError: open of 'secret': a codec may reach nothing but", FailureCode.RAISED),
        ("Forks", "encode: GuardError: os.fork", FailureCode.RAISED),
    ],
)
@pytest.mark.parametrize("by_file", [False, True], ids=["by value", "by file"])
def test_a_bad_encode_is_a_failure_with_its_reason(
    open_codec: Open, tensors: TensorFile, kind: str, reason: str, code: FailureCode, by_file: bool
) -> None:
    client = open_codec(kind, tensors=tensors)
    if by_file:
        client.start_encode(0, SHAPES, bounds=False)
    with pytest.raises(CodecFailure) as caught:
        client.finish_encode(Deadline(60)) if by_file else client.encode_samples(SAMPLES)
    assert str(caught.value).startswith(reason)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    assert client.alive
    assert all(np.array_equal(tensors.read(row, (2, 3)), sample) for row, sample in enumerate(SAMPLES))


def test_a_constructor_that_raises_is_a_failure(open_codec: Open) -> None:
    with pytest.raises(CodecFailure, match=r"^restore: OverflowError: too wide$"):
        open_codec("RaisesInConstructor")


@pytest.mark.parametrize(
    ("kind", "reason", "code"),
    [
        ("DecodesArray", "decode gave ndarray, not a tensor", FailureCode.WRONG_TENSOR),
        (
            "DecodesWrongShape",
            "decode gave the wrong tensor: shape is (3,), the spec says (2, 3)",
            FailureCode.WRONG_TENSOR,
        ),
        (
            "DecodesWrongDtype",
            "decode gave the wrong tensor: dtype is float64, the spec says float32",
            FailureCode.WRONG_TENSOR,
        ),
        ("DecodesNan", "decode gave values that are not finite", FailureCode.NOT_FINITE),
    ],
)
def test_a_bad_decode_is_a_failure_with_its_reason(open_codec: Open, kind: str, reason: str, code: FailureCode) -> None:
    client = open_codec(kind, "edge")
    with pytest.raises(CodecFailure) as caught:
        client.decode_payloads(PLAIN)
    assert str(caught.value) == reason
    assert caught.value.code == code
    assert client.alive


@pytest.mark.parametrize(
    ("kind", "payload", "reason"),
    [
        ("Steady", PLAIN[0][:-1], "decode: ValueError: buffer size must be a multiple"),
        ("Steady", PLAIN[0][:-4], "decode: PayloadError: 20 bytes are no float32 tensor"),
        ("RaisesInDecode", PLAIN[0], "decode: KeyError: 'table'"),
    ],
)
def test_a_payload_that_does_not_decode(open_codec: Open, kind: str, payload: bytes, reason: str) -> None:
    client = open_codec(kind, "edge", **({"bits": 32} if kind == "Steady" else {}))
    with pytest.raises(PayloadError, match=reason):
        client.decode_payloads([PLAIN[0], payload])
    assert client.alive


# --- codecs that take the process along -----------------------------------------------------------------------------


def assert_nothing_stays(client: CodecClient) -> None:
    assert client.closed
    assert not client.alive
    assert not client.folder.exists()
    assert is_gone(client.pid)
    with pytest.raises(WorkerDied, match=f"the {client.label} process has ended"):
        client.encode_samples(SAMPLES)
    client.close()


def test_a_codec_that_hangs_is_killed(open_codec: Open) -> None:
    encoder = open_codec("Hangs")
    with pytest.raises(WorkerTimeout, match="no answer from the encoder process within 0 s"):
        encoder.encode_samples(SAMPLES, timeout_s=0.3)
    assert_nothing_stays(encoder)
    decoder = open_codec("HangsInDecode", "edge")
    with pytest.raises(WorkerTimeout, match="no answer from the decoder process within 0 s"):
        decoder.decode_payloads(PLAIN, timeout_s=0.3)
    assert_nothing_stays(decoder)


def test_a_cells_time_limit_is_named_with_its_option(open_codec: Open, tensors: TensorFile) -> None:
    encoder = open_codec("Hangs", tensors=tensors)
    encoder.start_encode(0, SHAPES, bounds=False)
    with pytest.raises(WorkerTimeout, match=r"the encoder process within the cell's limit of 0\.2 s \(--timeout-s\)"):
        encoder.finish_encode(Deadline(0.2))
    assert_nothing_stays(encoder)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("Segfaults", "the encoder process was killed by SIGSEGV"),
        ("Exits", "the encoder process ended with status 1: that is enough"),
    ],
)
def test_a_codec_that_ends_the_process(open_codec: Open, kind: str, reason: str) -> None:
    encoder = open_codec(kind)
    with pytest.raises(WorkerDied) as caught:
        encoder.encode_samples(SAMPLES)
    assert str(caught.value) == reason
    assert_nothing_stays(encoder)


def test_a_codec_that_ends_the_decoder(open_codec: Open) -> None:
    decoder = open_codec("ExitsInDecode", "edge")
    with pytest.raises(WorkerDied, match=r"^the decoder process ended with status 1: no more$"):
        decoder.decode_payloads(PLAIN)
    assert_nothing_stays(decoder)


def test_the_end_of_one_process_leaves_the_others(open_codec: Open) -> None:
    sound, crashing = open_codec("Steady", bits=32), open_codec("Segfaults")
    with pytest.raises(WorkerDied):
        crashing.encode_samples(SAMPLES)
    assert sound.encode_samples(SAMPLES) == PLAIN
    assert open_codec("Steady", bits=32).encode_samples(SAMPLES) == PLAIN


def test_a_codec_that_takes_all_memory_meets_the_limit(open_codec: Open) -> None:
    encoder = open_codec("Hoards", memory_limit_bytes=1 << 30)
    with pytest.raises((CodecFailure, WorkerDied), match=r"memory|SIG"):
        encoder.encode_samples(SAMPLES)


def test_errors_of_processes_are_errors_for_users() -> None:
    assert issubclass(CodecFailure, CodecbenchError)
    assert issubclass(WorkerDied, CodecbenchError)
    assert issubclass(WorkerTimeout, CodecbenchError)
