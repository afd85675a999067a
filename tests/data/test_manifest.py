"""The clip list: labels, groups and splits, and what is cut from it."""

import pickle
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cvrl.data.manifest import CHECK_ALL, Manifest, make_manifest, read_manifest, write_manifest
from cvrl.utils.errors import UserError


def files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def grouped(groups: dict[str, list[int]], root: str = "/videos") -> Manifest:
    """A manifest whose class ``name`` has one group of each of the given sizes."""
    names = [
        (name, f"{name}/v_{name}_g{g:02}_c{c:02}.avi")
        for name, sizes in groups.items()
        for g, size in enumerate(sizes)
        for c in range(size)
    ]
    return make_manifest(
        {"path": [path for _, path in names], "label": [name for name, _ in names]}, root=root
    )


# What a manifest holds


def test_labels_are_numbered_in_the_order_of_their_names():
    clips = make_manifest({"path": ["a", "b", "c"], "label": ["run", "jump", "run"]}, root="/x")
    assert clips.class_names == ["jump", "run"]
    assert clips.label_ids.tolist() == [1, 0, 1]
    assert clips.label_ids.dtype == np.int64


@pytest.mark.parametrize("labels", [["10", "9", "0"], [10, 9, 0]])
def test_whole_numbers_are_sorted_by_value(labels):
    clips = make_manifest({"path": ["a", "b", "c"], "label": labels}, root="/x")
    assert clips.class_names == ["0", "9", "10"]
    assert clips.label_ids.tolist() == [2, 1, 0]


def test_numbers_among_names_are_names():
    clips = make_manifest({"path": ["a", "b", "c"], "label": ["10", "9", "run"]}, root="/x")
    assert clips.class_names == ["10", "9", "run"]


def test_no_label_is_minus_one():
    clips = make_manifest({"path": ["a", "b"], "label": [None, "run"]}, root="/x")
    assert clips.label_ids.tolist() == [-1, 0]
    bare = make_manifest({"path": ["a", "b"]}, root="/x")
    assert bare.class_names == []
    assert bare.label_ids.tolist() == [-1, -1]


def test_groups_come_from_the_column_then_the_name_then_the_video():
    paths = ["v_Run_g01_c01.avi", "v_Run_g01_c02.avi", "x.avi", "y.avi", "z.avi"]
    clips = make_manifest({"path": paths, "group": [None, None, "film", "film", None]}, root="/x")
    first, second, third, fourth, fifth = clips.group_ids
    assert first == second and third == fourth
    assert len({first, third, fifth}) == 3
    assert clips.row(0)["group"] == "Run_g01"
    assert clips.row(4)["group"] is None


def test_videos_without_a_group_share_none():
    clips = make_manifest({"path": [f"{i}.mp4" for i in range(50)]}, root="/x")
    assert len(set(clips.group_ids.tolist())) == 50


def test_other_columns_stay():
    clips = make_manifest({"path": ["a"], "person": ["anna"], "split2": ["test"]}, root="/x")
    assert clips.row(0) == {
        "path": "/x/a",
        "label": None,
        "group": None,
        "person": "anna",
        "split2": "test",
    }


def test_paths_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clips = make_manifest({"path": ["a/b.mp4", "/elsewhere/c.mp4"]}, root="videos")
    assert clips.paths == [f"{tmp_path}/videos/a/b.mp4", "/elsewhere/c.mp4"]
    assert [clips.path(0), clips.path(1)] == clips.paths
    monkeypatch.chdir("/")
    assert clips.path(0) == f"{tmp_path}/videos/a/b.mp4"


def test_it_travels_to_a_worker():
    clips = grouped({"run": [2, 3]})
    copy = pickle.loads(pickle.dumps(clips))
    assert copy.paths == clips.paths
    assert copy.group_ids.tolist() == clips.group_ids.tolist()


def test_take_keeps_classes_and_ids():
    clips = grouped({"jump": [1, 1], "run": [2]})
    some = clips.take([3, 0])
    assert some.paths == [clips.path(3), clips.path(0)]
    assert some.class_names == clips.class_names
    assert some.label_ids.tolist() == [1, 0]
    assert some.group_ids.tolist() == clips.group_ids[[3, 0]].tolist()
    assert len(clips.take([])) == 0 and clips.take([]).paths == []


