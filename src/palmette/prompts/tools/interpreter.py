"""A small language that looks like Python, evaluated over its syntax tree with limits: no names but its own, no
attributes, no imports, nothing of the process in reach. The calculator and program-aided reasoning stand on it.
"""

from __future__ import annotations

import ast
import functools
import math
import operator
import time
from collections.abc import Callable, Mapping
from typing import Any

from palmette.core.errors import UsageError

__all__ = ["CodeError", "evaluate", "run_program"]

DIGITS = 2000  # of a number
LENGTH = 100_000  # of a text or list
STEPS = 200_000
SOURCE = 20_000  # characters of a program


class CodeError(UsageError):
    """A program that does not run here: what is wrong, and where."""


class _Stop(Exception):
    """break or continue."""

    def __init__(self, again: bool) -> None:
        self.again = again


OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow, ast.USub: operator.neg,
    ast.UAdd: operator.pos, ast.Not: operator.not_, ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt,
    ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": abs, "min": min, "max": max, "sum": sum, "len": len, "round": round, "int": int, "float": float, "str": str,
    "bool": bool, "sorted": sorted, "sqrt": math.sqrt, "exp": math.exp, "log": math.log, "sin": math.sin,
    "cos": math.cos, "tan": math.tan, "floor": math.floor, "ceil": math.ceil, "gcd": math.gcd,
    "list": list, "any": any, "all": all, "divmod": divmod,
}  # fmt: skip
CONSTANTS = {"pi": math.pi, "e": math.e}


def evaluate(expression: str, seconds: float = 2.0) -> Any:
    """The value of one expression.

    Raises:
        CodeError: for anything that is not arithmetic, or too large or too long.

    >>> evaluate("(37*46+12) % 100")
    14
    >>> evaluate("9**9**9")
    Traceback (most recent call last):
    ...
    palmette.prompts.tools.interpreter.CodeError: a power of more than 2000 digits
    """
    tree = _parsed(expression, "eval")
    return _Machine(seconds).value(tree.body)


def run_program(code: str, seconds: float = 2.0, name: str = "answer") -> Any:
    """What a program assigns to `answer`.

    Raises:
        CodeError: if it does not run, or assigns nothing to it.

    >>> run_program("total = 0\\nfor i in range(5):\\n    total += i\\nanswer = total")
    10
    """
    machine = _Machine(seconds)
    machine.body(_parsed(code, "exec").body)
    if name not in machine.names:
        raise CodeError(f"the program assigns nothing to {name!r}")
    return machine.names[name]


def _parsed(code: str, mode: str) -> Any:
    if len(code) > SOURCE:
        raise CodeError(f"{len(code)} characters are more than the {SOURCE} allowed")
    try:
        return ast.parse(code.strip() if mode == "eval" else code, mode=mode)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CodeError(f"{code[:100]!r} is not an expression or program: {error}") from error


