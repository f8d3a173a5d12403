"""The kinds of files that sealed code may read, by their names."""

from __future__ import annotations

import re
from typing import Final

MODULE_SUFFIXES: Final = (".py", ".pyc", ".so", ".pyd", ".dylib")
"""Endings of the files that an import reads: source, bytecode, extension modules and shared libraries."""
STUB_SUFFIX: Final = ".pyi"
"""Installed libraries that import their modules late read stubs to know their names."""
LIBRARY_SUFFIXES: Final = (".css", ".html", ".ini", ".js")
"""Endings of the texts that installed libraries (scikit-learn, scikit-image) read when they are imported."""
METADATA_FOLDERS: Final = (".dist-info", ".egg-info")
"""Endings of the folders with the metadata of distributions, which some libraries read when they are imported."""
METADATA_FILES: Final = (
    "INSTALLER", "METADATA", "PKG-INFO", "RECORD", "WHEEL", "direct_url.json", "entry_points.txt", "requires.txt",
    "top_level.txt",
)  # fmt: skip
_VERSIONED_LIBRARY: Final = re.compile(r"\.so(\.\d+)+$")


def is_module_file(name: str) -> bool:
    """True for a file that an import reads (x.so.1 included), or a stub."""
    return name.endswith((*MODULE_SUFFIXES, STUB_SUFFIX)) or _VERSIONED_LIBRARY.search(name) is not None


def is_library_file(name: str) -> bool:
    """True for a file that may be read where it belongs to an installed distribution."""
    return is_module_file(name) or name.endswith(LIBRARY_SUFFIXES)


TIME_ZONES: Final = ("tzdata/zoneinfo", "dateutil/zoneinfo")
"""Folders of installed packages with the rules of time zones, which pandas reads when it is imported: so does whatever
imports it where it is there, as scikit-learn and pyarrow do."""