# Splits


def test_select_gives_the_rows_of_a_split():
    columns = {
        "path": list("abcd"),
        "label": list("xyxz"),
        "split": ["train", "test", None, "train"],
    }
    clips = make_manifest(columns, root="/")
    assert clips.splits == ["test", "train"]
    train = clips.select("train")
    assert train.paths == ["/a", "/d"]
    assert train.class_names == ["x", "y", "z"]
    assert train.label_ids.tolist() == [0, 2]


def test_another_column_may_hold_the_split():
    columns = {"path": ["a", "b"], "split1": ["train", "test"], "split2": ["test", "train"]}
    clips = make_manifest(columns, root="/", split_column="split2")
    assert clips.select("train").paths == ["/b"]


def test_an_unknown_split_names_those_there_are():
    clips = make_manifest({"path": ["a", "b"], "split": ["train", "val"]}, root="/", source="k.csv")
    with pytest.raises(UserError) as caught:
        clips.select("test")
    assert str(caught.value) == (
        "k.csv: no split 'test' in column 'split'; it has train, val; "
        "the columns are path, label, group, split"
    )


def test_a_list_without_splits_names_its_columns():
    clips = make_manifest({"path": ["a"], "split1": ["test"]}, root="/")
    assert clips.splits == []
    with pytest.raises(UserError, match="it has none; the columns are path, label, group, split1"):
        clips.select("test")


# Holding out


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.9])
def test_held_out_groups_are_whole_and_the_share_is_near(fraction, seed):
    clips = grouped({"jump": [4] * 25, "run": [3, 5] * 10, "walk": [1] * 40})
    rest, held = clips.hold_out(fraction, seed)
    assert not set(rest.group_ids) & set(held.group_ids)
    assert sorted(rest.paths + held.paths) == sorted(clips.paths)
    for label in range(3):
        share = (held.label_ids == label).sum() / (clips.label_ids == label).sum()
        assert abs(share - fraction) <= 0.04


def test_parts_keep_the_order_of_the_list():
    clips = grouped({"run": [2] * 20})
    for part in clips.hold_out(0.3, seed=1):
        assert part.paths == sorted(part.paths)


def test_holding_out_is_a_function_of_its_seed():
    clips = grouped({"run": [1] * 100})
    once, again, other = (clips.hold_out(0.2, seed)[1].paths for seed in (3, 3, 4))
    assert once == again != other


def test_of_two_groups_one_goes_to_either_side():
    clips = grouped({"jump": [9, 1], "run": [1, 1]})
    for seed in range(5):
        for part in clips.hold_out(0.01, seed):
            assert set(part.label_ids) == {0, 1}


def test_a_class_of_one_group_is_not_held_out():
    rest, held = grouped({"jump": [5], "run": [1] * 10}).hold_out(0.2, seed=0)
    assert (rest.label_ids == 0).sum() == 5
    assert (held.label_ids == 1).sum() == len(held) == 2


def test_groups_that_span_classes_stay_whole():
    columns = {
        "path": [str(i) for i in range(60)],
        "label": ["run", "jump"] * 30,
        "group": [f"film {i // 6}" for i in range(60)],
    }
    rest, held = make_manifest(columns, root="/").hold_out(0.3, seed=0)
    assert not set(rest.group_ids) & set(held.group_ids)
    assert len(held) == 18


def test_unlabelled_videos_are_held_out_too():
    clips = make_manifest({"path": [f"{i}.mp4" for i in range(100)]}, root="/")
    rest, held = clips.hold_out(0.25, seed=0)
    assert (len(rest), len(held)) == (75, 25)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_lies_between_0_and_1(fraction):
    with pytest.raises(UserError, match=r"data\.hold_out: .* is no fraction"):
        grouped({"run": [1, 1]}).hold_out(fraction, seed=0)


def test_one_group_cannot_be_divided():
    with pytest.raises(UserError, match="no class has two groups"):
        grouped({"run": [7]}).hold_out(0.2, seed=0)


# Two lists of the same classes