class _Machine:
    """Names and their values, and how much was spent."""

    def __init__(self, seconds: float) -> None:
        self.names: dict[str, Any] = dict(CONSTANTS)
        self._steps = 0
        self._end = time.thread_time() + seconds  # its own: a busy machine makes no program wrong

    # -- statements --

    def body(self, statements: list[ast.stmt]) -> None:
        for each in statements:
            self._spend(each)
            self._statement(each)

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                found = self.value(value)
                for target in targets:
                    self._assign(target, found)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._assign(target, self.value(value))
            case ast.AugAssign(target=ast.Name(id=name) as target, op=op, value=value):
                left = self.value(ast.copy_location(ast.Name(name, ast.Load()), node))
                self._assign(target, self._binary(op, left, self.value(value)))
            case ast.If(test=test, body=body, orelse=other):
                self.body(body if self.value(test) else other)
            case ast.For(target=target, iter=over, body=body, orelse=[]):
                for each in self._items(over):
                    self._assign(target, each)
                    if self._stopped(body):
                        break
            case ast.While(test=test, body=body, orelse=[]):
                while self.value(test):
                    self._spend(node)
                    if self._stopped(body):
                        break
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="append"), args=[value])):
                held = self.names.get(name)
                if not isinstance(held, list):
                    raise CodeError(f"line {node.lineno}: append is for lists")
                self.names[name] = self._small([*held, self.value(value)])
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case ast.Expr(value=value):
                self.value(value)
            case ast.Break() | ast.Continue():
                raise _Stop(isinstance(node, ast.Continue))
            case _:
                raise CodeError(f"line {node.lineno}: {type(node).__name__} is not allowed here")

    def _stopped(self, body: list[ast.stmt]) -> bool:
        try:
            self.body(body)
        except _Stop as stop:
            return not stop.again
        return False

    def _assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.names[target.id] = value
        elif isinstance(target, ast.Tuple) and all(isinstance(each, ast.Name) for each in target.elts):
            values = list(value) if isinstance(value, (list, tuple)) else []
            if len(values) != len(target.elts):
                raise CodeError(f"line {target.lineno}: {len(target.elts)} names for {len(values)} values")
            for each, part in zip(target.elts, values, strict=True):
                self._assign(each, part)
        elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
            held = self.names.get(target.value.id)
            if not isinstance(held, (list, dict)):
                raise CodeError(f"line {target.lineno}: only a list or mapping has places")
            self._safely(target, lambda: held.__setitem__(self.value(target.slice), value))
            self._small(held)
        else:
            raise CodeError(f"line {target.lineno}: only names and places can be assigned")

    # -- expressions --

    def value(self, node: ast.expr) -> Any:
        self._spend(node)
        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None as value):
                return self._small(value)
            case ast.Name(id=name):
                if name not in self.names:
                    raise CodeError(f"no name {name!r} here")
                return self.names[name]
            case ast.BinOp(left=left, op=op, right=right):
                return self._binary(op, self.value(left), self.value(right))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
                inner = self.value(operand)
                return self._safely(node, lambda: OPERATORS[type(op)](inner))
            case ast.BoolOp(op=op, values=values):
                found: Any = None
                for each in values:
                    found = self.value(each)
                    if bool(found) == isinstance(op, ast.Or):
                        return found
                return found
            case ast.Compare(left=left, ops=ops, comparators=others):
                return self._compared(self.value(left), ops, others, node)
            case ast.IfExp(test=test, body=body, orelse=other):
                return self.value(body if self.value(test) else other)
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                made = [self.value(each) for each in parts]
                return self._small(made if isinstance(node, ast.List) else tuple(made))
            case ast.Dict(keys=keys, values=values) if all(keys):
                pairs = [(self.value(k), self.value(v)) for k, v in zip(keys, values, strict=True) if k is not None]
                return self._safely(node, lambda: dict(pairs))
            case ast.Subscript(value=of, slice=place):
                holder, at = self.value(of), self._place(place)
                return self._safely(node, lambda: holder[at])
            case (
                ast.ListComp(elt=part, generators=[ast.comprehension() as over])
                | ast.GeneratorExp(elt=part, generators=[ast.comprehension() as over])
            ):
                return self._listed(part, over)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self._called(name, args, node)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="math"), attr=name), args=args, keywords=[]):
                return self._called(name, args, node)
            case ast.Attribute(value=ast.Name(id="math"), attr=name) if name in CONSTANTS:
                return CONSTANTS[name]
        raise CodeError(f"{type(node).__name__} is not allowed here")

    def _binary(self, op: ast.operator, left: Any, right: Any) -> Any:
        if type(op) not in OPERATORS:
            raise CodeError(f"the operator {type(op).__name__} is not allowed here")
        if isinstance(op, ast.Pow):
            self._check_power(left, right)
        if isinstance(op, ast.Mult):
            for a, b in ((left, right), (right, left)):
                if isinstance(a, (str, list, tuple)) and isinstance(b, int) and len(a) * b > LENGTH:
                    raise CodeError(f"a text or list of more than {LENGTH} parts")
        if isinstance(op, ast.Mod) and isinstance(left, str):
            raise CodeError("formatting by % is not allowed here")
        return self._small(self._safely(op, lambda: OPERATORS[type(op)](left, right)))

    @staticmethod
    def _check_power(base: Any, exponent: Any) -> None:
        whole = isinstance(base, int) and isinstance(exponent, int) and abs(base) > 1
        if whole and abs(exponent) * base.bit_length() > DIGITS * 3.33:
            raise CodeError(f"a power of more than {DIGITS} digits")

    def _compared(self, left: Any, ops: list[ast.cmpop], others: list[ast.expr], node: ast.expr) -> bool:
        for op, other in zip(ops, others, strict=True):
            if type(op) not in OPERATORS:
                raise CodeError(f"the comparison {type(op).__name__} is not allowed here")
            right = self.value(other)
            if not self._safely(node, functools.partial(OPERATORS[type(op)], left, right)):
                return False
            left = right
        return True

    def _called(self, name: str, args: list[ast.expr], node: ast.expr) -> Any:
        if name == "range":
            return self._range([self.value(each) for each in args])
        if name not in FUNCTIONS:
            raise CodeError(f"no function {name!r} here; known are {', '.join([*FUNCTIONS, 'range'])}")
        values = [self.value(each) for each in args]
        if name in ("int", "float") and values and isinstance(values[0], str) and len(values[0]) > 400:
            raise CodeError("a number of more than 400 characters")
        self._steps += sum(len(each) for each in values if isinstance(each, (list, tuple, str)))
        return self._small(self._safely(node, lambda: FUNCTIONS[name](*values)))

    def _range(self, values: list[Any]) -> list[int]:
        numbers = self._safely(None, lambda: range(*values))
        if len(numbers) > LENGTH:
            raise CodeError(f"a range of more than {LENGTH} numbers")
        return list(numbers)

    def _place(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Slice):
            return slice(*(None if each is None else self.value(each) for each in (node.lower, node.upper, node.step)))
        return self.value(node)

    def _items(self, node: ast.expr) -> list[Any]:
        found = self.value(node)
        if not isinstance(found, (list, tuple, str, dict)):
            raise CodeError(f"{found!r} has no parts to go through")
        return list(found)

    def _listed(self, part: ast.expr, over: ast.comprehension) -> list[Any]:
        outer, made = dict(self.names), []
        for each in self._items(over.iter):
            self._assign(over.target, each)
            if all(self.value(test) for test in over.ifs):
                made.append(self.value(part))
        self.names = outer
        self._small(made)
        return made

    # -- limits --

    def _safely(self, node: Any, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except (ArithmeticError, TypeError, ValueError, LookupError, MemoryError, RecursionError) as error:
            where = f"line {node.lineno}: " if hasattr(node, "lineno") else ""
            raise CodeError(f"{where}{type(error).__name__}: {error}") from error

    def _small(self, value: Any) -> Any:
        if isinstance(value, int) and value.bit_length() > DIGITS * 3.33:
            raise CodeError(f"a number of more than {DIGITS} digits")
        if isinstance(value, (str, list, tuple, dict)) and len(value) > LENGTH:
            raise CodeError(f"a text or list of more than {LENGTH} parts")
        return value

    def _spend(self, node: ast.AST) -> None:
        self._steps += 1
        if self._steps > STEPS or time.thread_time() > self._end:
            raise CodeError(f"more than {STEPS} steps, or too long a time")
