"""Shared arguments: defaults that are resolved after parsing, and a GPU that is not there."""

import pytest
import torch

from cvrl.cli.arguments import add_device, add_workers, make_parser, pick_device, pick_workers
from cvrl.data.loader import default_workers
from cvrl.utils.errors import UserError


def test_the_defaults_are_left_open_until_they_are_needed():
    parser = make_parser("extract", "a\n  b")
    add_device(parser)
    add_workers(parser)
    args = parser.parse_args([])
    assert (args.device, args.workers) == ("auto", None)
    assert "a\n  b" in parser.format_help()


@pytest.mark.parametrize("has_gpu", [False, True])
def test_auto_is_a_gpu_where_there_is_one(monkeypatch, has_gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert pick_device("auto") == ("cuda" if has_gpu else "cpu")
    assert pick_device("cpu") == "cpu"


@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_one_line(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=f"--device {name}: no GPU is visible to torch; use"):
        pick_device(name)


def test_workers_suit_the_machine_unless_given():
    assert pick_workers(None) == default_workers() and pick_workers(0) == 0
