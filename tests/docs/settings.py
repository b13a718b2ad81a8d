"""Files of other programs that the pages show, read as their owners read them."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

from tests.docs.blocks import ROOT, UntestableError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.docs.blocks import Block

_INSTRUCTIONS = {"FROM", "RUN", "WORKDIR", "COPY", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "STOPSIGNAL", "USER"}

_SUPERVISOR = {
    "command", "directory", "user", "autostart", "autorestart", "startsecs", "stopsignal", "stopwaitsecs",
    "stopasgroup", "killasgroup", "stdout_logfile", "stderr_logfile", "redirect_stderr", "environment",
    "exitcodes",
}  # fmt: skip


def verify(block: Block, folder: Path) -> None:
    """Read a block as the program would that it is for."""
    match block.language:
        case "json":
            json.loads(block.text)
        case "jsonl" if "words" in block.wants:
            _verify_words(block)
        case "jsonl":
            assert all(isinstance(json.loads(line), dict) for line in block.text.splitlines())
        case "toml":
            tomllib.loads(block.text)
        case "ini" if "unit" in block.wants:
            _verify_unit(block, folder)
        case "ini" if "supervisor" in block.wants:
            _verify_supervisor(block)
        case "dockerfile":
            _verify_dockerfile(block)
        case "text":
            assert block.text.strip()
        case _:
            raise UntestableError(f"{block.name}: say which program reads this: unit=NAME or supervisor")


def _verify_unit(block: Block, folder: Path) -> None:
    """Every section, key and value has to be one systemd knows; `systemd-analyze` says so where it is."""
    text = block.text
    for section in re.findall(r"^\[(.*)\]$", text, re.MULTILINE):
        assert section in ("Unit", "Service", "Socket", "Install"), section
    for line in text.splitlines():
        assert re.fullmatch(r"|#.*|\[\w+\]|\w+=.*", line), f"{block.name}: {line!r}"
    if not shutil.which("systemd-analyze"):
        return
    # What the unit starts has to be there; nothing of it is started.
    there = folder / "srv"
    (there / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
    for name in ("python", "app.py"):
        target = there / (".venv/bin/python" if name == "python" else name)
        if not target.exists():
            target.symlink_to(sys.executable)
    text = re.sub(r"/srv/\w+", str(there), text)
    unit = folder / block.wants["unit"]
    unit.write_text(text)
    if unit.suffix == ".socket":  # which is nothing without its service
        unit.with_suffix(".service").write_text("[Service]\nExecStart=/bin/true\n")
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    ours = [line for line in done.stderr.splitlines() if str(unit.name) in line]
    assert not ours, "\n".join(ours)


def _verify_supervisor(block: Block) -> None:
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.read_string(block.text)
    for section in parser.sections():
        assert section.startswith("program:"), section
        unknown = set(parser[section]) - _SUPERVISOR
        assert not unknown, f"{block.name}: {unknown}"


def _verify_dockerfile(block: Block) -> None:
    """Known instructions; what is started is a list, or else PID 1 would be a shell."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if not line or line.startswith("#"):
            continue
        instruction, _, rest = line.partition(" ")
        assert instruction in _INSTRUCTIONS, line
        if instruction in ("CMD", "ENTRYPOINT"):
            assert isinstance(json.loads(rest), list)


def _verify_words(block: Block) -> None:
    """Each line is a word that somebody in the code says or hears."""
    code = "".join(path.read_text() for path in (ROOT / "src" / "overseer").rglob("*.py"))
    for line in block.text.splitlines():
        word = json.loads(line)
        assert isinstance(word, dict)
        assert f'"{word["type"]}"' in code or f'type="{word["type"]}"' in code, word
