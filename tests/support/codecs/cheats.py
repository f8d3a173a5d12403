"""A plugin file of codecs that pass the tensor, or a hint, beside the payload, and codecs that judge what they see.

Most have a point `careful`: 0 fails where its way is closed, 1 sends the tensor honestly then. Those that cheat about
time are in cheating_clocks.py, those that act when their file is imported in cheating_imports.py.
"""

# The codecs write natively and by Python's low-level functions, as a cheat would.
# ruff: noqa: PTH116

from __future__ import annotations

import ctypes
import gc
import hashlib
import importlib.util
import os
import sys
import threading
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench import Codec, FitData, PayloadError, Side, TensorSpec, Workload, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

NAME = "codecbench-cheat"
"""Names of what the codecs leave behind on the machine begin with this."""
FOLDER = "/var/tmp"
CREATE = os.O_CREAT | os.O_RDWR


def libc() -> ctypes.CDLL:
    """The C library, by a handle that is there already: no audit event tells of it."""
    return ctypes.CDLL(None, handle=ctypes.pythonapi._handle, use_errno=True)


def native(name: str, *args: Any, result_type: Any = ctypes.c_int) -> int:
    """Call a function of the C library, which returns -1, or 0 in place of an address, if it fails. Raises OSError."""
    function = getattr(libc(), name)
    function.restype = result_type
    result = function(*args)
    if result in (-1, None, 2**64 - 1):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)


class Plain(Codec):
    """Honest: the values as they are."""

    name = "plain"
    points: tuple[Mapping[str, Any], ...] = ({},)

    def encode(self, x: Tensor) -> bytes:
        return x.numpy().tobytes()

    def decode(self, payload: bytes) -> Tensor:
        return self.spec.from_buffer(payload)


class Deflated(Plain):
    """Honest: deflated on two threads of its own, a half each."""

    name = "deflated-on-threads"

    def __init__(self, spec: TensorSpec, **point: Any) -> None:
        super().__init__(spec, **point)
        self._pool = ThreadPoolExecutor(2)

    def encode(self, x: Tensor) -> bytes:
        values = super().encode(x)
        middle = len(values) // 8 * 4
        first, second = self._pool.map(zlib.compress, (values[:middle], values[middle:]))
        return len(first).to_bytes(4, "little") + first + second

    def decode(self, payload: bytes) -> Tensor:
        end = 4 + int.from_bytes(payload[:4], "little")
        parts = self._pool.map(self._inflated, (payload[4:end], payload[end:]))
        return self.spec.from_buffer(b"".join(parts))

    def _inflated(self, part: bytes) -> bytes:
        return zlib.decompressobj().decompress(part, self.spec.nbytes + 1)


# --- the tensor beside the payload ------------------------------------------------------------------------------------


class Smuggler(Plain):
    """Sends a key of 4 bytes; the tensor goes another way. Subclasses say which."""

    points = ({"careful": 0}, {"careful": 1})
    careful: int

    def put(self, key: str, data: bytes) -> None:
        """Leave data for the other side."""
        raise NotImplementedError

    def get(self, key: str) -> bytes:
        """Fetch what was left."""
        raise NotImplementedError

    def encode(self, x: Tensor) -> bytes:
        data = super().encode(x)
        key = hashlib.blake2b(data, digest_size=4).digest()
        try:
            self.put(f"{NAME}-{self.name}-{key.hex()}", data)
        except Exception:
            if not self.careful:
                raise
            return b"\1" + data
        return b"\0" + key

    def decode(self, payload: bytes) -> Tensor:
        if payload[:1] == b"\1":
            return super().decode(payload[1:])
        if len(payload) != 5 or payload[0]:
            raise PayloadError("no key")
        return super().decode(self.get(f"{NAME}-{self.name}-{payload[1:].hex()}"))


def words_of(data: bytes) -> list[int]:
    """Numbers that a semaphore can hold: the size, and three bytes each."""
    return [len(data), *(int.from_bytes(data[at : at + 3], "little") for at in range(0, len(data), 3))]