def test_a_test_list_is_numbered_by_its_train_list():
    train = make_manifest({"path": ["a", "b", "c"], "label": ["run", "jump", "walk"]}, root="/")
    test = make_manifest({"path": ["d", "e"], "label": ["walk", None]}, root="/")
    assert test.label_ids.tolist() == [0, -1]
    renumbered = test.with_classes(train.class_names)
    assert renumbered.label_ids.tolist() == [2, -1]
    assert renumbered.class_names == ["jump", "run", "walk"]


def test_a_class_that_training_does_not_know():
    test = make_manifest({"path": ["a"], "label": ["swim"]}, root="/", source="test.csv")
    with pytest.raises(UserError, match=r"test\.csv: class 'swim' is not among the 2 known ones"):
        test.with_classes(["jump", "run"])


# Reading


def test_paths_start_at_the_folder_of_the_list(tmp_path):
    files(tmp_path / "lists", "a.mp4")
    (tmp_path / "lists" / "train.txt").write_text("a.mp4 0\n")
    clips = read_manifest(tmp_path / "lists" / "train.txt")
    assert clips.paths == [f"{tmp_path}/lists/a.mp4"]


def test_paths_start_at_the_root_where_one_is_given(tmp_path):
    files(tmp_path, "videos/run/a.mp4", "other/b.mp4")
    listed = tmp_path / "train.csv"
    listed.write_text(f"path,label\nrun/a.mp4,run\n{tmp_path}/other/b.mp4,jump\n")
    clips = read_manifest(listed, root=tmp_path / "videos")
    assert clips.paths == [f"{tmp_path}/videos/run/a.mp4", f"{tmp_path}/other/b.mp4"]


def test_a_folder_is_its_own_root(tmp_path):
    files(tmp_path, "run/a.mp4", "jump/b.mp4")
    clips = read_manifest(tmp_path, root="/nowhere")
    assert clips.paths == [f"{tmp_path}/jump/b.mp4", f"{tmp_path}/run/a.mp4"]
    assert clips.class_names == ["jump", "run"]


def test_a_folder_with_splits(tmp_path):
    files(tmp_path, "train/run/a.mp4", "test/run/b.mp4", "test/jump/c.mp4")
    clips = read_manifest(tmp_path)
    assert clips.splits == ["test", "train"]
    assert clips.select("train").label_ids.tolist() == [1]


def test_a_single_video(tmp_path, monkeypatch):
    files(tmp_path, "a.mp4")
    monkeypatch.chdir(tmp_path)
    clips = read_manifest("a.mp4")
    assert clips.paths == [f"{tmp_path}/a.mp4"]
    assert clips.class_names == []


@pytest.mark.parametrize("name", ["frames", "frames/."])
def test_a_single_folder_of_frames(tmp_path, name):
    files(tmp_path, "frames/1.jpg", "frames/2.jpg")
    assert read_manifest(tmp_path / name).paths == [f"{tmp_path}/frames"]


def test_a_bare_list_takes_groups_from_its_names(tmp_path):
    listed = tmp_path / "testlist01.txt"
    listed.write_text("Run/v_Run_g01_c01.avi\nRun/v_Run_g01_c02.avi\nRun/v_Run_g02_c01.avi\n")
    clips = read_manifest(listed, check_files=False)
    assert clips.group_ids.tolist() == [0, 0, 1]


def test_a_person_is_no_group_unless_called_so(tmp_path):
    listed = tmp_path / "list.csv"
    listed.write_text("path,label,person\na.mp4,run,anna\nb.mp4,run,anna\n")
    clips = read_manifest(listed, check_files=False)
    assert len(set(clips.group_ids)) == 2
    by_person = read_manifest(listed, check_files=False, split_column="person")
    assert len(by_person.select("anna")) == 2


# What reading refuses


def test_a_missing_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        read_manifest("videos")
    assert str(caught.value) == (
        f"videos: no such file or folder; check the path; it was looked for in {tmp_path}"
    )


def test_an_unknown_split_column(tmp_path):
    listed = tmp_path / "list.csv"
    listed.write_text("path,split1\na.mp4,train\n")
    with pytest.raises(UserError, match="no column 'split2'; its columns are path, split1"):
        read_manifest(listed, split_column="split2", check_files=False)


