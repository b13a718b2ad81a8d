"""How a bench writes down what it found: a page for people, the same as data, and what machine it was."""

from __future__ import annotations

import json
import os
import platform
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, name: str, title: str, text: str, found: dict[str, Any]) -> None:
    """Write NAME.md and NAME.json; in the text `{machine}` stands for the machine."""
    folder.mkdir(exist_ok=True)
    machine = {
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }
    (folder / f"{name}.json").write_text(json.dumps({"machine": machine, **found}, indent=1) + "\n")
    told = ", ".join(f"{name} {what}" for name, what in machine.items())
    (folder / f"{name}.md").write_text(f"# {title}\n\n{text.replace('{machine}', told)}\n")
