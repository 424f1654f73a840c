"""No message of an error begins with the name of what raised it: the traceback has it, and a command names a file."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TREES = {
    path: ast.parse(path.read_text())
    for package in ("vidtldr_jax", "checkpoints_convert")
    for path in sorted((ROOT / package).rglob("*.py"))
}
NAME = re.compile(r"(?:\w+\.)?(\w+): ")


def list_names(tree):
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def list_messages(tree):
    """Every first argument of an error that is made, raised or returned."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and ast.unparse(node.func).endswith(("Error", "Warning", "Exit")):
            yield node.args[0]


def has_name_in_front(message, names):
    parts = message.values if isinstance(message, ast.JoinedStr) else [message]
    first = parts[0] if parts else None
    if isinstance(first, ast.FormattedValue):
        is_name = ast.unparse(first.value).endswith(("__name__", "__qualname__")) or ast.unparse(first.value) in (
            "function", "caller", "where",
        )  # fmt: skip
        return is_name and len(parts) > 1 and getattr(parts[1], "value", "").startswith(": ")
    found = NAME.match(str(first.value)) if isinstance(first, ast.Constant) else None
    return found is not None and found[1] in names


def find_faults(trees):
    names = set().union(*map(list_names, trees.values()))
    return [
        f"{path}:{message.lineno}"
        for path, tree in trees.items()
        for message in list_messages(tree)
        if has_name_in_front(message, names)
    ]


def test_no_message_begins_with_the_name_of_a_function_or_class():
    assert sum(len(list(list_messages(tree))) for tree in TREES.values()) > 300
    assert find_faults(TREES) == []


def test_a_name_in_front_is_found():
    source = """
class Thing:
    def take(self, function):
        raise ValueError("take: a rule; got 1.")
        raise ValueError(f"Thing.take: a rule; got {self}.")
        raise ValueError(f"{function}: a rule.")
        raise ValueError(f"{type(self).__name__}: a rule.")
        return KeyError("Thing: " f"{self} is a rule.")
        raise ValueError(f"{self.path}: a rule.")
        raise ValueError("image_size: a rule.")
        raise ValueError("a rule: take: it.")
"""
    assert find_faults({"here": ast.parse(source)}) == [f"here:{line}" for line in range(4, 9)]
