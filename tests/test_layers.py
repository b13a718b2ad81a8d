"""The house: imports point only downwards, and the three long-lived roles never import each other."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "overseer"

PURE = {"values", "errors", "version", "facts", "machine"}
SHARED = {"wire", "addresses", "sockets", "settings", "notify", "processes"}

MAY_IMPORT: dict[str, set[str]] = {
    "values": set(),
    "version": set(),
    "errors": set(),
    "facts": {"values"},
    "machine": {"values", "facts"},
    "addresses": {"values", "errors"},
    "wire": {"errors"},
    "notify": {"values"},
    "processes": set(),
    "settings": {"values", "errors", "facts"},
    "sockets": {"values", "errors", "addresses", "processes"},
    "master": PURE | SHARED,
    "places": {"errors"},
    "edition": {"version"},
    "role": {"wire"},
    "voice": set(),
    "privileges": {"errors"},
    "command": {"errors", "role"},
    "program": {"errors", "wire"},
    "store": {"errors"},
    "fetcher": {"errors", "version"},
    "updater": {"errors", "wire", "store", "fetcher", "version"},
    "trust": {"errors", "store", "fetcher", "updater"},
    "publish": {"errors", "version", "store", "fetcher", "updater", "trust"},
    "cli": PURE
    | SHARED
    | {"store", "fetcher", "updater", "config", "command", "role", "launch", "entry", "publish", "trust"}
    | {"places", "foreign", "doctor"},
    "doctor": {"errors", "values", "addresses", "store", "version"},
    "foreign": SHARED
    | {"values", "errors", "facts", "places", "role", "command", "edition", "config", "program", "launch"},
    "serve": {"errors", "wire"},
    "__main__": {"cli"},
    "config": {"errors", "facts", "addresses", "settings", "fetcher", "places", "trust"},
}
"""For each room which others it may use when it runs; annotations may name anything."""

ON_TOP = {"launch", "entry", "__init__"}
"""What puts things together."""

NOT_IN_THE_MASTER = {
    "dataclasses",
    "typing",
    "logging",
    "re",
    "pathlib",
    "subprocess",
    "threading",
    "hashlib",
}
NOT_IN_THE_MASTER |= {"asyncio", "ssl", "http", "urllib", "inspect", "collections"}


def room_of(path: Path) -> str:
    """Return the top-level module or folder that a file belongs to."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def files() -> list[Path]:
    """Return every source file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def imports(path: Path, *, lazy: bool = True) -> set[str]:
    """Return the modules that a file imports when it runs; without `lazy` only those at its top."""
    found: set[str] = set()
    todo: list[ast.AST] = [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                todo += node.orelse
                continue
            case ast.FunctionDef() | ast.AsyncFunctionDef() if not lazy:
                continue
            case ast.Import():
                found |= {name.name for name in node.names}
            case ast.ImportFrom(module=str(module), level=0):
                found.add(module)
                found |= {f"{module}.{name.name}" for name in node.names if module == "overseer"}
            case ast.ImportFrom():
                raise AssertionError(f"{path}: a relative import")
        todo += ast.iter_child_nodes(node)
    return found


def rooms(modules: set[str]) -> set[str]:
    """Return which rooms of the package these modules are in."""
    return {name.split(".")[1] for name in modules if name.startswith("overseer.")}


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_only_downwards(path: Path) -> None:
    """A room uses what its row of the table says and nothing else, at its top or in a function."""
    room = room_of(path)
    if room in ON_TOP:
        return
    assert room in MAY_IMPORT, f"{room} is a new room: say what it may import"
    assert rooms(imports(path)) - {room} <= MAY_IMPORT[room]


def test_there_is_no_room_that_does_not_exist() -> None:
    """The table is no longer than the house."""
    assert {room_of(path) for path in files()} >= set(MAY_IMPORT)


@pytest.mark.parametrize("role", ["master", "program", "updater"])
def test_the_roles_do_not_import_each_other(role: str) -> None:
    """Not even through something else: data goes between them."""
    reached, todo = set(), {role}
    while todo:
        reached.add(room := todo.pop())
        todo |= MAY_IMPORT[room] - reached
    assert reached & {"master", "program", "updater"} == {role}


@pytest.mark.parametrize("room", ["master", *sorted(PURE | SHARED)])
def test_a_master_is_made_of_the_standard_library_only(room: str) -> None:
    """And of little of it, at least until something has gone wrong."""
    for path in (path for path in files() if room_of(path) == room):
        used = {name.partition(".")[0] for name in imports(path)} - {"overseer"}
        assert used <= set(sys.stdlib_module_names), path
        at_once = {name.partition(".")[0] for name in imports(path, lazy=False)}
        assert not at_once & NOT_IN_THE_MASTER, path


@pytest.mark.parametrize("room", sorted(PURE))
def test_the_heart_does_nothing(room: str) -> None:
    """What decides can neither open a file nor read a clock."""
    for path in (path for path in files() if room_of(path) == room):
        used = {name.partition(".")[0] for name in imports(path)} - {"overseer"}
        assert used <= {"__future__", "enum", "math", "typing"}, path


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_is_a_drawer_for_leftovers(path: Path) -> None:
    """Nor so long that something in it is in the wrong room."""
    assert path.stem not in {"utils", "util", "helpers", "common", "misc", "tools"}
    assert len(path.read_text().splitlines()) <= 400


def test_the_package_itself_is_a_list_of_names() -> None:
    """`overseer/__init__.py` defines nothing."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
