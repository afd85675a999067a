"""Official splits are known by what is in them, whole, whatever the folder and the suffix."""

from pathlib import Path

import pytest

from cvrl.data import known_splits as official
from cvrl.data.known_splits import OFFICIAL, official_split, split_sha256
from cvrl.data.manifest import make_manifest
from cvrl.data.splits import check_groups
from cvrl.utils.errors import UserError

TRAIN, TEST = ["x/v_Run_g01_c01.avi"], ["v_Run_g01_c02.avi", "y/v_Run_g02_c01.mp4"]


def test_names_count_and_nothing_else() -> None:
    known = split_sha256(TRAIN, TEST)
    assert split_sha256(["v_Run_g01_c01"], [TEST[1], TEST[0]]) == known
    assert split_sha256(TEST, TRAIN) != known
    assert split_sha256(TRAIN, TEST[:1]) != known


def test_a_leak_of_an_official_list_is_said_and_not_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train, test = (make_manifest({"path": paths}, root="/") for paths in (TRAIN, TEST))
    with pytest.raises(UserError, match="Run_g01"):
        check_groups(train, test)
    monkeypatch.setitem(official.OFFICIAL, split_sha256(TRAIN, TEST), "official Toy split 1")
    said = check_groups(train, test)
    assert said == "official Toy split 1, whole; LEAK: 1 group is in train and test: Run_g01"
    with pytest.raises(UserError, match="Run_g01"):
        check_groups(train, test.take([0]))


@pytest.mark.real
def test_the_owners_lists(real_data: Path) -> None:
    """All six, from the files as published."""
    named = []
    for k in "123":
        parts = [
            [line.split()[0] for line in file.read_text().splitlines() if line.strip()]
            for part in ("train", "test")
            for file in [real_data / "splits" / "ucfTrainTestlist" / f"{part}list0{k}.txt"]
        ]
        named.append(official_split(*parts))
        sides: dict[str, list[str]] = {"0": [], "1": [], "2": []}
        for file in (real_data / "splits" / "hmdb51_splits").glob(f"*_split{k}.txt"):
            for line in file.read_text().splitlines():
                name, side = line.split()
                sides[side].append(name)
        named.append(official_split(sides["1"], sides["2"]))
    assert sorted(map(str, named)) == sorted(OFFICIAL.values())
