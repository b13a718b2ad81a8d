"""Write the parts of the pages that the code knows best: options, laws, transitions; and the manual pages.

    python -m docs.generate          write them into the pages
    python -m docs.generate --check  only tell which pages would change; exit status 1 if any

Such a part stands between `<!-- generated: NAME -->` and `<!-- end of NAME -->` in a page written by hand.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections import defaultdict, deque
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tests.laws import laws as _laws  # noqa: F401 - enters the laws into the book
from tests.laws.seen import LAWS, take
from tests.laws.worlds import ALONE, PARKS, QUICK, RESTART, STOP, TWO, Universe, normal, possible

from docs import command_line, man_page
from overseer import config, machine
from overseer.cli.main import COMMANDS, cli, load
from overseer.cli.repo import repo
from overseer.facts import Action, Life, Phase, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.laws.seen import Seen

    from overseer.facts import Generation, World

HERE = Path(__file__).parent

UNIVERSES = (
    Universe("one worker, two releases", (QUICK,), releases="AB", wishes=(RESTART, STOP), words=True,
             clears=True, halts=True, alive=2, pending=1),
    Universe("two workers", (TWO,), wishes=(RESTART, STOP), alive=2, pending=1),
    Universe("the next has fewer workers", (TWO, QUICK), wishes=(RESTART,), alive=2, pending=1),
    Universe("the next must be alone", (QUICK, ALONE), wishes=(RESTART, STOP), alive=2, pending=1),
    Universe("upgrades that wait", (PARKS,), releases="AB", wishes=(RESTART, STOP), alive=2, pending=1),
)  # fmt: skip
MOST = 400
"""Worlds that are visited of each universe; the tables do not grow any more long before."""


# -- the options -------------------------------------------------------------------------------------------


def options() -> Iterator[str]:
    """Tell every field of `Config`: its type, its default, and its own sentence."""
    yield "| option | type | default | meaning |"
    yield "|---|---|---|---|"
    (described,) = (
        node
        for node in ast.parse(inspect.getsource(config)).body
        if isinstance(node, ast.ClassDef) and node.name == "Config"
    )
    body = described.body
    for field, text in pairwise(body):
        if not isinstance(field, ast.AnnAssign):
            continue
        assert isinstance(text, ast.Expr), f"{ast.unparse(field)} has no sentence"
        meaning = " ".join(str(ast.literal_eval(text.value)).split())
        assert field.value is not None
        name, kind = ast.unparse(field.target), ast.unparse(field.annotation)
        cells = (f"`{name}`", f"`{kind}`", f"`{_default(ast.unparse(field.value))}`", meaning)
        yield " | ".join(["", *(cell.replace("|", command_line.BAR) for cell in cells), ""]).strip()


def _default(source: str) -> str:
    return source.removeprefix("signal.") if source.startswith("signal.") else source.replace("'", '"')


# -- the laws ----------------------------------------------------------------------------------------------


def laws() -> Iterator[str]:
    """Tell the laws as the heart's own docstring has them, each with the sentences that are checked."""
    docstring = inspect.getdoc(machine) or ""
    sentences = dict(re.findall(r"^(\d)\. (.*(?:\n   .*)*)", docstring, re.MULTILINE))
    book = defaultdict(list)
    for sentence in LAWS:
        number, _, told = sentence.partition(": ")
        book[number].append(told)
    for number in sorted(book):
        law = " ".join(sentences.get(number, "").split()) or _UNWRITTEN[number]
        yield f"**{number}. {law}** Checked as:"
        yield ""
        yield from (f"* {told}" for told in book[number])
        yield ""


_UNWRITTEN = {
    "0": "It is a machine: what it does follows from the world, the event and the time.",
    "8": "No wake-up is lost.",
}
"""Laws that are about the machine itself, not about the service."""


# -- the transitions ---------------------------------------------------------------------------------------


def transitions() -> Iterator[str]:
    """Find who moves a generation, a worker and the master, by visiting worlds and looking at every step."""
    moves: dict[str, dict[tuple[str, str], set[str]]] = defaultdict(lambda: defaultdict(set))
    for universe in UNIVERSES:
        for seen in _steps(universe):
            for before, fact, after in _facts(seen):
                for of, was, now in _moved(before, after):
                    moves[of][was, now].add(type(fact).__name__)
    for of, order in _ORDERS.items():
        yield f"### {of}"
        yield ""
        yield "| from | to | moved by |"
        yield "|---|---|---|"
        for (was, now), by in sorted(moves[of].items(), key=lambda row: [order.index(at) for at in row[0]]):
            yield f"| {was} | {now} | {', '.join(_shown(name) for name in sorted(by))} |"
        yield ""


def _steps(universe: Universe) -> Iterator[Seen]:
    begin = universe.begin()
    known, queue, visited = {begin}, deque([begin]), 0
    while queue and visited < MOST:
        world = queue.popleft()
        visited += 1
        for event, now in possible(world, universe):
            seen = take(world, event, now)
            yield seen
            after = normal(seen.after, now)
            bound = len(after.generations) <= universe.alive and len(after.requests) <= universe.pending
            if bound and after not in known:
                known.add(after)
                queue.append(after)


