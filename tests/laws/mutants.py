"""Show that stories and laws catch faults: seed the heart with each of many, one at a time (`make mutants`).

Every mutant is run in a process of its own, forked from one that has imported what takes long; a mutant that
does not end is caught as well. It prints who was killed by whom, and who survived.
"""

from __future__ import annotations

import importlib
import inspect
import os
import resource
import signal
import sys
import time
import traceback
import types
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis.stateful  # noqa: F401 - what takes long is imported once, before the forks
from tests.laws.equivalent import EQUIVALENT
from tests.laws.mutations import Mutant, mutants

import overseer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEART = Path(overseer.__file__).with_name("machine.py")
STORIES = ("test_machine", "test_machine_upgrades", "test_machine_workers", "test_machine_end")
WORLDS = 80  # of each small universe
FATES = {
    (False, False): "stories and laws",
    (True, False): "laws alone",
    (False, True): "stories alone",
    (True, True): "nobody",
}
SECONDS = {
    "stories": 1.5,
    "laws": 8.0,
}  # of processor time, many times what is needed: more means without end


def main(words: list[str]) -> int:
    """Run all mutants, or those whose place or fault contains a word; return how many survive unexplained."""
    started, counts, left = time.monotonic(), Counter[str](), []
    source = HEART.read_text()
    if not (_passes(source, stories) and _passes(source, laws)):
        print("the heart itself fails; there is nothing to compare with")
        return 1
    chosen = [m for m in mutants(source) if all(word in f"{m.where} {m.what}" for word in words)]
    for mutant in chosen:
        fate = FATES[_passes(mutant.source, stories), _passes(mutant.source, laws)]
        counts[fate] += 1
        if fate == "nobody":
            left.append(mutant)
            why = explanation(mutant) or "UNEXPLAINED"
            print(f"survived  {mutant.where}  {mutant.what}\n          {why}", flush=True)
    unexplained = [m for m in left if explanation(m) is None]
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    took = f"{time.monotonic() - started:.0f} s, {used:.0f} s of them at work"
    print(f"{len(chosen)} mutants in {took}, killed by:", dict(counts))
    print(f"{len(left)} survived, {len(unexplained)} of them unexplained")
    return len(unexplained)


def explanation(mutant: Mutant) -> str | None:
    """Say why a mutant makes no difference, if it is known to make none."""
    return EQUIVALENT.get(f"{mutant.where.partition(':')[0]}: {mutant.what}")


def _passes(source: str, suite: Callable[[], None]) -> bool:
    """Whether a suite finds nothing wrong with a heart, in a process of its own."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS[suite.__name__])
            if "MUTANTS_SHOW" not in os.environ:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                os.dup2(1, 2)
            transplant(source)
            suite()
            code = 0
        except BaseException:  # noqa: BLE001 - whatever is raised, the mutant was caught
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def transplant(source: str) -> None:
    """Put another heart in the place of the real one, for whoever imports it from now on."""
    heart = types.ModuleType("overseer.machine")
    sys.modules["overseer.machine"] = heart
    setattr(overseer, "machine", heart)  # noqa: B010 - a module has no such field for a type checker
    exec(compile(source, "mutant", "exec"), heart.__dict__)


def stories() -> None:
    """Run the stories as pytest would; the first that fails raises."""
    for name in STORIES:
        for story, arguments in _cases(importlib.import_module(f"tests.unit.{name}")):
            story(**arguments)


def _cases(module: types.ModuleType) -> Iterator[tuple[Callable[..., None], dict[str, object]]]:
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if not name.startswith("test_"):
            continue
        marks = [mark for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
        if not marks:
            yield function, {}
        for mark in marks:
            yield from ((function, {mark.args[0]: one}) for one in mark.args[1])


def laws() -> None:
    """Walk some histories and the beginning of every small universe; the first broken law raises."""
    worlds = importlib.import_module("tests.laws.worlds")
    reachable = importlib.import_module("tests.laws.test_every_reachable_world")
    histories = importlib.import_module("tests.laws.test_laws_hypothesis")
    for universe in reachable.SMALL:
        worlds.explore(universe, most=20)
    histories.walk(20, 40)
    for universe in reachable.SMALL:
        worlds.explore(universe, most=WORLDS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) > 0)