def test_missing_files_are_counted_and_the_first_is_named(tmp_path):
    files(tmp_path, "b.mp4")
    listed = tmp_path / "list.txt"
    listed.write_text("a.mp4 0\nb.mp4 0\nc.mp4 1\n")
    with pytest.raises(UserError) as caught:
        read_manifest(listed)
    message = str(caught.value)
    assert message.startswith(f"{listed}: 2 of 3 files are missing, first {tmp_path}/a.mp4; set")
    assert "data.root" in message and f"tools/inspect_data.py {listed}" in message
    assert len(read_manifest(listed, check_files=False)) == 3


def test_a_long_list_is_sampled_unless_asked(tmp_path):
    n = 2 * CHECK_ALL
    files(tmp_path, "here.mp4")
    listed = tmp_path / "list.txt"
    lines = [f"{'./' * i}here.mp4" for i in range(3)] + [f"gone/{i}.mp4" for i in range(n)]
    listed.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"of \d+ files looked for are missing, first"):
        read_manifest(listed)
    with pytest.raises(UserError, match=rf"{n} of {n + 3} files are missing"):
        read_manifest(listed, check_files=True)


def test_bad_rows_of_a_scanned_list_are_left_out_and_counted(tmp_path):
    listed = tmp_path / "manifest.csv"
    listed.write_text(
        "path,label,frames,status,reason\n"
        "a.mp4,run,30,ok,\nb.mp4,jump,,corrupt,no video stream\nc.mp4,run,,,\nd.mp4,run,,missing,\n"
    )
    files(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    clips = read_manifest(listed)
    assert [Path(path).name for path in clips.paths] == ["a.mp4", "c.mp4"]
    assert clips.bad == 2
    assert clips.class_names == ["jump", "run"], "numbers must not depend on which files are broken"
    assert clips.take([0]).bad == 2
    everything = read_manifest(listed, keep_bad=True, check_files=False)
    assert len(everything) == 4 and everything.bad == 0


def test_a_scanned_list_with_nothing_good(tmp_path):
    listed = tmp_path / "manifest.csv"
    listed.write_text("path,status\na.mp4,corrupt\n")
    with pytest.raises(UserError, match="every video is marked bad; see its columns"):
        read_manifest(listed)


# Writing


def test_what_is_written_reads_back(tmp_path):
    columns = {
        "path": ['run/say "hi", twice.mp4', "jump/视频.mp4", "v_Run_g01_c01.avi"],
        "label": ["run", "jump", None],
        "group": ["film, one", None, None],
        "split1": ["train", "test", None],
        "frames": [30, None, 31],
        "status": ["ok", "ok", "ok"],
    }
    clips = make_manifest(columns, root=tmp_path / "videos")
    write_manifest(clips, tmp_path / "manifest.csv")
    again = read_manifest(tmp_path / "manifest.csv", check_files=False, split_column="split1")
    assert again.paths == clips.paths
    assert again.class_names == clips.class_names
    assert again.label_ids.tolist() == clips.label_ids.tolist()
    assert again.group_ids.tolist() == clips.group_ids.tolist()
    assert again.splits == ["test", "train"]
    assert again.table["frames"].to_pylist() == [30, None, 31]


def test_columns_have_a_fixed_beginning(tmp_path):
    clips = make_manifest({"person": ["anna"], "path": ["a.mp4"]}, root=tmp_path)
    write_manifest(clips, tmp_path / "manifest.csv")
    lines = (tmp_path / "manifest.csv").read_text().splitlines()
    assert lines == ["path,label,group,split,person", "a.mp4,,,,anna"]


def test_a_list_moves_with_its_videos(tmp_path):
    files(tmp_path / "one", "videos/a.mp4")
    write_manifest(read_manifest(tmp_path / "one" / "videos"), tmp_path / "one" / "manifest.csv")
    (tmp_path / "one").rename(tmp_path / "two")
    assert read_manifest(tmp_path / "two" / "manifest.csv").paths == [
        f"{tmp_path}/two/videos/a.mp4"
    ]


def test_a_list_elsewhere_names_whole_paths(tmp_path, monkeypatch):
    files(tmp_path / "videos", "a.mp4", "b.mp4")
    monkeypatch.chdir(tmp_path)
    write_manifest(read_manifest("videos"), "lists/manifest.csv")
    assert read_manifest("lists/manifest.csv").paths == read_manifest("videos").paths
    assert f"{tmp_path}/videos/a.mp4" in Path("lists/manifest.csv").read_text()


def test_absolute_paths_stay_as_they_are(tmp_path):
    clips = make_manifest({"path": ["/data/a.mp4", "b.mp4"]}, root="/videos")
    write_manifest(clips, tmp_path / "manifest.csv")
    again = read_manifest(tmp_path / "manifest.csv", check_files=False)
    assert again.paths == ["/data/a.mp4", "/videos/b.mp4"]


# Size

MILLION = """
import resource, sys
from cvrl.data.manifest import read_manifest

def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

before = megabytes()
clips = read_manifest(sys.argv[1], check_files=False)
assert len(clips) == 1_000_000 and len(clips.class_names) == 400
assert clips.label_ids[401] == 1
print(megabytes() - before)
"""


@pytest.mark.slow
def test_a_million_rows_are_light(tmp_path):
    listed = tmp_path / "million.txt"
    with open(listed, "w") as stream:
        for i in range(1_000_000):
            stream.write(f"class{i % 400}/video_{i:07}_000010_000020.mp4 {i % 400}\n")
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", MILLION, str(listed)], capture_output=True, text=True, check=True
    )
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert float(done.stdout) < 400
    # 2 s and 270 MB on one quiet core, imports apart; CPU time, since the wall clock has company
    assert ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime < 20


