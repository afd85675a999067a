"""Names of any bytes are carried through text and lead back to the file."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvrl.utils.errors import CorruptVideoError, UserError
from cvrl.utils.file_names import file_path, path_text

names = st.binary(min_size=1, max_size=20).filter(lambda name: not {0, 47} & set(name))


@given(names.filter(lambda name: b"\\x" not in name))
def test_any_name_comes_back(name):
    path = os.fsdecode(b"no/such/" + name)
    text = path_text(path)
    assert text.encode().decode() == text
    assert os.fsencode(file_path(text)) == b"no/such/" + name


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0/")))
def test_a_name_in_utf8_is_its_own_text(name):
    assert path_text(name) == name


def test_a_file_of_exactly_this_name_comes_first(tmp_path):
    text = str(tmp_path / r"caf\xe9.mp4")
    assert os.fsencode(file_path(text)).endswith(b"caf\xe9.mp4")
    open(text, "w").close()
    assert file_path(text) == text


@pytest.mark.parametrize("error", [CorruptVideoError, UserError])
def test_errors_are_text(error):
    assert str(error("caf\udce9.mp4", "no \udce8")) == r"caf\xe9.mp4: no \xe8"
