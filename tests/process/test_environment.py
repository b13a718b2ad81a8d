"""What a generation finds around it: all that whoever started the service meant, and nothing of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.process.service import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service

SOURCES = str(Path(__file__).parents[2] / "src")

TELLING = """
AT_IMPORT
import json, os, subprocess, sys
import overseer

def variables_of_a_child():
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    return json.loads(subprocess.check_output([sys.executable, "-S", "-c", code]))

early = variables_of_a_child()

def program(state):
    umask = os.umask(0)
    os.umask(umask)
    told = {
        "environ": dict(os.environ), "early": early, "late": variables_of_a_child(),
        "cwd": os.getcwd(), "umask": umask, "argv": sys.argv, "prefix": sys.prefix, "path": sys.path,
        "dev": sys.flags.dev_mode, "optimize": sys.flags.optimize, "warnings": sys.warnoptions,
        "generation": state.generation, "bin_path": state.bin_path, "id": state.id,
        "descriptors": sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if
                              os.path.exists(f"/proc/self/fd/{fd}")),
    }
    with open(f"told{state.generation}.new", "w") as file:
        json.dump(told, file)
    os.rename(f"told{state.generation}.new", f"told{state.generation}")
    state.ready()
    state.draining.wait()

if __name__ == "__main__":
    overseer.run(program, **OPTIONS)
"""
"""A program that writes down what it finds around it."""


def source(at_import: str = "") -> str:
    """Return a program that does something before anything else."""
    return TELLING.replace("AT_IMPORT", at_import)


def told(app: Service, generation: int = 1, folder: Path | None = None) -> dict[str, Any]:
    """Wait for what a generation wrote down."""
    path = (folder or app.folder) / f"told{generation}"
    until(path.exists, f"generation {generation} has told; the log is\n{app.log}")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_our_variables_reach_nobody(service: Callable[..., Service]) -> None:
    """Neither the program nor a process it starts, however early, nor those of the next generation."""
    app = service(source()).serves()
    app.restart()
    for generation in (1, 2):
        found = told(app, generation)
        for where in ("environ", "early", "late"):
            assert not [name for name in found[where] if name.startswith("OVERSEER_")]


def test_the_variables_of_whoever_started_it_are_as_they_were(service: Callable[..., Service]) -> None:
    """All of them, in every generation, also after the master has started itself anew."""
    app = service(source(), env={"COLOUR": "grün", "EMPTY": "", "LONG": "x" * 10_000}).serves()
    first = told(app)["environ"]
    assert (first["COLOUR"], first["EMPTY"], first["LONG"]) == ("grün", "", "x" * 10_000)
    app.ask("reexec")
    app.restart()
    assert told(app, 2)["environ"] == first


def test_what_a_program_adds_to_its_environment_stays_with_its_generation(
    service: Callable[..., Service],
) -> None:
    """Counting up a variable at import gives every generation the same number."""
    count = 'import os; os.environ["COUNT"] = os.environ.get("COUNT", "") + "+"'
    app = service(source().replace("early =", f"{count}\nearly =")).serves()
    app.restart()
    assert [told(app, generation)["environ"]["COUNT"] for generation in (1, 2)] == ["+", "+"]


def test_every_generation_starts_where_the_first_process_stood(service: Callable[..., Service]) -> None:
    """A program that goes elsewhere, also before it runs, does not take the next one with it."""
    away = "import os; os.makedirs('sub', exist_ok=True)"
    move = "os.chdir('sub')\nearly ="
    app = service(source(away).replace("early =", move)).serves()
    app.restart()
    for generation in (1, 2):
        assert told(app, generation, app.folder / "sub")["cwd"] == str(app.folder / "sub")


def test_a_script_given_by_a_relative_path_is_found_again_from_elsewhere(
    service: Callable[..., Service],
) -> None:
    """It is what it was when the process started, wherever the program went since."""
    moved = source("import os; FOLDER = os.getcwd()").replace("early =", "os.chdir('/')\nearly =")
    app = service(moved.replace('f"told', 'FOLDER + f"/told'), command=("app.py",)).serves()
    app.restart()
    assert told(app, 2)["bin_path"] == str(app.folder / "app.py")


def test_a_folder_that_is_a_link_is_looked_up_anew(service: Callable[..., Service], tmp_path: Path) -> None:
    """The next generation runs what the link leads to by then, in the folder it leads to."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "app.py").write_text(source().replace("**OPTIONS", "address='127.0.0.1:0'"))
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "one")
    app = service(command=("app.py",), prefix=("sh", "-c", f'cd {link}; exec "$@"', "sh")).serves()
    assert told(app, 1, tmp_path / "one")["cwd"] == str(tmp_path / "one")
    (tmp_path / "next").symlink_to(tmp_path / "two")
    (tmp_path / "next").rename(link)
    app.restart()
    assert told(app, 2, tmp_path / "two")["cwd"] == str(tmp_path / "two")


