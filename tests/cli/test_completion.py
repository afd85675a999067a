"""The completion script, as bash runs it."""

import shutil
import subprocess

import pytest

from cvrl.cli import COMMANDS, main
from cvrl.cli.completion import completion_script

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


@pytest.fixture(scope="module")
def complete():
    """A function from the words of a line to what the script offers for the last of them."""
    script = completion_script()

    def offered(*words):
        line = " ".join(f"'{word}'" for word in words)
        ask = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _cvrl; printf '%s\\n' "
        program = f'{script}\n{ask}"${{COMPREPLY[@]}}"'
        done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout.split()

    return offered


def test_the_first_word_is_a_command(complete):
    assert complete("cvrl", "") == list(COMMANDS)
    assert complete("cvrl", "ex") == [name for name in COMMANDS if name.startswith("ex")]


def test_options_belong_to_their_command(complete):
    assert complete("cvrl", "train", "--dr") == ["--dry-run"]
    assert complete("cvrl", "report", "--dr") == []


def test_choices_and_configs_follow_their_option(complete):
    assert complete("cvrl", "evaluate", "--protocol", "li") == ["linear", "linear_tags"]
    assert complete("cvrl", "train", "--config", "cvrl_s") == ["cvrl_small"]
    assert complete("cvrl", "study", "--study", "evid") == ["evidence_small"]


def test_after_an_option_that_takes_a_file_the_shell_completes_files(complete):
    assert complete("cvrl", "extract", "--output", "") == []


def test_the_command_prints_the_script(capsys):
    main(["completion"])
    assert capsys.readouterr().out == completion_script()
