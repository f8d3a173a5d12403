"""A folder in which the commands of pages find the files that they name."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

from codecbench.experiment.run_status import FILE as STATUS_FILE
from codecbench.experiment.run_status import RunStatus
from support.blocks import blocks
from support.codec_files import plain_codec
from support.paths import DOCS, RESULTS, ROOT

FOLDERS = (
    "results", "codecbench-results", "before", "after", "here", "there", "ours", "theirs", "another", "again",
    "alice-my-codec", "folders/alice-my-codec", "folders/bob-other",
)  # fmt: skip
RECORDS = {
    "input": (
        "raw-",
        "jpeg-huffman-quality=[389]0-tables=(own|shared)-[^e]",
        "klt-step=0.[35]-[^e]",
        "deepcod-rd-step=0.65-[^e]",
        "webp-quality=85-[^e]",
    ),
    "stage3": ("raw-", "jpeg-huffman-quality=[359]0-tables=shared-[^e]"),
}
"""The reference records that each of these folders has: some of two split points."""


def fill(folder: Path) -> None:
    """Write everything that pages name: records, codecs, a study, a device, links and pairs."""
    for name in FOLDERS:
        for split, patterns in RECORDS.items():
            (folder / name / "cifar10-resnet20" / split).mkdir(parents=True)
            for path in sorted((RESULTS / "cifar10-resnet20" / split).iterdir()):
                if any(re.match(pattern, path.name) for pattern in patterns):
                    shutil.copy(path, folder / name / "cifar10-resnet20" / split)
        shutil.copy(RESULTS / "cifar10-resnet20" / "layers.json", folder / name / "cifar10-resnet20")
    for name in ("mycodec.py", "my_codec.py"):
        (folder / name).write_text(plain_codec("MyCodec", "my-codec"))
    point = '{"mode": "1", "window": "a,b"}'
    (folder / "words.py").write_text(plain_codec("Words", "words", point))
    (study,) = (block for block in blocks((DOCS / "guides" / "how-to.md").read_text()) if block.name == "study.toml")
    (folder / "study.toml").write_text(study.text)
    profile = json.loads((ROOT / "plugins" / "codecbench_plugins" / "devices" / "epyc-core.json").read_text())
    (folder / "my-pi.json").write_text(json.dumps({**profile, "name": "my-pi"}))
    (folder / "pairs.csv").write_text(
        "bytes,ms\n" + "".join(f"{size},{3 + size / 2500}\n" for size in range(1000, 9000, 1000))
    )
    (folder / "mine.json").write_text('{"kind": "fixed-rate", "name": "mine", "bandwidth_bit_per_s": 8e6}')
    (folder / "verizon.trace").write_text("1\n3\n4\n")
    (folder / "net.py").write_text("def build():\n    raise NotImplementedError\n")
    (folder / "photos").mkdir()
    status = RunStatus(0, "2026-01-01T00:00:00+00:00", "2026-01-01T00:01:00+00:00")
    (folder / "results" / STATUS_FILE).write_text(json.dumps(asdict(status)))
    published = Path("codecbench", "analysis", "data", "paper_tables.csv")
    (folder / published).parent.mkdir(parents=True)
    shutil.copy(ROOT / published, folder / published)