def test_holding_out_of_many_groups_and_classes_is_quick():
    n = 200_000
    columns = {"path": [f"{i}.mp4" for i in range(n)], "label": [str(i % 700) for i in range(n)]}
    clips = make_manifest(columns, root="/")
    began = time.process_time()
    _, held = clips.hold_out(0.1, seed=0)
    assert time.process_time() - began < 5
    assert set(held.label_ids) == set(range(700))


# Real lists


@pytest.mark.real
@pytest.mark.parametrize(("column", "train"), [("split1", 288), ("split2", None), ("split3", None)])
def test_the_ucf101_list(real_data, column, train):
    clips = read_manifest(
        real_data / "splits" / "ucf101_4.csv", root=real_data / "ucf101_4", split_column=column
    )
    assert len(clips) == 400 and len(set(clips.group_ids)) == 100
    parts = clips.select("train"), clips.select("test")
    assert sum(map(len, parts)) == 400
    assert train is None or len(parts[0]) == train
    assert not set(parts[0].group_ids) & set(parts[1].group_ids)


@pytest.mark.real
def test_inferred_groups_are_the_listed_ones(real_data):
    listed = read_manifest(real_data / "splits" / "ucf101_4.csv", root=real_data / "ucf101_4")
    inferred = read_manifest(real_data / "ucf101_4")
    named = dict(zip(listed.paths, listed.table["group"].to_pylist(), strict=True))
    assert [named[path] for path in inferred.paths] == inferred.table["group"].to_pylist()


@pytest.mark.real
def test_the_ucf101_list_without_its_root(real_data):
    with pytest.raises(UserError, match=r"400 of 400 files are missing, first .*data\.root"):
        read_manifest(real_data / "splits" / "ucf101_4.csv")


@pytest.mark.real
def test_holding_out_of_ucf101_training(real_data):
    clips = read_manifest(
        real_data / "splits" / "ucf101_4.csv", root=real_data / "ucf101_4", split_column="split1"
    )
    rest, held = clips.select("train").hold_out(0.2, seed=0)
    assert not set(rest.group_ids) & set(held.group_ids)
    assert np.bincount(held.label_ids).tolist() == [16, 16, 16, 16] or len(held) in range(48, 68)


def test_labels_of_a_list_can_be_set_aside_and_not_be_taken_from_folders(tmp_path):
    (tmp_path / "list.csv").write_text("path,label\nrun/a.mp4,x\n")
    how = {"check_files": False}
    assert read_manifest(tmp_path / "list.csv", labels="none", **how).class_names == []
    with pytest.raises(UserError, match="is a list, whose labels are its column 'label'"):
        read_manifest(tmp_path / "list.csv", labels="parent", **how)
