"""Which videos are learned from and scored, and that the two never share a source unnoticed."""

import os
from pathlib import Path

import pytest

from cvrl.data.manifest import Manifest, make_manifest
from cvrl.data.splits import Parts, check_groups, group_numbers, labelled_only, read_splits
from cvrl.utils.errors import UserError


def write_list(path: Path, rows: list[tuple[str, str, str, str]]) -> str:
    """A CSV of path, label, group, split, with an empty file for each path."""
    lines = ["path,label,group,split"]
    for row in rows:
        (path.parent / row[0]).touch()
        lines.append(",".join(row))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def listed(tmp_path: Path) -> str:
    rows = [
        (f"{label}{i}.mp4", label, f"{label}_{i // 2}", "train" if i < 8 else "test")
        for label in ("jump", "run")
        for i in range(12)
    ]
    return write_list(tmp_path / "all.csv", rows)


def groups(manifest: Manifest) -> set[str]:
    return set(manifest.table["group"].to_pylist())


class TestReadParts:
    def test_official_split_of_one_list(self, listed: str) -> None:
        parts = read_splits(listed)
        assert parts.train is not None
        assert (len(parts.train), len(parts.test)) == (16, 8)
        assert parts.train_name == f"{listed} [split=train]"
        assert parts.test_name == f"{listed} [split=test]"

    def test_a_fallback_share_does_not_replace_a_test_part(self, listed: str) -> None:
        assert read_splits(listed, fallback_hold_out=0.5).test_name.endswith("[split=test]")

    def test_held_out_groups_come_from_the_training_part(self, listed: str) -> None:
        parts = read_splits(listed, hold_out=0.25, seed=3)
        assert parts.train is not None
        assert (len(parts.train), len(parts.test)) == (12, 4)
        assert set(parts.test.table["split"].to_pylist()) == {"train"}
        assert not groups(parts.train) & groups(parts.test)
        assert "0.25 of the groups" in parts.test_name and "seed 3" in parts.test_name

    def test_the_seed_decides_what_is_held_out(self, listed: str) -> None:
        held = [groups(read_splits(listed, hold_out=0.25, seed=s).test) for s in (0, 0, 1, 2, 3)]
        assert held[0] == held[1]
        assert any(other != held[0] for other in held[2:])

    def test_a_test_list_of_its_own(self, listed: str, tmp_path: Path) -> None:
        test = write_list(tmp_path / "more.csv", [("new.mp4", "run", "new", "")])
        parts = read_splits(listed, test)
        assert parts.train is not None
        assert parts.test.paths == [str(tmp_path / "new.mp4")]
        assert parts.test_name == test
        assert parts.test.class_names == parts.train.class_names == ["jump", "run"]
        assert parts.test.label_ids.tolist() == [1]

    def test_a_test_list_with_splits_gives_its_test_split(self, listed: str) -> None:
        parts = read_splits(listed, listed)
        assert len(parts.test) == 8

    def test_classes_unknown_to_the_training_part(self, listed: str, tmp_path: Path) -> None:
        test = write_list(tmp_path / "more.csv", [("new.mp4", "swim", "new", "")])
        with pytest.raises(UserError, match="class 'swim' is not among"):
            read_splits(listed, test)

    def test_another_split_column(self, tmp_path: Path) -> None:
        source = tmp_path / "list.csv"
        for name in ("a", "b"):
            (tmp_path / f"{name}.mp4").touch()
        source.write_text("path,label,fold\na.mp4,x,1\nb.mp4,x,2\n")
        parts = read_splits(str(source), split_column="fold", train_split="1", test_split="2")
        assert parts.test.paths == [str(tmp_path / "b.mp4")]

    def test_a_plain_folder_is_one_part(self, library: Path) -> None:
        parts = read_splits(str(library))
        assert parts.train is None and len(parts.test) == 18

    def test_a_plain_folder_with_a_fallback_share(self, library: Path) -> None:
        parts = read_splits(str(library), fallback_hold_out=0.33)
        assert parts.train is not None
        assert (len(parts.train), len(parts.test)) == (12, 6)

    def test_a_root_for_relative_paths(self, listed: str, tmp_path: Path) -> None:
        moved = tmp_path / "elsewhere" / "list.csv"
        moved.parent.mkdir()
        moved.write_text(Path(listed).read_text())
        with pytest.raises(UserError):
            read_splits(str(moved))
        assert len(read_splits(str(moved), root=str(tmp_path)).test) == 8

    @pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
    def test_a_share_out_of_range(self, listed: str, share: float) -> None:
        with pytest.raises(UserError, match="hold_out"):
            read_splits(listed, hold_out=share)

    def test_two_test_parts_contradict(self, listed: str) -> None:
        with pytest.raises(UserError, match="--hold-out and --test"):
            read_splits(listed, listed, hold_out=0.2)