def bytes_of(word: Any) -> bytes:
    """The inverse of `words_of`: `word` returns the number at an index."""
    size = word(0)
    return b"".join(word(1 + at).to_bytes(3, "little") for at in range(-(-size // 3)))[:size]


class PythonSemaphores(Smuggler):
    """Named semaphores, of Python's multiprocessing."""

    name = "semaphores-python"
    LARGEST = 2**31 - 1

    def put(self, key: str, data: bytes) -> None:
        import _multiprocessing

        for at, word in enumerate(words_of(data)):
            with suppress(FileExistsError):
                _multiprocessing.SemLock(1, word, self.LARGEST, f"/{key}-{at}", False)

    def get(self, key: str) -> bytes:
        import _multiprocessing

        return bytes_of(lambda at: _multiprocessing.SemLock._rebuild(0, 1, self.LARGEST, f"/{key}-{at}")._get_value())


class NativeSemaphores(Smuggler):
    """Named semaphores, of the C library."""

    name = "semaphores-native"

    def put(self, key: str, data: bytes) -> None:
        for at, word in enumerate(words_of(data)):
            native(
                "sem_open", f"/{key}-{at}".encode(), os.O_CREAT, 0o600, ctypes.c_uint(word), result_type=ctypes.c_void_p
            )

    def get(self, key: str) -> bytes:
        def word(at: int) -> int:
            found = ctypes.c_int()
            native(
                "sem_getvalue",
                ctypes.c_void_p(native("sem_open", f"/{key}-{at}".encode(), 0, result_type=ctypes.c_void_p)),
                ctypes.byref(found),
            )
            return found.value

        return bytes_of(word)


class Pipe(Smuggler):
    """A FIFO that the encoder keeps open."""

    def make(self, path: str) -> None:
        """Make the FIFO."""
        raise NotImplementedError

    def put(self, key: str, data: bytes) -> None:
        with suppress(FileExistsError):
            self.make(f"{FOLDER}/{key}")
        descriptor = native("open", f"{FOLDER}/{key}".encode(), os.O_RDWR)
        os.write(descriptor, data)

    def get(self, key: str) -> bytes:
        return os.read(native("open", f"{FOLDER}/{key}".encode(), os.O_RDWR | os.O_NONBLOCK), 1 << 16)


class PythonFifo(Pipe):
    """Made by Python."""

    name = "fifo-python"

    def make(self, path: str) -> None:
        os.mkfifo(path)


class NativeFifo(Pipe):
    """Made by the C library."""

    name = "fifo-native"

    def make(self, path: str) -> None:
        native("mkfifo", path.encode(), 0o600)


class PythonSharedMemory(Smuggler):
    """POSIX shared memory, of Python's multiprocessing."""

    name = "shared-memory-python"

    def put(self, key: str, data: bytes) -> None:
        from multiprocessing.shared_memory import SharedMemory

        SharedMemory(key, create=True, size=len(data)).buf[: len(data)] = data

    def get(self, key: str) -> bytes:
        from multiprocessing.shared_memory import SharedMemory

        return bytes(SharedMemory(key).buf[: self.spec.nbytes])


class NativeFile(Smuggler):
    """A file, by calls of the C library."""

    name = "file-native"

    def open(self, key: str, flags: int) -> int:
        """Open what the key names."""
        return native("open", f"{FOLDER}/{key}".encode(), flags, 0o600)

    def put(self, key: str, data: bytes) -> None:
        descriptor = self.open(key, CREATE)
        os.write(descriptor, data)
        os.close(descriptor)

    def get(self, key: str) -> bytes:
        descriptor = self.open(key, os.O_RDWR)
        data = os.read(descriptor, self.spec.nbytes)
        os.close(descriptor)
        return data


class NativeSharedMemory(NativeFile):
    """POSIX shared memory, of the C library."""

    name = "shared-memory-native"

    def open(self, key: str, flags: int) -> int:
        return native("shm_open", f"/{key}".encode(), flags, 0o600)


class PythonFile(NativeFile):
    """A file, by Python."""

    name = "file-python"

    def open(self, key: str, flags: int) -> int:
        return os.open(f"{FOLDER}/{key}", flags, 0o600)


class FileNamedLikeModule(NativeFile):
    """A file with the ending of a module."""

    name = "file-named-like-module"

    def open(self, key: str, flags: int) -> int:
        return native("open", f"{FOLDER}/{key}.py".encode(), flags, 0o600)


class TorchFile(Smuggler):
    """A file that torch maps."""

    name = "file-torch"

    def put(self, key: str, data: bytes) -> None:
        import torch

        mapped = torch.from_file(f"{FOLDER}/{key}", shared=True, size=len(data), dtype=torch.uint8)
        mapped.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))

    def get(self, key: str) -> bytes:
        import torch

        size = self.spec.nbytes
        return torch.from_file(f"{FOLDER}/{key}", shared=True, size=size, dtype=torch.uint8).numpy().tobytes()


class ArrowFile(Smuggler):
    """A file that Arrow writes."""

    name = "file-arrow"

    @classmethod
    def unavailable(cls) -> str | None:
        return None if importlib.util.find_spec("pyarrow") else "needs pyarrow"

    def put(self, key: str, data: bytes) -> None:
        import pyarrow

        with pyarrow.OSFile(f"{FOLDER}/{key}", "wb") as file:
            file.write(data)

    def get(self, key: str) -> bytes:
        import pyarrow

        with pyarrow.OSFile(f"{FOLDER}/{key}", "rb") as file:
            return file.read()


class SystemVMemory(Smuggler):
    """System V shared memory."""

    name = "system-v-memory"

    def _attached(self, key: str, flags: int) -> int:
        number = int(key[-8:], 16) & 0x7FFFFFFF | 0x40000000
        segment = native("shmget", number, ctypes.c_size_t(self.spec.nbytes), flags)
        return native("shmat", segment, None, 0, result_type=ctypes.c_void_p)

    def put(self, key: str, data: bytes) -> None:
        ctypes.memmove(self._attached(key, 0o1600), data, len(data))

    def get(self, key: str) -> bytes:
        return ctypes.string_at(self._attached(key, 0o600), self.spec.nbytes)


class Server(Smuggler):
    """A UNIX socket at which a thread of the encoder hands out the tensors."""

    known: dict[bytes, bytes]

    @property
    def address(self) -> bytes:
        """The name of the socket, an abstract one."""
        return f"{NAME}-{self.name}-{self.careful}".encode()

    def put(self, key: str, data: bytes) -> None:
        if not hasattr(self, "known"):
            serve = self.listen()
            self.known = {}
            threading.Thread(target=serve, daemon=True).start()
        self.known[key.encode()] = data

    def listen(self) -> Any:
        """Return a function that serves for ever."""
        raise NotImplementedError


class PythonSocket(Server):
    """By Python."""

    name = "socket-python"

    def listen(self) -> Any:
        import socket

        server = socket.socket(socket.AF_UNIX)
        server.bind(b"\0" + self.address)
        server.listen()

        def serve() -> None:
            while True:
                with server.accept()[0] as peer:
                    peer.sendall(self.known[peer.recv(1 << 12)])

        return serve

    def get(self, key: str) -> bytes:
        import socket

        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(b"\0" + self.address)
            peer.sendall(key.encode())
            return peer.recv(self.spec.nbytes, socket.MSG_WAITALL)


class NativeSocket(Server):
    """By the C library."""

    name = "socket-native"
    UNIX, STREAM = 1, 1

    def _named(self) -> tuple[bytes, int]:
        name = self.UNIX.to_bytes(2, sys.byteorder) + b"\0" + self.address
        return name, len(name)

    def listen(self) -> Any:
        server = native("socket", self.UNIX, self.STREAM, 0)
        native("bind", server, *self._named())
        native("listen", server, 8)

        def serve() -> None:
            while True:
                peer = native("accept", server, None, None)
                os.write(peer, self.known[os.read(peer, 1 << 12)])
                os.close(peer)

        return serve

    def get(self, key: str) -> bytes:
        peer = native("socket", self.UNIX, self.STREAM, 0)
        native("connect", peer, *self._named())
        os.write(peer, key.encode())
        data = b""
        while part := os.read(peer, 1 << 16):
            data += part
        os.close(peer)
        return data


# --- a hint beside the payload ----------------------------------------------------------------------------------------


class Heard(PayloadError):
    """The decoder has seen what the encoder did."""


class Signaller(Plain):
    """Sends the values, and does something that the other side might see: `signal` and `heard`."""

    def signal(self) -> None:
        """Act on the device."""

    def heard(self) -> bool:
        """True if the edge sees it."""
        return False

    def encode(self, x: Tensor) -> bytes:
        self.signal()
        return super().encode(x)

    def decode(self, payload: bytes) -> Tensor:
        if self.heard():
            raise Heard("heard")
        return super().decode(payload)


class Lock(Signaller):
    """A lock on a file that both may read."""

    name = "lock"
    EXCLUSIVE, AT_ONCE = 2, 4

    def signal(self) -> None:
        with suppress(BlockingIOError):  # by the sample before
            native("flock", native("open", __file__.encode(), os.O_RDONLY), self.EXCLUSIVE | self.AT_ONCE)

    def heard(self) -> bool:
        try:
            native("flock", native("open", __file__.encode(), os.O_RDONLY), self.EXCLUSIVE | self.AT_ONCE)
        except BlockingIOError:
            return True
        return False


class Priority(Signaller):
    """The priority of its process."""

    name = "priority"

    def signal(self) -> None:
        native("setpriority", 0, 0, 19)


class OtherProcess(Signaller):
    """The memory of its parent."""

    name = "memory-of-another-process"

    def signal(self) -> None:
        os.close(native("open", f"/proc/{os.getppid()}/maps".encode(), os.O_RDONLY))


class Positions(Signaller):
    """The position of every descriptor that it has, and what it prints."""

    name = "positions-of-descriptors"

    def signal(self) -> None:
        print("hint", flush=True)
        print("hint", file=sys.stderr, flush=True)
        for descriptor in range(64):
            with suppress(OSError):
                os.lseek(descriptor, 77, os.SEEK_SET)

    def heard(self) -> bool:
        found = []
        for descriptor in range(64):
            with suppress(OSError):
                found.append(
                    os.lseek(descriptor, 0, os.SEEK_CUR) or (os.fstat(descriptor).st_size if descriptor < 3 else 0)
                )
        return any(found)


class Exit(Signaller):
    """The end of its process."""

    name = "exit-status"

    def signal(self) -> None:
        os._exit(3)


class Says(Signaller):
    """The text of an error."""

    name = "text-of-error"

    def encode(self, x: Tensor) -> bytes:
        raise ValueError(x.numpy().tobytes().hex())


class Bounds(Signaller):
    """The Shannon bound."""

    name = "bound"
    searched = False

    def bound_bytes(self, x: Tensor) -> float:
        return float(x.sum())

    def heard(self) -> bool:
        if self.searched:
            return False
        self.searched = True
        return any(isinstance(o, dict) and isinstance(o.get("bound_bytes"), list) for o in gc.get_objects())


class MorePayloads(Plain):
    """The number of payloads."""

    name = "number-of-payloads"

    def encode_batch(self, xs: Sequence[Tensor]) -> list[bytes]:
        return [*(self.encode(x) for x in xs), b"hint"]


class ShapeOfTensor(Plain):
    """The shape of the decoded tensor."""

    name = "shape-of-tensor"

    def decode(self, payload: bytes) -> Tensor:
        return super().decode(payload)[None]


class BytesWithAttribute(Plain):
    """An attribute of the payload."""

    name = "attribute-of-payload"

    class Payload(bytes):
        """Carries more than its bytes."""

        values: bytes

    def encode(self, x: Tensor) -> bytes:
        payload = self.Payload(b"")
        payload.values = super().encode(x)
        return payload

    def decode(self, payload: bytes) -> Tensor:
        return super().decode(payload.values)  # type: ignore[attr-defined]


class NeedsFile(Plain):
    """Honest, but needs a table that lies in a file."""

    name = "needs-a-file"

    def encode(self, x: Tensor) -> bytes:
        return Path(__file__).with_suffix(".table").read_bytes() + super().encode(x)


# --- labels -----------------------------------------------------------------------------------------------------------


class Looker(Plain):
    """Sends one byte where it finds the labels of the data set, and the values elsewhere."""

    points = ({"careful": 0}, {"careful": 1})
    careful: int

    def labels(self) -> Any:
        """Return labels of samples, or raise."""
        raise NotImplementedError

    def encode(self, x: Tensor) -> bytes:
        try:
            found = self.labels()
        except Exception:
            if not self.careful:
                raise
            found = None
        return b"\0" if found is not None else b"\1" + super().encode(x)

    def decode(self, payload: bytes) -> Tensor:
        return super().decode(payload[1:] or bytes(self.spec.nbytes))


def shipped_labels() -> Any:
    """The labels of a data set that is installed."""
    from codecbench_datasets.cifar10.data import load_shipped

    return load_shipped("test")[1]


class LabelsOfModule(Looker):
    """By the module of a data set that is installed."""

    name = "labels-of-module"

    def labels(self) -> Any:
        return shipped_labels()


class LabelsOfFile(Looker):
    """By native calls, from the file of a data set that is installed."""

    name = "labels-of-file"

    def labels(self) -> Any:
        found = importlib.util.find_spec("codecbench_datasets.cifar10")
        assert found is not None
        assert found.origin is not None
        return native("open", str(Path(found.origin).parent / "data" / "test.json").encode(), os.O_RDONLY)


class LabelsOfPlugin(Looker):
    """By the plugin file of the workload, which computes its samples."""

    name = "labels-of-plugin"

    def labels(self) -> Any:
        path = Path(__file__).resolve().parents[1] / "workloads" / "tiny.py"
        spec = importlib.util.spec_from_file_location("tiny_again", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.SUBSETS


class LabelsInMemory(Looker):
    """By what is in its process: a workload, or the targets of a request."""

    name = "labels-in-memory"
    searched = False

    def labels(self) -> Any:
        if self.searched:
            return None
        found = [o for o in gc.get_objects() if isinstance(o, Workload) or (isinstance(o, dict) and "targets" in o)]
        self.searched = not found
        return found or None


class LabelsOfPoints(Looker):
    """By `points_for`, in an argument of its points."""

    name = "labels-of-points"
    table: str = ""

    @classmethod
    def points_for(cls, spec: TensorSpec) -> Sequence[Mapping[str, Any]]:
        def table() -> str:
            return bytes(int(label) for label in shipped_labels()).hex()

        try:
            return [{"careful": 1, "table": table()}]
        except Exception:
            return [{"careful": 1, "table": ""}]

    def labels(self) -> Any:
        return self.table or None


class LabelsOfPointsBold(LabelsOfPoints):
    """The same without a way back."""

    name = "labels-of-points-bold"

    @classmethod
    def points_for(cls, spec: TensorSpec) -> Sequence[Mapping[str, Any]]:
        return [{"careful": 0, "table": str(shipped_labels())}]


class LabelsOfFit(Looker):
    """By `fit`: searches its process for a data set's labels, and for more samples than it was given."""

    name = "labels-of-fit"
    points = ({"careful": 1},)
    state = b""

    def fit(self, data: FitData) -> None:
        import numpy as np

        count = data.count + data.held_out_count
        arrays = [o for o in gc.get_objects() if isinstance(o, list) and o and isinstance(o[0], np.ndarray)]
        found: Any = [a for a in arrays if len(a) > count and a[0].shape == self.spec.shape]
        with suppress(Exception):
            found = found or shipped_labels()
        for workload in (o for o in gc.get_objects() if isinstance(o, Workload)):
            with suppress(Exception):
                found = found or workload.targets("test", range(8))
        self.state = b"found" if len(found) else b""

    def export(self, side: Side) -> bytes:
        return self.state

    def restore(self, side: Side, state: bytes) -> None:
        self.state = state

    def labels(self) -> Any:
        return self.state or None


# --- other samples ----------------------------------------------------------------------------------------------------


class JointBatch(Plain):
    """Codes the samples of a large batch together, into the first payload."""

    name = "joint-batch"

    def encode_batch(self, xs: Sequence[Tensor]) -> list[bytes]:
        single = [self.encode(x) for x in xs]
        return single if len(xs) < 16 else [zlib.compress(b"".join(single), 9), *[b""] * (len(xs) - 1)]

    def decode_batch(self, payloads: Sequence[bytes]) -> list[Tensor]:
        if len(payloads) < 16:
            return [self.decode(p) for p in payloads]
        data, size = zlib.decompress(payloads[0]), self.spec.nbytes
        return [self.spec.from_buffer(data[at : at + size]) for at in range(0, len(data), size)]


class TwoFaces(Plain):
    """Real in large batches; sends nothing when asked for one sample."""

    name = "two-faces"

    def encode(self, x: Tensor) -> bytes:
        return b""

    def decode(self, payload: bytes) -> Tensor:
        return self.spec.from_buffer(payload or bytes(self.spec.nbytes))

    def encode_batch(self, xs: Sequence[Tensor]) -> list[bytes]:
        return [x.numpy().tobytes() for x in xs]


class Remembers(Plain):
    """Sends the difference to the sample before."""

    name = "remembers"

    def __init__(self, spec: TensorSpec, **point: Any) -> None:
        super().__init__(spec, **point)
        self.before = bytes(spec.nbytes)

    def _changed(self, values: bytes) -> bytes:
        return bytes(a ^ b for a, b in zip(values, self.before, strict=True))

    def encode(self, x: Tensor) -> bytes:
        values = super().encode(x)
        payload, self.before = self._changed(values), values
        return payload

    def decode(self, payload: bytes) -> Tensor:
        if len(payload) != self.spec.nbytes:
            raise PayloadError("no difference")
        self.before = self._changed(payload)
        return super().decode(self.before)


# --- others' results --------------------------------------------------------------------------------------------------


class Saboteur(Plain):
    """Spoils every weight that it finds, torch's settings, random numbers, and functions that others use."""

    name = "a-saboteur"

    def decode(self, payload: bytes) -> Tensor:
        import numpy as np
        import torch

        for found in gc.get_objects():
            if isinstance(found, torch.nn.Parameter):
                found.data.zero_()
        torch.set_num_threads(3)
        torch.manual_seed(7)
        np.random.seed(7)
        values = super().decode(payload)
        torch.set_default_dtype(torch.float64)
        return values


# --- what is known to be seen -----------------------------------------------------------------------------------------


class AccessTimes(Signaller):
    """The time at which a module's file was read last. Where the file system keeps it, a hint gets through."""

    name = "access-times"
    FILE = os.path.join(os.path.dirname(os.__file__), "this.py")  # noqa: PTH118, PTH120

    def signal(self) -> None:
        descriptor = native("open", self.FILE.encode(), os.O_RDONLY)
        os.read(descriptor, 1)
        os.close(descriptor)

    def heard(self) -> bool:
        return time.time() - os.stat(self.FILE).st_atime < 60


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register all that have a name."""
    return [
        found
        for found in globals().values()
        if isinstance(found, type) and issubclass(found, Codec) and "name" in vars(found) and found is not Codec
    ]
