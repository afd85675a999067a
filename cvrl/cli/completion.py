"""Print the completion script of the command for bash and zsh.

source <(cvrl completion)

It completes sub-commands, their options, the choices of an option and the names of configs. Put the
line above into ~/.bashrc or ~/.zshrc.
"""

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from importlib import import_module

from cvrl.cli import COMMANDS
from cvrl.cli.arguments import make_parser
from cvrl.config_files import config_names

SCRIPT = """\
[ -n "$ZSH_VERSION" ] && autoload -U +X bashcompinit && bashcompinit
_cvrl() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{commands}"
    else
        case "${{COMP_WORDS[1]}} $before" in
{cases}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _cvrl cvrl
"""
NAMES = {"--config": None, "--study": "studies"}  # options that take a config, and its folder


def build_parser() -> ArgumentParser:
    """The arguments of ``cvrl completion``."""
    return make_parser("completion", __doc__)


def completion_script() -> str:
    """The script; where it offers no word, the shell completes file names."""
    cases = "\n".join(f"            {case}" for name in COMMANDS for case in _cases(name))
    return SCRIPT.format(commands=" ".join(COMMANDS), cases=cases)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the script."""
    build_parser().parse_args(argv)
    print(completion_script(), end="")


def _cases(name: str) -> Iterator[str]:
    """The cases of a sub-command: what follows an option that takes a value, then all options."""
    options = {}
    for action in import_module(f"cvrl.cli.{name}").build_parser()._actions:
        for option in action.option_strings:
            options[option] = action
            if option in NAMES:
                yield f'"{name} {option}") words="{" ".join(config_names(NAMES[option]))}";;'
            elif action.nargs != 0:  # without choices it is a file or a number
                yield f'"{name} {option}") words="{" ".join(action.choices or ())}";;'
    yield f'"{name} "*) words="{" ".join(options)}";;'