def manifest(paths: list[str], group: list[str] | None = None, root: str = "/") -> Manifest:
    columns = {"path": paths} | ({} if group is None else {"group": group})
    return make_manifest(columns, root=root, source="test.csv")


class TestCheckGroups:
    train = manifest(["a.mp4", "b.mp4"], ["room1", "room2"])

    def test_disjoint(self) -> None:
        said = check_groups(self.train, manifest(["c.mp4"], ["room3"]))
        assert said.startswith("disjoint: 2 train and 1 test groups, no file in both (compared by")

    def test_a_shared_group_is_named(self) -> None:
        test = manifest(["c.mp4", "d.mp4"], ["room2", "room3"])
        with pytest.raises(UserError) as caught:
            check_groups(self.train, test)
        assert str(caught.value) == (
            "test.csv: 1 group is in train and test: room2; "
            "split by group, or pass --allow-group-leak to score it all the same"
        )

    def test_a_shared_group_can_be_allowed_and_is_recorded(self) -> None:
        test = manifest(["c.mp4"], ["room2"])
        assert check_groups(self.train, test, allow_leak=True).startswith("LEAK: 1 group is")

    def test_many_shared_groups_are_shortened(self) -> None:
        names = [f"g{i}" for i in range(9)]
        one = manifest([f"a{n}" for n in names], names)
        two = manifest([f"b{n}" for n in names], names)
        with pytest.raises(UserError, match=r"9 groups are in .*: g0, g1, g2, g3, g4 \.\.\.;"):
            check_groups(one, two)

    def test_groups_are_read_from_ucf_names(self) -> None:
        one, two = manifest(["v_Run_g01_c01.avi"]), manifest(["v_Run_g01_c02.avi"])
        with pytest.raises(UserError, match="Run_g01"):
            check_groups(one, two)

    def test_the_same_file_in_both(self) -> None:
        with pytest.raises(UserError, match=r"1 file is in train and test: /b\.mp4"):
            check_groups(self.train, manifest(["b.mp4"], ["elsewhere"]))

    def test_equal_names_under_different_roots_are_different_videos(self) -> None:
        one, two = manifest(["run/1.mp4"], root="/x"), manifest(["run/1.mp4"], root="/y")
        assert check_groups(one, two).startswith("no groups named")

    def test_parts_without_groups_say_so(self) -> None:
        said = check_groups(manifest(["a.mp4"]), manifest(["b.mp4"]))
        assert said.startswith("no groups named: each file its own, no file in both (compared by")


