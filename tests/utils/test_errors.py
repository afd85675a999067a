"""Errors read as one line, survive pickling, and end a command with the right exit code."""

import errno
import os
import pickle
import subprocess
import sys

import pytest

from cvrl.utils.errors import CorruptVideoError, UserError, run_tool


def test_user_error_is_one_line_with_a_remedy():
    error = UserError("a list", "holds\nnothing", "add  videos")
    assert str(error) == "a list: holds nothing; add videos"
    assert (error.thing, error.reason, error.remedy) == ("a list", "holds nothing", "add videos")
    assert isinstance(error, ValueError)


def test_user_error_without_a_remedy_ends_with_the_reason():
    assert str(UserError("x", "is wrong")) == "x: is wrong"


def test_corrupt_video_error_has_path_and_reason():
    error = CorruptVideoError("a.mp4", "cut\nshort")
    assert (error.path, error.reason, str(error)) == ("a.mp4", "cut short", "a.mp4: cut short")
    assert isinstance(error, ValueError)


@pytest.mark.parametrize(
    "error", [UserError("x", "is wrong", "mend it"), CorruptVideoError("a.mp4", "is cut")]
)
def test_errors_survive_pickling(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error)


def raise_(error):
    raise error


@pytest.mark.parametrize(
    ("error", "code"),
    [(UserError("x", "y", "z"), 2), (CorruptVideoError("a", "b"), 2), (KeyboardInterrupt(), 130)],
)
def test_commands_end_with_their_code(error, code, capsys):
    with pytest.raises(SystemExit) as ended:
        run_tool(lambda: raise_(error))
    assert ended.value.code == code
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_tool(lambda: raise_(ZeroDivisionError()))


def test_a_closed_pipe_is_no_error():
    code = (
        "from cvrl.utils.errors import run_tool\n"
        "run_tool(lambda: [print('x' * 1000, flush=True) for _ in range(1000)] and None)\n"
    )
    shell = f'{sys.executable} -c "{code}" | head -1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr


@pytest.mark.parametrize("make", [UserError, CorruptVideoError])
def test_file_names_reach_the_terminal_without_control_characters(make):
    text = str(make("a\x1b]0;title\x07\nb\udcff é.mp4", "is cut"))
    assert text == r"a\x1b]0;title\x07\nb\xff é.mp4: is cut"


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOSPC])
def test_what_the_system_refuses_is_one_line(code, capsys):
    with pytest.raises(SystemExit) as ended:
        run_tool(lambda: raise_(OSError(code, os.strerror(code), "out.csv")))
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: out.csv: {os.strerror(code)}\n"
