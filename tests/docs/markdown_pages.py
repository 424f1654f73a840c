"""Reads the code blocks of Markdown pages, with the marks before them and the output that is shown behind them.

A mark is an HTML comment on the line before a block: readers of the source see it, readers of the page don't.

    <!-- not run: WHY -->              python and bash blocks run unless this says why not
    <!-- with stand-ins -->            the working folder has tiny checkpoints, videos and lists under the names that
                                       pages use (stand_ins.py)
    <!-- with a stand-in of PACKAGE --> python: a package that is in no index is replaced (stand_in_modules.py)
    <!-- from a clone -->              bash: the working folder has the repository's files
    <!-- in a process of its own -->   python: what the page runs needs a fresh start of JAX

A block of "output" behind another one shows what that prints. "..." stands for anything; measured times and sizes are
not compared.
"""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
_NO_PAGES = {"build", "dist", "_build", "node_modules"}
_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^(?P<fence>```+)(?P<language>[\w{}-]*)[^\n]*\n(?P<text>.*?)^(?P=fence)$",
    flags=re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    """A fenced block.

    Attributes:
      page: its path in the repository.
      line: of its first line of code.
      language: what the fence says, "" for nothing.
      text: what is in it.
      mark: the comment before it, "" for none.
      output: what is shown as printed by it, None where nothing is.
    """

    page: str
    line: int
    language: str
    text: str
    mark: str
    output: str | None

    @property
    def place(self):
        return f"{self.page}:{self.line}"

    @property
    def why_not_run(self):
        return self.mark.removeprefix("not run: ") if self.mark.startswith("not run: ") else None


def list_pages(root=ROOT):
    paths = [path.relative_to(root) for path in root.rglob("*.md")]
    is_page = [not any(part in _NO_PAGES or part.startswith(".") for part in path.parts) for path in paths]
    return sorted(str(path) for path, keep in zip(paths, is_page) if keep)


def read_blocks(page, root=ROOT):
    text = (root / page).read_text()
    found = []
    for match in _BLOCK.finditer(text):
        if match["language"] == "output":
            found[-1] = found[-1]._replace(output=match["text"])
            continue
        line = text[: match.start("text")].count("\n") + 1
        found.append(Block(page, line, match["language"], match["text"], match["mark"] or "", None))
    return found


def split_commands(text):
    """Returns the commands of a bash block: one a line, those joined by && apart, continued lines as one."""
    lines = text.replace("\\\n", " ").splitlines()
    commands = [command.strip() for line in lines for command in re.split(r"\s&&\s", line)]
    return [command for command in commands if command and not command.startswith("#")]
