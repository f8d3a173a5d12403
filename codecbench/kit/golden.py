"""Golden bitstreams: files of payloads and their decoded values, by which a change of format is noticed.

Each spec and point has one JSON file, `golden/<codec>/<spec>-<point>.json`, beside the source file of the codec. As
long as the codec's `version` stays the same, each payload must decode to the same values. Importing this module does
not import torch.
"""

from __future__ import annotations

import base64
import inspect
import json
import shlex
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench.codec import Codec, TensorSpec
from codecbench.errors import DataError, PluginError, one_line
from codecbench.kit.cases import KitCase, to_tensor
from codecbench.registry import FILE_PREFIX, source_of
from codecbench.results.cell import file_label, slug
from codecbench.system import textfiles
from codecbench.system.files import reason_of, replace_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Golden:
    """One payload, the edge's state that decodes it, and the decoded values."""

    codec: str
    version: int
    spec: TensorSpec
    point: Mapping[str, Any]
    edge_state: bytes
    payload: bytes
    values: NDArray[Any]

    def write(self, path: Path) -> None:
        """Write the file, and create its folder if needed. Raises DataError if it cannot be written."""
        fields = {
            "format": FORMAT,
            "codec": self.codec,
            "version": self.version,
            "spec": self.spec.to_json(),
            "point": dict(self.point),
            "edge_state": _to_text(self.edge_state),
            "payload": _to_text(self.payload),
            "values_shape": list(self.values.shape),
            "values": _to_text(self.values.astype(_little_endian(self.spec)).tobytes()),
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, (json.dumps(fields, indent=1) + "\n").encode())
        except OSError as error:
            raise DataError(
                f"cannot write golden file {path} ({reason_of(error)}); make room, or its folder writable"
            ) from error

    @classmethod
    def read(cls, path: Path) -> Golden:
        """Read a file. Raises DataError if it is damaged or of another format."""
        import numpy as np

        try:
            fields = json.loads(textfiles.decoded(path.read_bytes()))
            if fields["format"] != FORMAT:
                raise DataError(f"golden file {path} has format {fields['format']}, this codecbench reads {FORMAT}")
            spec = TensorSpec.from_json(fields["spec"])
            values = np.frombuffer(_from_text(fields["values"]), _little_endian(spec)).reshape(fields["values_shape"])
            return cls(
                fields["codec"], fields["version"], spec, fields["point"], _from_text(fields["edge_state"]),
                _from_text(fields["payload"]), values,
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, zlib.error) as error:
            raise DataError(f"golden file {path} is damaged ({type(error).__name__}: {error}); restore it") from error


def golden_folder(codec: type[Codec]) -> Path:
    """Return the folder of a codec's golden files. Raises PluginError for a class without a source file."""
    try:
        source = inspect.getsourcefile(codec)
    except TypeError:
        source = None
    if source is None:
        raise PluginError(f"codec {codec.name!r} has no source file; define it in a .py file")
    return Path(source).resolve().parent / "golden" / slug(codec.name)


def golden_path(codec: type[Codec], spec: TensorSpec, point: Mapping[str, Any]) -> Path:
    """Return the path of the golden file of one spec and point."""
    axes = "x".join("n" if n is None else str(n) for n in spec.shape)
    kind = "image" if spec.image else spec.dtype
    return golden_folder(codec) / f"{kind}-{axes}-{slug(file_label(point) or 'default')}.json"


def golden_files(codec: type[Codec]) -> list[Path]:
    """Return the paths of all golden files of a codec, sorted."""
    found = golden_folder(codec).glob("*.json")
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))


def golden_of(case: KitCase) -> Golden:
    """Return a golden bitstream of the case's first sample."""
    values = case.side("edge").decode(case.payloads[0]).detach().numpy()
    return Golden(
        case.codec.name, case.codec.version, case.spec, case.point, case.states["edge"], case.payloads[0], values
    )


def golden_change(codec: type[Codec], golden: Golden) -> str | None:
    """Return how the decoding of a golden payload has changed, or None if it has not."""
    try:
        edge = codec(golden.spec, **golden.point)
        edge.restore("edge", golden.edge_state)
        decoded = edge.decode(golden.payload).detach()
    except Exception as error:
        return f"no longer decodes ({one_line(error)})"
    return KitCase(codec, golden.spec, golden.point).close_enough(decoded, to_tensor(golden.values))


def _little_endian(spec: TensorSpec) -> np.dtype[Any]:
    import numpy as np

    return np.dtype(spec.dtype).newbyteorder("<")


def _to_text(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode()


def _from_text(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text, validate=True))


def known_as(codec: type[Codec]) -> str:
    """Return the name by which `codecbench check` finds the codec from this folder: its own, or its plugin file's."""
    path, here = source_of(codec), Path.cwd()
    path = path.relative_to(here) if path.is_relative_to(here) else path
    return shlex.quote(str(path)) if codec.__module__.startswith(FILE_PREFIX) else codec.name
