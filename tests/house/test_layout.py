"""The rooms, their files and what may stand in them."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from considerate.recommenders.registry import RECOMMENDERS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "considerate"
MODULES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, inside its functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_package_inits_are_empty() -> None:
    filled = [path.relative_to(ROOT) for path in PACKAGE.rglob("__init__.py") if path.read_text(encoding="utf-8")]
    assert filled == []


def test_every_room_holds_code() -> None:
    empty = [room.name for room in ROOMS if not any(path.name != "__init__.py" for path in room.glob("*.py"))]
    assert empty == []


def test_every_room_has_its_place_in_the_layers() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = (contract["layers"] for contract in contracts if contract["id"] == "layers")
    placed = {name.strip(" ()") for layer in layers for name in layer.split(":")}
    rooms = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in MODULES if path.name != "__init__.py"
    }
    missing = [room for room in sorted(rooms) if room not in placed and room.split(".")[0] not in placed]
    assert missing == []


@pytest.mark.parametrize("folder", ["src", "pipelines"])
def test_no_module_is_longer_than_300_lines(folder: str) -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > 300} == {}


def test_pipelines_fit_on_a_screen_or_two() -> None:
    lengths = {
        path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "pipelines").glob("*.py")
    }
    assert {name: n for name, n in lengths.items() if n > 90} == {}


def test_the_package_never_imports_a_pipeline() -> None:
    pipelines = {path.stem for path in (ROOT / "pipelines").glob("*.py")} | {"pipelines"}
    guilty = [path.name for path in MODULES if pipelines & {name.split(".")[0] for name in imports(path)}]
    assert guilty == []


def test_one_module_reads_the_environment() -> None:
    readers = []
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        # setdefault hands a switch to a library that knows no other way: it reads nothing.
        if names.count("os.environ") > names.count("os.environ.setdefault") or "os.getenv" in names:
            readers.append(path.relative_to(PACKAGE).as_posix())
    assert readers == ["settings/environment.py"]


def test_no_module_pickles() -> None:
    guilty = [path.name for path in MODULES if {"pickle", "joblib", "cloudpickle", "dill"} & set(imports(path))]
    assert guilty == []


def test_test_files_have_names_of_their_own_and_no_packages() -> None:
    files = [path for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    names = [path.name for path in files]
    assert sorted(set(names)) == sorted(names)
    assert "__init__.py" not in names


def test_every_model_file_has_a_card() -> None:
    files = sorted((ROOT / "models").glob("*.toml"))
    assert files
    cards = {path.name.split(".")[0]: path.with_name(path.name.split(".")[0] + ".md") for path in files}
    assert [name for name, card in cards.items() if not card.is_file()] == []


def test_every_algorithm_has_a_model_file() -> None:
    named = {tomllib.loads(path.read_text(encoding="utf-8"))["algorithm"] for path in (ROOT / "models").glob("*.toml")}
    assert sorted(set(RECOMMENDERS) - named) == []
