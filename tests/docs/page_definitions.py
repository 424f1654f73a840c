"""Takes definitions out of a page's blocks, so that tests can use a page's own code without running all of it."""

import ast

from tests.docs.markdown_pages import read_blocks


def define(page, *names, **given):
    """Returns the classes, functions and values of these names as a page's Python defines them.

    All imports of the page are done, but for those of names that are given in their place.
    """
    texts = [block.text for block in read_blocks(page) if block.language == "python"]
    nodes = [node for text in texts for node in ast.parse(text).body]
    scope = {"__name__": "__main__"}
    exec(compile(ast.Module([node for node in nodes if _is_import(node, given)], []), page, "exec"), scope)
    scope |= given
    kept = [node for node in nodes if _find_name(node) in names]
    exec(compile(ast.Module(kept, []), page, "exec"), scope)
    return [scope[name] for name in names]


def _is_import(node, given):
    is_import = isinstance(node, ast.Import | ast.ImportFrom)
    return is_import and not any((alias.asname or alias.name) in given for alias in node.names)


def _find_name(node):
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return getattr(node, "name", None)