class TestLabelledOnly:
    @staticmethod
    def videos(name: str, labels: str) -> Manifest:
        """A video a letter; a dash has no label."""
        columns = {
            "path": [f"{name}{i}.mp4" for i in range(len(labels))],
            "label": [None if label == "-" else label for label in labels],
        }
        return make_manifest(columns, root="/")

    @pytest.mark.parametrize(
        ("test", "train", "kept", "lost"),
        [
            ("ab", "ab", ("ab", "ab"), (0, 0)),
            ("a-b-", "-a-", ("ab", "a"), (2, 2)),
            ("--", "a-", ("--", "a"), (0, 1)),  # nothing to score: left for the check to refuse
            ("a-", None, ("a", None), (1, 0)),
        ],
    )
    def test_both_splits(
        self, test: str, train: str | None, kept: tuple[str, str | None], lost: tuple[int, int]
    ) -> None:
        parts = Parts(
            self.videos("x", test), None if train is None else self.videos("y", train), "x", "y"
        )
        found, counts = labelled_only(parts)
        for split, labels in ((found.test, kept[0]), (found.train, kept[1])):
            assert (split is None) == (labels is None)
            if split is not None:
                names = [label or "-" for label in split.table["label"].to_pylist()]
                assert "".join(names) == labels
        assert tuple(counts.values()) == lost

    def test_classes_keep_their_numbers(self) -> None:
        whole = self.videos("x", "b-a-b")
        found, _ = labelled_only(Parts(whole, None, "x"))
        assert found.test.class_names == whole.class_names
        assert found.test.label_ids.tolist() == [1, 0, 1]


class TestOneFileOnBothSides:
    @staticmethod
    def listed(folder: Path, *rows: str) -> Parts:
        (folder / "list.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
        return read_splits(str(folder / "list.csv"))

    @pytest.mark.parametrize("kind", ["dot", "absolute", "symlink", "hardlink", "copy"])
    def test_it_is_refused_by_name_whatever_it_is_called(self, tmp_path: Path, kind: str) -> None:
        (tmp_path / "a.mp4").write_bytes(b"one")
        (tmp_path / "c.mp4").write_bytes(b"two")
        other = {"dot": "./a.mp4", "absolute": f"{tmp_path}/a.mp4"}.get(kind, "b.mp4")
        if kind == "symlink":
            (tmp_path / other).symlink_to("a.mp4")
        elif kind == "hardlink":
            os.link(tmp_path / "a.mp4", tmp_path / other)
        elif kind == "copy":
            (tmp_path / other).write_bytes(b"one")
        parts = self.listed(tmp_path, "a.mp4,run,train", "c.mp4,run,train", f"{other},run,test")
        assert parts.train is not None
        with pytest.raises(UserError, match=r"1 file is in train and test: \S*[ab]\.mp4") as caught:
            check_groups(parts.train, parts.test)
        assert f"{tmp_path}/a.mp4" in str(caught.value)
        found = check_groups(parts.train, parts.test, allow_leak=True)
        assert found.startswith("LEAK: 1 file is in train and test")
        if kind != "copy":  # of a list, the names of one file are one group
            assert parts.train.group_ids[0] == parts.test.group_ids[0]

    def test_the_card_says_how_files_were_compared(self, tmp_path: Path) -> None:
        for name in ("a", "b", "c"):
            (tmp_path / f"{name}.mp4").write_text(name)
        parts = self.listed(tmp_path, "a.mp4,x,train", "b.mp4,x,train", "c.mp4,x,test")
        assert parts.train is not None
        said = "no groups named: each file its own, no file in both (compared by inode and content"
        assert check_groups(parts.train, parts.test) == f"{said})"
        (tmp_path / "b.mp4").unlink()
        found = check_groups(parts.train, parts.test)
        assert found == f"{said}, 1 of 3 that are missing by name)"

    def test_a_file_derived_from_one_of_the_other_list(self) -> None:
        train, test = manifest(["x/a.mp4", "x/b.mp4"]), manifest(["y/a_flip.mp4", "y/c.mp4"])
        with pytest.raises(UserError, match=r"1 group is in train and test: /x/a\.mp4"):
            check_groups(train, test)
        test_ids, train_ids = group_numbers(Parts(test, train))
        assert test_ids[0] == train_ids[0]

    def test_groups_are_compared_whatever_their_case(self) -> None:
        with pytest.raises(UserError, match="1 group is in train and test: Run_g01"):
            check_groups(manifest(["v_RUN_G01_c02.avi"]), manifest(["v_Run_g01_c01.avi"]))
