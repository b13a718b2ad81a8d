"""Faults to seed into the heart, one at a time, made from its syntax tree.

A rule is dropped, a guard negated or left out, a comparison flipped, `and` becomes `or`, a constant of the
vocabulary becomes its neighbour, a number another, a deadline never comes, a field is not written down.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from overseer import facts

FLIPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
}
NEARLY: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.GtE: ast.Gt, ast.Gt: ast.GtE, ast.Lt: ast.LtE}
WORDS = {name: list(getattr(facts, name).__members__) for name in ("Phase", "Stage", "Life", "Outcome")}

Change = Callable[[ast.AST], ast.AST]


@dataclass(frozen=True)
class Mutant:
    """A heart with one fault."""

    where: str  # function and line
    what: str  # from what to what
    source: str


def mutants(source: str) -> Iterator[Mutant]:
    """Make every heart with one fault, each once."""
    parts = ast.parse(source).body
    texts = [ast.unparse(part) for part in parts]
    for place, function in enumerate(parts):
        if not isinstance(function, ast.FunctionDef):
            continue
        made = {texts[place]}
        for index, node in enumerate(ast.walk(function)):
            for change in _changes(node):
                where, what, text = _apply(function, index, change)
                if text not in made:
                    made.add(text)
                    yield Mutant(where, what, "\n".join([*texts[:place], text, *texts[place + 1 :]]))


def _apply(function: ast.FunctionDef, index: int, change: Change) -> tuple[str, str, str]:
    """Change one node of a copy of a function; tell where, what, and the new text."""
    mutated = copy.deepcopy(function)
    node = list(ast.walk(mutated))[index]
    line = getattr(node.pattern if isinstance(node, ast.match_case) else node, "lineno", 0)
    old, new = _shown(node), change(node)
    _Swap(node, new).visit(mutated)
    text = ast.unparse(_Opposite().visit(mutated))
    return f"{function.name}:{line}", f"{old}  ->  {_shown(new)}", text


class _Opposite(ast.NodeTransformer):
    """Write a negated comparison as the opposite one, so that the same fault is not seeded twice."""

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        """Look for `not a is b`."""
        self.generic_visit(node)
        inner = node.operand
        if isinstance(node.op, ast.Not) and isinstance(inner, ast.Compare) and len(inner.ops) == 1:
            return ast.Compare(inner.left, [FLIPPED[type(inner.ops[0])]()], inner.comparators)
        return node


class _Swap(ast.NodeTransformer):
    """Put one node in the place of another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        """Look for it everywhere."""
        return self.new if node is self.old else self.generic_visit(node)


def _shown(node: ast.AST) -> str:
    text = "case " + ast.unparse(node.pattern) if isinstance(node, ast.match_case) else ast.unparse(node)
    if isinstance(node, ast.match_case) and node.guard:
        text += f" if {ast.unparse(node.guard)}"
    return " ".join(text.split())[:120]


def _changes(node: ast.AST) -> Iterator[Change]:
    """List what can be done to one node."""
    match node:
        case ast.Expr(value=ast.Yield() | ast.YieldFrom()):
            yield lambda _: ast.Pass()
        case ast.match_case(guard=guard):
            if guard:
                yield _guarded(lambda old: ast.UnaryOp(ast.Not(), old))
                yield _guarded(lambda _: None)
            yield _guarded(lambda _: ast.Constant(value=False))
        case ast.If():
            yield _negated
        case ast.IfExp():
            yield lambda n: n.body if isinstance(n, ast.IfExp) else n
            yield lambda n: n.orelse if isinstance(n, ast.IfExp) else n
        case ast.BoolOp(values=values):
            yield from (_without(i) for i in range(len(values)))
            yield _swapped
        case ast.Compare(ops=ops):
            for table in (FLIPPED, NEARLY):
                yield from (_compared(i, table) for i, op in enumerate(ops) if type(op) in table)
        case ast.Attribute(value=ast.Name(id=kind), attr=word) if kind in WORDS:
            words = WORDS[kind]
            other = words[(words.index(word) + 1) % len(words)]
            yield lambda _: ast.Attribute(ast.Name(kind, ast.Load()), other, ast.Load())
        case ast.BinOp(left=ast.Name(id="now"), op=ast.Add()):
            yield lambda _: ast.Name("inf", ast.Load())
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            yield lambda _: ast.Constant(value=number + 1)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Name(id="inf")):
            yield lambda _: ast.Name("inf", ast.Load())
        case ast.Call(func=ast.Name(id="replace" | "Worker" | "Generation"), keywords=keywords):
            yield from (_untold(i) for i in range(len(keywords)))
        case ast.Call(func=ast.Name(id="min" | "max" as which)):
            yield lambda n: _renamed(n, {"min": "max", "max": "min"}[which])


def _guarded(new: Callable[[ast.expr], ast.expr | None]) -> Change:
    def change(node: ast.AST) -> ast.AST:
        assert isinstance(node, ast.match_case)
        old = copy.deepcopy(node)
        old.guard = new(node.guard or ast.Constant(value=True))
        return old

    return change


def _negated(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.If)
    other = copy.deepcopy(node)
    other.test = ast.UnaryOp(ast.Not(), other.test)
    return other


def _without(i: int) -> Change:
    def change(node: ast.AST) -> ast.AST:
        assert isinstance(node, ast.BoolOp)
        left = [value for n, value in enumerate(node.values) if n != i]
        return ast.BoolOp(node.op, left) if len(left) > 1 else left[0]

    return change


def _swapped(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.BoolOp)
    return ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)


def _compared(i: int, table: dict[type[ast.cmpop], type[ast.cmpop]]) -> Change:
    def change(node: ast.AST) -> ast.AST:
        assert isinstance(node, ast.Compare)
        ops = [table[type(op)]() if n == i else op for n, op in enumerate(node.ops)]
        return ast.Compare(node.left, ops, node.comparators)

    return change


def _untold(i: int) -> Change:
    def change(node: ast.AST) -> ast.AST:
        assert isinstance(node, ast.Call)
        return ast.Call(node.func, node.args, [word for n, word in enumerate(node.keywords) if n != i])

    return change


def _renamed(node: ast.AST, name: str) -> ast.AST:
    assert isinstance(node, ast.Call)
    return ast.Call(ast.Name(name, ast.Load()), node.args, node.keywords)
