"""The shells that completion is for: click's own classes, with what their scripts leave out.

bash takes words apart at colons and equals signs, and completes either words or files; zsh and fish want --option= back
with a value; click's script for fish cuts values at commas and knows no paths that begin with ~.
"""

from __future__ import annotations

import os
from typing import Any, Final

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

PROGRAM: Final = "vidtldr"
# Only the scripts set it; its name is click's.
_VARIABLE: Final = f"_{PROGRAM}_complete".upper()
_BASH: Final = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion
    response=$(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" %(complete_var)s=bash_complete "$1")
    COMPREPLY=()
    for completion in $response; do
        case $completion in
            plain,*) COMPREPLY+=("${completion#*,}") ;;
            file,*) compopt -o filenames; mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$2") ;;
            dir,*) compopt -o filenames; mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$2") ;;
        esac
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""
# Paths are left to fish, which knows what ~ and escaped spaces mean; it reads two answers and asks once for a line.
_FISH: Final = """\
function %(complete_func)s
    set -l line (commandline -cp)
    if test "$line" != "$%(complete_func)s_line"
        set -g %(complete_func)s_line $line
        set -g %(complete_func)s_answer (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) \\
            COMP_CWORD=(commandline -t) %(prog_name)s)
    end
    string replace -f -r "^plain," "" -- $%(complete_func)s_answer
end
function %(complete_func)s_takes_paths
    %(complete_func)s >/dev/null
    string match -q -r "^(file|dir)," -- $%(complete_func)s_answer
end
complete --command %(prog_name)s --no-files --arguments "(%(complete_func)s)"
complete --command %(prog_name)s --force-files --condition %(complete_func)s_takes_paths
"""


class _Bash(BashComplete):
    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """Puts words together again that bash took apart; it then replaces only what is behind the last colon."""
        last = int(os.environ["COMP_CWORD"])
        joined: list[str] = []
        before = ""
        for word in [*os.environ["COMP_WORDS"].split("\n"), ""][: last + 1]:
            if joined and (_is_break(word) or _is_break(before)):
                joined[-1] += word
            else:
                joined.append(word)
            before = word
        *words, incomplete = [" ".join(split_arg_string(word)) for word in joined]
        self.num_colons = incomplete.count(":") if len(joined) <= last else 0
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Writes an item as the script reads it."""
        return f"{item.type},{str(item.value).split(':', self.num_colons)[-1]}"


class _WholeWord(ShellComplete):
    """A shell that replaces --option=value as a whole."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Notes what stands before the value."""
        words, incomplete = super().get_completion_args()
        name, equals, _ = incomplete.partition("=")
        self.before = f"{name}=" if equals and name.startswith("--") else ""
        return words, incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Writes an item as the script reads it."""
        if item.type == "plain":
            item = CompletionItem(f"{self.before}{item.value}", help=item.help)
        return super().format_completion(item)


class _Zsh(_WholeWord, ZshComplete):
    pass


class _Fish(_WholeWord, FishComplete):
    source_template = _FISH


_CLASSES: Final[dict[str, type[ShellComplete]]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}
SHELLS: Final = tuple(_CLASSES)


def add_shells() -> None:
    """Makes click answer these shells' scripts."""
    for name, shell in _CLASSES.items():
        add_completion_class(shell, name)


def write_script(shell: str) -> str:
    """Returns the script that a shell reads to complete `vidtldr`; shell is one of `SHELLS`."""
    return _CLASSES[shell](click.Command(PROGRAM), {}, PROGRAM, _VARIABLE).source()


def _is_break(word: str) -> bool:
    return bool(word) and not word.strip(":=")
