"""`codecbench completion`: the script with which a shell completes commands, options and names."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from codecbench.cli.options import show
from codecbench.cli.shell.words import candidates


class Shell(StrEnum):
    """The shells that `codecbench completion` knows."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


# Where no word is known, as for a file, each shell completes file names.
_SCRIPTS = {
    Shell.BASH: r"""
_codecbench() {
    local IFS=$'\n'
    COMPREPLY=($(codecbench complete-words bash -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o bashdefault -o default -F _codecbench codecbench
""",
    Shell.ZSH: r"""
#compdef codecbench
_codecbench() {
    local -a found
    found=("${(@f)$(codecbench complete-words zsh -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then
        _describe 'codecbench' found
    else
        _files
    fi
}
if [[ "${zsh_eval_context[-1]}" == loadautofunc ]]; then
    _codecbench "$@"
else
    compdef _codecbench codecbench
fi
""",
    Shell.FISH: r"""
function __codecbench_words
    set -l before (commandline --current-process --tokenize --cut-at-cursor)
    set -l begun (commandline --current-token --cut-at-cursor)
    set -l found (codecbench complete-words fish -- $before[2..-1] "$begun" 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path "$begun"
    end
end
complete --command codecbench --no-files --arguments '(__codecbench_words)'
""",
}


def completion(
    shell: Annotated[Shell, typer.Argument(help="Your shell.")],
) -> None:
    """Print the script with which a shell completes commands, options and names.

    It goes into the shell's start file: eval "$(codecbench completion bash)", or with zsh for zsh, behind compinit; for
    fish: codecbench completion fish | source.
    """
    show(_SCRIPTS[shell].lstrip())


def complete_words(
    context: typer.Context,
    shell: Annotated[Shell, typer.Argument()],
    words: Annotated[list[str] | None, typer.Argument()] = None,
) -> None:
    """Print the words that can stand in the place of the last one, a line each, as the shell's script takes them."""
    lines = [_line(shell, word, text) for word, text in candidates(context, words or [""]).items()]
    if lines:
        show("\n".join(lines))


def _line(shell: Shell, word: str, text: str) -> str:
    if shell is Shell.BASH or not text:
        return word
    return f"{word}\t{text}" if shell is Shell.FISH else f"{word}:{text}"  # no word has a colon