def test_the_mask_for_new_files_is_kept(service: Callable[..., Service]) -> None:
    """Files of the program get the mode its operator meant."""
    app = service(source(), prefix=("sh", "-c", 'umask 027; exec "$@"', "sh")).serves()
    app.restart()
    assert [told(app, generation)["umask"] for generation in (1, 2)] == [0o027, 0o027]


def test_arguments_are_kept(service: Callable[..., Service]) -> None:
    """Also those that look like ours, are empty, or are no text."""
    args = ["--port", "1", "", "-c", "--try", "two words", "\udcff"]
    app = service(source(), args=args).serves()
    app.restart()
    assert told(app, 2)["argv"][1:] == args


def test_flags_of_the_interpreter_are_kept(service: Callable[..., Service]) -> None:
    """-X, -W and -O are the operator's."""
    app = service(source(), command=("-X", "dev", "-W", "error::BytesWarning", "-O", "app.py")).serves()
    app.restart()
    found = told(app, 2)
    assert (found["dev"], found["optimize"]) == (True, 1)
    assert "error::BytesWarning" in found["warnings"]


def test_a_program_given_by_c_is_started_again(service: Callable[..., Service]) -> None:
    """The text itself is the program."""
    text = source().replace("**OPTIONS", "address='127.0.0.1:0'")
    app = service(command=("-c", text), args=("one",)).serves()
    app.restart()
    assert told(app, 2)["argv"] == ["-c", "one"]


@pytest.mark.parametrize("first", ["", "import overseer\n"])
def test_a_package_given_by_m_is_started_again(
    service: Callable[..., Service], tmp_path: Path, first: str
) -> None:
    """Also where the package imports overseer before Python knows what it will run."""
    package = tmp_path / "lib" / "thing"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(first)
    (package / "__main__.py").write_text(source().replace("**OPTIONS", "address='127.0.0.1:0'"))
    app = service(command=("-m", "thing"), args=("one",), env={"PYTHONPATH": str(package.parent)}).serves()
    app.restart()
    assert told(app, 2)["argv"] == [str(package / "__main__.py"), "one"]


def test_a_folder_with_a_main_is_started_again(service: Callable[..., Service], tmp_path: Path) -> None:
    """`python folder`, by a relative path."""
    (tmp_path / "thing").mkdir()
    (tmp_path / "thing" / "__main__.py").write_text(source().replace("**OPTIONS", "address='127.0.0.1:0'"))
    app = service(command=("../thing",), args=("one",)).serves()
    app.restart()
    assert told(app, 2)["argv"][1:] == ["one"]


@pytest.mark.parametrize("bundled", [False, True])
def test_a_zipapp_is_started_again(service: Callable[..., Service], tmp_path: Path, bundled: bool) -> None:  # noqa: FBT001
    """Also one that brings overseer itself, and so the master, in the archive; it is the binary."""
    archive = tmp_path / "thing.pyz"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("__main__.py", source().replace("**OPTIONS", "address='127.0.0.1:0'"))
        for path in Path(SOURCES).rglob("*.py") if bundled else ():
            file.write(path, path.relative_to(SOURCES))
    python = os.path.realpath(sys.executable) if bundled else sys.executable
    app = service(command=(str(archive),), args=("one",), python=python).serves()
    assert app.ask("reexec")["outcome"] == "done"
    app.restart()
    found = told(app, 2)
    assert found["argv"] == [str(archive), "one"]
    assert found["bin_path"] == str(archive)
    assert len(found["id"]) == 64
    in_archive = f"{archive}/overseer/master".encode() in Path(f"/proc/{app.pid}/cmdline").read_bytes()
    assert in_archive == bundled


def test_a_virtual_environment_keeps_its_packages(service: Callable[..., Service], tmp_path: Path) -> None:
    """Generations run in the environment whose interpreter was named, although the master does not."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "v"], check=True)
    (site,) = (tmp_path / "v" / "lib").glob("python*/site-packages")
    (site / "sources.pth").write_text(SOURCES)
    app = service(source(), python=str(tmp_path / "v" / "bin" / "python")).serves()
    app.restart()
    found = told(app, 2)
    assert found["prefix"] == str(tmp_path / "v")
    assert str(site) in found["path"]


def test_a_program_holds_no_descriptor_that_is_not_its_own(service: Callable[..., Service]) -> None:
    """Nor does it get more of them with each generation."""
    app = service(source()).serves()
    first = len(told(app)["descriptors"])
    for _ in range(3):
        app.restart()
    app.ask("reexec")
    app.restart()
    assert len(told(app, 5)["descriptors"]) == first
