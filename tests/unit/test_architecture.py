"""docs/architecture.md is about the folders there are, and unit tests lie in folders of the same names."""

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "video_salmonn"
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
FOLDERS = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")} - {"."}
SMALL = "video_salmonn.embedded"


def test_every_folder_has_a_row_and_every_row_a_folder():
    assert set(re.findall(r"^\| `([\w/]+)` \|", PAGE, re.M)) == FOLDERS


def test_every_folder_says_what_it_is():
    def says(name):
        return ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text("utf-8")))

    assert [name for name in FOLDERS if not says(name)] == []


def test_files_that_the_walks_name_exist():
    named = re.findall(rf"`((?:{'|'.join(sorted(FOLDERS))})/[\w/]+\.py)`", PAGE)
    assert len(named) > 20 and [name for name in named if not (PACKAGE / name).is_file()] == []


def test_the_order_of_the_folders_is_checked_whole_and_without_exception():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contract = project["tool"]["importlinter"]["contracts"][0]
    assert contract["exhaustive"] and "ignore_imports" not in contract
    assert [layer for layer in contract["layers"] if "(" in layer] == [], "none may be absent"


def imported(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_only_commands_know_the_small_model():
    others = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] not in ("embedded", "cli")]
    assert [str(path) for path in others if any(f"{name}.".startswith(f"{SMALL}.") for name in imported(path))] == []


def test_unit_tests_lie_in_folders_of_the_package():
    unit = ROOT / "tests" / "unit"
    assert {path.parent.relative_to(unit).as_posix() for path in unit.rglob("test_*.py")} - {"."} <= FOLDERS


def test_the_words_are_classes_where_the_page_says():
    table = PAGE[PAGE.index("## Words") :]
    rows = re.findall(r"^\| ([\w -]+) \| .* \| `(\w+)` \| `([\w/]+\.py)` \|$", table, re.M)
    assert len(rows) > 20 and len({word for word, *_ in rows}) == len(rows), "each word once"
    for word, name, file in rows:
        assert re.search(rf"^(class {name}\b|{name} = )", (PACKAGE / file).read_text("utf-8"), re.M), (word, name, file)


def test_no_two_public_classes_share_a_name():
    places: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
