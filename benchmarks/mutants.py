"""Small wrong changes to a module, one at a time: what tests ought to notice.

Each rule is a change that a tired author makes: a comparison turned or made
strict, another arithmetic operator, a constant off by one, a condition negated,
a statement forgotten, the smallest in place of the largest.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,  # codespell:ignore notin
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
CHANGED = (
    ast.Compare, ast.BinOp, ast.AugAssign, ast.BoolOp, ast.UnaryOp, ast.Constant, ast.Attribute, ast.IfExp, ast.If,
    ast.While, ast.Expr,
)  # fmt: skip
NAMES = {
    "amin": "amax", "amax": "amin", "min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum",
    "any": "all", "all": "any", "ones_like": "zeros_like", "zeros_like": "ones_like", "cos": "sin", "sin": "cos",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        file: The module.
        line: Where in it, from 1.
        change: What was changed into what.
        function: First line of the function that it is in, as its code object says; None outside of any.
        source: The module's text.
        index: Number of the changed node in a walk over the tree; negative for a module as it is.
        variant: Number of its rule.
    """

    file: Path
    line: int
    change: str
    function: int | None
    source: str
    index: int
    variant: int

    def __str__(self) -> str:
        return f"{self.file.as_posix()}:{self.line}: {self.change}"

    def tree(self) -> ast.Module:
        """The changed module, ready to compile."""
        if self.index < 0:
            return ast.parse(self.source)
        return ast.fix_missing_locations(_changed(self.source, self.index, self.variant)[0])


def mutants(file: Path, source: str) -> Iterator[Mutant]:
    """All mutants of a module, in the order of its lines.

    Left alone are annotations, docstrings and what only words an error message.
    """
    original = ast.parse(source)
    eligible, functions = _eligible(original), _functions(original)
    for index, node in enumerate(ast.walk(original)):
        if id(node) not in eligible or not isinstance(node, CHANGED):
            continue
        for variant in range(2 if isinstance(node, ast.Compare | ast.BinOp | ast.BoolOp) else 1):
            change = _changed(source, index, variant)[1]
            if change:
                yield Mutant(file, getattr(node, "lineno", 0), change, functions[id(node)], source, index, variant)


def _changed(source: str, index: int, variant: int) -> tuple[ast.Module, str]:
    """A module with one change, and what it is; the change is empty where no rule applies."""
    tree = ast.parse(source)
    node = next(node for i, node in enumerate(ast.walk(tree)) if i == index)
    return tree, _apply(tree, node, variant)


def _functions(tree: ast.Module) -> dict[int, int | None]:
    """First line of the innermost function that every node, by its id, is in; defaults are outside of theirs."""
    found: dict[int, int | None] = {}

    def visit(node: ast.AST, function: int | None) -> None:
        found[id(node)] = function
        inside = function
        if isinstance(node, ast.FunctionDef):
            inside = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        body = {id(child) for child in getattr(node, "body", [])} if inside != function else set()
        for child in ast.iter_child_nodes(node):
            visit(child, inside if id(child) in body else function)

    visit(tree, None)
    return found


def _eligible(tree: ast.Module) -> set[int]:
    """Ids of the nodes that decide what the module does."""
    left_alone: set[int] = set()
    for node in ast.walk(tree):
        skipped: list[ast.AST | None] = []
        if isinstance(node, ast.arg | ast.AnnAssign):
            skipped.append(node.annotation)
        elif isinstance(node, ast.FunctionDef):
            skipped += [node.returns, *node.decorator_list]
        elif isinstance(node, ast.ClassDef):
            skipped += node.decorator_list
        elif isinstance(node, ast.Raise | ast.Import | ast.ImportFrom | ast.JoinedStr) or _is_alias(node):
            skipped.append(node)
        for root in skipped:
            if root is not None:
                left_alone |= {id(inner) for inner in ast.walk(root)}
    return {id(node) for node in ast.walk(tree)} - left_alone


def _is_alias(node: ast.AST) -> bool:
    """Whether a node is an assignment that names a type, or what a module exports."""
    if not isinstance(node, ast.Assign):
        return False
    named = [target.id for target in node.targets if isinstance(target, ast.Name)]
    base = node.value.value if isinstance(node.value, ast.Subscript) else None
    return named == ["__all__"] or (isinstance(base, ast.Name) and base.id == "Literal")


def _apply(tree: ast.Module, node: ast.AST, variant: int) -> str:
    """Change a node in place; what was changed, or nothing where no rule (of this number) applies."""
    before = ast.unparse(node) if isinstance(node, ast.expr | ast.stmt) else ""
    if variant == 1:
        return _second(tree, node, before)
    match node:
        case ast.Compare(ops=[op, *_]) if type(op) in COMPARISONS:
            node.ops[0] = COMPARISONS[type(op)]()
        case ast.BinOp(op=op) if type(op) in OPERATORS:
            node.op = OPERATORS[type(op)]()
        case ast.AugAssign(op=op) if type(op) in OPERATORS:
            node.op = OPERATORS[type(op)]()
        case ast.BoolOp(op=op):
            node.op = ast.Or() if isinstance(op, ast.And) else ast.And()
        case ast.UnaryOp(operand=operand):
            _replace(tree, node, operand)
            return f"{before} -> {ast.unparse(operand)}"
        case ast.Constant(value=bool() as value):
            node.value = not value
        case ast.Constant(value=int() | float() as value):
            node.value = value + 1
        case ast.Attribute(attr=name) if name in NAMES:
            node.attr = NAMES[name]
        case ast.IfExp(body=body, orelse=orelse):
            node.body, node.orelse = orelse, body
        case ast.If(test=test) | ast.While(test=test):
            node.test = ast.UnaryOp(ast.Not(), test)
            return f"if {ast.unparse(test)} -> if not ({ast.unparse(test)})"
        case ast.Expr(value=ast.Call()):
            _replace(tree, node, ast.Pass())
            return f"{_short(before)} -> pass"
        case _:
            return ""
    return f"{_short(before)} -> {_short(ast.unparse(node))}"


def _second(tree: ast.Module, node: ast.AST, before: str) -> str:
    """The other rule of a node that has two: comparisons turned round, operands left out."""
    turned: dict[type[ast.cmpop], type[ast.cmpop]] = {
        ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE
    }  # fmt: skip
    match node:
        case ast.Compare(ops=[op, *_]) if type(op) in turned:
            node.ops[0] = turned[type(op)]()
            return f"{_short(before)} -> {_short(ast.unparse(node))}"
        case ast.BinOp(left=left, op=ast.BitAnd()) | ast.BoolOp(values=[left, _]):
            _replace(tree, node, left)
            return f"{_short(before)} -> {_short(ast.unparse(left))}"
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div()):
            _replace(tree, node, left)
            return f"{_short(before)} -> {_short(ast.unparse(left))}"
    return ""


def _replace(tree: ast.Module, old: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, field, new)
            elif isinstance(value, list):
                value[:] = [new if item is old else item for item in value]


def _short(text: str) -> str:
    return " ".join(text.split())[:90]
