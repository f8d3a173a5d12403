"""Pages are what their sources say, and the generator can be trusted."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from support.factories import CPU, make_record
from support.paths import DOCS, ROOT
from support.scripts import script

from codecbench.errors import DataError, UsageError
from codecbench.fitting import states
from codecbench.fitting.states import FittedState
from codecbench.results.cell import CellKey
from codecbench.results.record import Record
from codecbench.results.store import Store

generate = script(DOCS / "generate.py")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project with records, a README and an empty page."""
    store = Store(tmp_path / "results")
    records = [
        keyed("input", "jpeg-huffman", row="jpeg-huffman (own)", payload_bytes=100.0, raw_bytes=1000.0),
        keyed("stem", "jpeg-huffman", row="jpeg-huffman (own)", payload_bytes=50.0, raw_bytes=1000.0),
        keyed("stage1", "jpeg-huffman", row="jpeg-huffman (own)", payload_bytes=200.0, raw_bytes=1000.0),
        keyed("input", "interpolation", status="skipped", reason="no"),
    ]
    with store.locked():
        for record in records:
            store.write(CellKey(**record.key.model_dump()), record)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text("# A page\n\n<!-- generated: facts -->\nold\n<!-- end -->\n")
    (tmp_path / "README.md").write_text("# Title\n\n<!-- generated: table -->\n<!-- end -->\n\nlast words\n")
    return tmp_path


def keyed(split: str, codec: str, point: dict[str, Any] | None = None, **options: Any) -> Record:
    return make_record(split, codec, point, workload="cifar10-resnet20", **options)


@pytest.mark.slow
def test_every_generated_part_of_this_project_is_current() -> None:
    """`.ci/run` asks for the same by `docs/generate.py --check`."""
    assert [str(page.relative_to(ROOT)) for page in generate.stale(ROOT)] == [], "run python docs/generate.py"


def test_every_hook_has_a_heading() -> None:
    headings = re.findall(r"^## `(\w+)`$", (DOCS / "reference" / "hooks.md").read_text(), re.MULTILINE)
    assert headings == list(generate.hook_functions())
    assert "codecbench_register_codecs" in headings


def test_every_command_has_a_heading_and_its_options() -> None:
    text = (DOCS / "reference" / "cli.md").read_text()
    headings = re.findall(r"^## `codecbench ([\w -]+)`$", text, re.MULTILINE)
    assert {"run", "table", "compare", "export", "list", "check", "new-codec", "data get"} <= set(headings)
    assert "| `--format text\\|md\\|csv\\|latex\\|html` | How to print it. [default: text] |" in text
    assert "codecbench compare OUT_A OUT_B [OPTIONS]" in text
    assert "| `--dir DIR` |" in text, "the declared name, not the parameter's"


def test_the_reference_of_python_has_every_public_name_once() -> None:
    text = (DOCS / "reference" / "api.md").read_text()
    headings = re.findall(r"^### `(\w+)`$", text, re.MULTILINE)
    assert set(headings) == {name for module in generate.API for name in import_module(module).__all__}
    assert len(headings) == len(set(headings))
    assert " at 0x" not in text, "addresses differ from run to run"
    assert "- `classmethod points_for(spec: TensorSpec) -> tuple[Mapping[str, Any], ...]`: Return the" in text


def test_parts_are_rewritten_and_the_rest_is_left(project: Path) -> None:
    assert generate.main([], project) == 0
    readme = (project / "README.md").read_text()
    assert readme.startswith("# Title\n\n<!-- generated: table -->\n**cifar10-resnet20: smallest payload within")
    assert readme.endswith("<!-- end -->\n\nlast words\n")
    assert "| jpeg-huffman (own) |" in re.sub(" +", " ", readme)
    page = (project / "docs" / "page.md").read_text()
    assert "4 cells (3 ok, 1 skipped) on 100 test samples." in page
    assert CPU in page
    assert "old" not in page