def _facts(seen: Seen) -> Iterator[tuple[World, object, World]]:
    yield seen.before, seen.event, seen.taken
    yield from seen.deeds


def _moved(before: World, after: World) -> Iterator[tuple[str, str, str]]:
    """Compare two worlds, between which one fact was recorded."""
    was, now = _by_number(before), _by_number(after)
    for n in was.keys() | now.keys():
        yield from _changed("A generation", _phase(was.get(n)), _phase(now.get(n)))
        stages, later = _stages(was.get(n)), _stages(now.get(n))
        for w in stages.keys() | later.keys():
            yield from _changed("A worker", stages.get(w, _NONE), later.get(w, _NONE))
    yield from _changed("The master", before.life.value, after.life.value)


_NONE = "(none)"
_ORDERS = {
    "A generation": [_NONE, *(phase.value for phase in Phase), *(f"{p.value}, failed" for p in Phase)],
    "A worker": [_NONE, *(stage.value for stage in Stage)],
    "The master": [life.value for life in Life],
}


def _changed(of: str, was: str, now: str) -> Iterator[tuple[str, str, str]]:
    if was != now:
        yield of, was, now


def _by_number(world: World) -> dict[int, Generation]:
    return {g.number: g for g in world.generations}


def _phase(g: Generation | None) -> str:
    if g is None:
        return _NONE
    return g.phase.value + (", failed" if g.failed and g.phase is not Phase.DRAINING else "")


def _stages(g: Generation | None) -> dict[int, str]:
    return {w.number: w.stage.value for w in g.workers} if g else {}


_ACTIONS = {action.__name__ for action in Action.__args__}


def _shown(name: str) -> str:
    """Show a decision in bold; what is not one is news."""
    return f"**`{name}`**" if name in _ACTIONS else f"`{name}`"


# -- into the pages ----------------------------------------------------------------------------------------


def repo_options() -> Iterator[str]:
    """Tell the options of `overseer repo` itself."""
    with click.Context(repo, info_name="overseer repo") as context:
        yield from command_line.options(repo, context)


def repo_commands() -> Iterator[str]:
    """Tell every command of `overseer repo`."""
    return command_line.commands(repo, "overseer repo")


def cli_commands() -> Iterator[str]:
    """Tell every other command of `overseer`."""
    return command_line.commands(_operators(), "overseer")


def _operators() -> click.Group:
    commands = {name: load(name) for name in COMMANDS if name != "repo"}
    return click.Group("overseer", commands, params=cli.params, help=cli.help, epilog=cli.epilog)


# -- the manual pages --------------------------------------------------------------------------------------


def _overseer() -> str:
    reference = (HERE / "reference" / "cli.md").read_text()
    sections = {name: man_page.section(reference, name) for name in _TOLD}
    return man_page.page(
        _operators(),
        "overseer",
        "run programs so that they restart and upgrade without being noticed",
        {**sections, "See also": "`overseer-repo`(1), `systemd.service`(5), `sd_notify`(3)"},
    )


def _overseer_repo() -> str:
    reference = (HERE / "reference" / "repo.md").read_text()
    return man_page.page(
        repo,
        "overseer repo",
        "publish signed releases for programs that upgrade themselves",
        {"Exit status": man_page.lead(reference), "See also": "`overseer`(1)"},
    )


_TOLD = ("Which service is meant", "Exit status", "On a terminal")
"""What the manual page has from the page by hand."""

MANUALS: dict[str, Callable[[], str]] = {
    "docs/man/overseer.1": _overseer,
    "docs/man/overseer-repo.1": _overseer_repo,
}
"""The manual pages, which are made as a whole."""


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "options": options,
    "laws": laws,
    "transitions": transitions,
    "repo_options": repo_options,
    "repo_commands": repo_commands,
    "cli_commands": cli_commands,
}
_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(\n<!-- end of \2 -->)", re.DOTALL)


def fresh(page: str) -> str:
    """Return a page with its generated parts made anew."""
    return _PART.sub(lambda found: f"{found[1]}\n{_text(found[2])}{found[3]}", page)


def _text(part: str) -> str:
    return "\n".join(PARTS[part]()).rstrip("\n") + "\n"


def main(arguments: list[str]) -> int:
    """Write every page that has such a part; with `--check` only say which would change."""
    stale = 0
    for path in (*sorted(HERE.rglob("*.md")), *(HERE.parent / manual for manual in MANUALS)):
        page = path.read_text() if path.exists() else ""
        made = MANUALS.get(str(path.relative_to(HERE.parent)))
        if page == (wanted := made() if made else fresh(page)):
            continue
        stale += 1
        print(path.relative_to(HERE.parent))
        if "--check" not in arguments:
            path.write_text(wanted)
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
