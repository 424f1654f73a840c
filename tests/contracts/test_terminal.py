"""Nothing is written to a terminal but through the doors that make it harmless."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = sorted(path for package in ("vidtldr_jax", "checkpoints_convert") for path in (ROOT / package).rglob("*.py"))
DOORS = ("vidtldr_jax/cli/output.py", "vidtldr_jax/cli/log_lines.py")
_WRITERS = ("click.echo", "click.secho", "click.echo_via_pager", "click.confirm", "click.prompt", "traceback.print_exc")
_WRITERS += ("sys.stdout.write", "sys.stderr.write", "sys.stdout.buffer.write", "sys.stderr.buffer.write", "os.write")
_WRITERS += ("warnings.showwarning", "pprint.pprint")


def find_writes(source):
    """Lists calls that write to a stream past the doors; `print` may print what was made harmless in the same call."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            found += [name for name in names if name.split(".")[0] == "rich"]
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in _WRITERS:
            found.append(name)
        if name == "print" and not all(ast.unparse(one).startswith("make_") for one in node.args):
            found.append(name)
        if name == "sys.exit" and node.args and isinstance(node.args[0], ast.JoinedStr):
            found.append("sys.exit with a text")
    return found


def test_nothing_writes_past_the_doors():
    assert {name for name in DOORS if (ROOT / name).is_file()} == set(DOORS)
    found = {path.relative_to(ROOT).as_posix(): find_writes(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {name: writes for name, writes in found.items() if writes and name not in DOORS} == {}


def test_a_write_past_the_doors_is_found():
    source = (
        "import click, sys\nfrom rich.table import Table\nclick.echo(label)\nprint(name)\nprint(make_harmless(name))\n"
        "sys.stderr.write(name)\nsys.exit(f'error: {name}')\nsys.exit(2)\n"
    )
    assert sorted(find_writes(source)) == [
        "click.echo", "print", "rich.table", "sys.exit with a text", "sys.stderr.write",
    ]  # fmt: skip