def test_latex_tables_are_written_where_a_page_links_to_them(project: Path) -> None:
    generate.main([], project)
    assert not (project / "docs" / "results").exists()
    (project / "docs" / "page.md").write_text("[in LaTeX](results/tables/main.tex)\n")
    generate.main([], project)
    (written,) = (project / generate.TABLES).iterdir()
    assert written.name == "main.tex"
    assert "\\begin{tabular}" in written.read_text()
    assert generate.main(["--check"], project) == 0
    written.write_text("old")
    assert generate.main(["--check"], project) == 1


def test_check_writes_nothing_and_names_stale_pages(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (project / "README.md").read_text()
    assert generate.main(["--check"], project) == 1
    assert (project / "README.md").read_text() == before
    assert "README.md is stale; run python docs/generate.py" in capsys.readouterr().out
    generate.main([], project)
    assert generate.main(["--check"], project) == 0


def test_paper_ratios_set_ours_beside_the_published(project: Path) -> None:
    (line,) = [row for row in generate.paper_ratios(project).split("\n") if "jpeg-huffman" in row]
    assert line == "| `jpeg-huffman (own)` (Offload-Lossy) | 3.3 % | 10 % | 11-21 % | 5-20 % |"
    assert "| 4.2 % | skipped |" in generate.paper_ratios(project)


def test_the_spread_of_seeds_is_a_line_for_each_point(tmp_path: Path) -> None:
    store = Store(tmp_path / "results" / generate.SEEDS)
    sizes_and_changes = [(2, 12.0, -1.0), (0, 10.0, -0.5), (1, 11.5, -2.0)]
    with store.locked():
        for seed, payload_bytes, change in sizes_and_changes:
            record = keyed("stem", "deepcod", {"ratio": 0.5}, seed=seed, payload_bytes=payload_bytes, change=change)
            store.write(CellKey(**record.key.model_dump()), record)
        skipped = keyed("stem", "ae-plus", status="skipped")
        store.write(CellKey(**skipped.key.model_dump()), skipped)
    _, _, *lines = generate.seed_spread(tmp_path).splitlines()
    assert lines == ["| deepcod ratio=0.5 | stem | 0, 1, 2 | 10.0, 11.5, 12.0 | 2.0 | -0.5, -2.0, -1.0 | 1.5 |"]


def test_the_published_table_is_the_one_of_our_kind(project: Path) -> None:
    assert "Table 1)" in generate.published_table(project)


def test_an_unknown_part_suggests_the_nearest(project: Path) -> None:
    with pytest.raises(UsageError, match="no generated part 'tabel'; did you mean 'table'"):
        generate.refreshed("<!-- generated: tabel -->\n<!-- end -->\n", project, "x.md")


@pytest.mark.parametrize(
    "text", ["<!-- generated: cli -->\n", "<!-- end -->\n", "<!-- generated: cli --><!-- end -->\n"]
)
def test_a_marker_without_its_partner_is_an_error(project: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"x\.md: 0 generated parts but 1 markers"):
        generate.refreshed(text, project, "x.md")


def test_errors_are_one_line_and_a_status(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "README.md").write_text("<!-- generated: nothing -->\n<!-- end -->\n")
    assert generate.main([], project) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_fitted_states_are_listed_with_codec_point_split_time_and_size(project: Path) -> None:
    folder = project / "states" / "learned"
    about = {"codec": "learned", "point": {"step": 0.8}, "workload": "pictures", "split": "stem"}
    states.keep("0" * 32, FittedState(b"device", b"edge", 150.0, about), folder)
    assert "| `learned` step=0.8 | pictures | stem | 2 min | 0.0 MB |" in generate.fitted_states(project)
    (folder / f"{'1' * 32}.zip").write_bytes(b"none")
    with pytest.raises(DataError, match=r"1\.zip is no fitted state"):
        generate.fitted_states(project)
