"""What a person is told about a data set, and what is written."""

import io
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from cvrl.data.manifest import make_manifest, read_manifest
from cvrl.preparation.scan import scan
from cvrl.report.inspection import inspect, summary
from cvrl.utils.errors import UserError


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


@pytest.fixture
def mixed(make_video, tmp_path):
    """Three good videos of two sizes and rates, and two bad ones."""
    root = tmp_path / "videos"
    make_video(root / "run" / "v_run_g01_c01.mp4", 40)
    make_video(root / "run" / "v_run_g01_c02.mp4", 20)
    make_video(root / "jump" / "b.avi", 31, codec="mpeg4", fps=30)
    (root / "walk").mkdir()
    (root / "walk" / "text.mp4").write_text("no video")
    (root / "jump" / "[empty].mp4").touch()
    return root


def said(console):
    return console.file.getvalue()


def rows(table):
    """A table's rows by their first cell."""
    names, values = (list(column.cells) for column in table.columns)
    return dict(zip(names, values, strict=True))


def test_the_summary_counts(mixed):
    manifest = scan(read_manifest(mixed), workers=0)
    found = rows(summary(manifest))
    assert found["videos"] == "3 that decode, 2 bad"
    assert found["classes"] == "3, with 0 to 2 videos; without any that decodes: walk"
    assert found["groups"] == "2"
    assert found["splits"] == "none"
    assert found["hours"] == "0.00"
    assert found["frames"] == "20 min, 31 median, 40 max"
    assert found["size"] == "64x48 (3)"
    assert found["fps"] == "25 (2), 30 (1)"
    assert found["short"] == "1 with fewer than 31 frames, a clip of 16 at stride 2"


def scanned(**columns):
    """A scanned manifest made by hand."""
    n = len(columns["frames"])
    common = {
        "path": [f"{i}.mp4" for i in range(n)],
        "fps": [25.0] * n,
        "height": [10] * n,
        "width": [10] * n,
        "duration": [3600.0] * n,
        "status": ["ok"] * n,
    }
    return make_manifest(common | columns, root="/")


def test_hours_splits_and_labels():
    manifest = scanned(
        frames=[100, 30, 31, 300],
        split=["train", "train", "test", None],
        label=["run", None, "run", "jump"],
    )
    found = rows(summary(manifest))
    assert found["hours"] == "4.00"
    assert found["splits"] == "train (2), test (1)"
    assert found["classes"] == "2, with 1 to 2 videos; 1 videos without a label"
    assert found["short"].startswith("1 with")


def test_many_sizes_are_cut():
    manifest = scanned(frames=[50] * 9, width=[10, 10, *range(20, 27)])
    size = rows(summary(manifest))["size"]
    assert size.startswith("10x10 (2), 20x10 (1)")
    assert size.endswith("and 3 more")


def test_rates_are_told_apart_to_five_digits():
    manifest = scanned(frames=[50, 50, 50], fps=[29.97002997, 29.97003, 30.0])
    assert rows(summary(manifest))["fps"] == "29.97 (2), 30 (1)"


def test_inspecting_writes_a_manifest_that_trains(mixed, tmp_path, console):
    output = tmp_path / "lists" / "manifest.csv"
    manifest = inspect(mixed, output=output, workers=0, console=console)
    assert len(manifest) == 5
    clips = read_manifest(output)
    assert (len(clips), clips.bad) == (3, 2)
    assert sorted(Path(path).name for path in clips.paths) == [
        "b.avi",
        "v_run_g01_c01.mp4",
        "v_run_g01_c02.mp4",
    ]
    assert [path.name for path in output.parent.iterdir()] == ["manifest.csv"], "no journal is left"
    header = output.read_text().splitlines()[0]
    assert header == "path,label,group,split,fps,frames,height,width,duration,status,reason"


def test_bad_files_are_listed_with_their_reason(mixed, tmp_path, console):
    inspect(mixed, output=tmp_path / "manifest.csv", workers=0, console=console)
    assert "jump/[empty].mp4" in said(console)
    assert "walk/text.mp4" in said(console)
    assert "the file is empty" in said(console)
    assert f"written: {tmp_path}/manifest.csv" in said(console)


def test_many_bad_files_are_cut(make_video, tmp_path, console):
    make_video(tmp_path / "videos" / "good.mp4", 31)
    for i in range(25):
        (tmp_path / "videos" / f"bad_{i:02}.mp4").touch()
    inspect(tmp_path / "videos", output=tmp_path / "m.csv", workers=0, console=console)
    assert "bad_19.mp4" in said(console) and "bad_20.mp4" not in said(console)
    assert "and 5 more" in said(console)


def test_good_data_lists_no_bad_files(video_folder, tmp_path, console):
    inspect(video_folder, output=tmp_path / "m.csv", workers=0, console=console)
    assert "12 that decode, 0 bad" in said(console)
    assert "Bad files" not in said(console)


def test_a_sheet_is_drawn_of_good_videos(mixed, tmp_path, console):
    sheet = tmp_path / "sheet.png"
    inspect(mixed, output=tmp_path / "m.csv", workers=0, sheet=sheet, console=console)
    assert sheet.stat().st_size > 1000
    assert f"drawn: {sheet}" in said(console)


def test_a_list_with_missing_files(mixed, tmp_path, console):
    listed = tmp_path / "list.csv"
    listed.write_text("path,label\nrun/v_run_g01_c01.mp4,run\nrun/gone.mp4,run\n")
    inspect(listed, root=mixed, output=tmp_path / "m.csv", workers=0, console=console)
    clips = read_manifest(tmp_path / "m.csv")
    assert clips.paths == [str(mixed / "run" / "v_run_g01_c01.mp4")]
    assert "no such file" in said(console)


def test_a_manifest_can_be_inspected_again(mixed, tmp_path, console):
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    inspect(mixed, output=first, workers=0, console=console)
    (mixed / "walk" / "text.mp4").unlink()
    inspect(first, output=second, workers=0, console=console)
    found = {
        row["path"]: row["status"]
        for row in _rows(read_manifest(second, keep_bad=True, check_files=False))
    }
    assert found[str(mixed / "walk" / "text.mp4")] == "missing"
    assert sorted(found.values()) == ["corrupt", "missing", "ok", "ok", "ok"]


def test_other_split_columns_come_through(mixed, tmp_path, console):
    listed = tmp_path / "list.csv"
    listed.write_text("path,split1,split2\nrun/v_run_g01_c01.mp4,train,test\n")
    inspect(
        listed,
        root=mixed,
        output=tmp_path / "m.csv",
        split_column="split2",
        workers=0,
        console=console,
    )
    assert "test (1)" in said(console)
    assert read_manifest(tmp_path / "m.csv", split_column="split1").splits == ["train"]


def test_a_stopped_inspection_goes_on(mixed, tmp_path, console, monkeypatch):
    from cvrl.report import inspection

    output = tmp_path / "m.csv"

    def stop(manifest, path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(inspection, "write_manifest", stop)
        with pytest.raises(KeyboardInterrupt):
            inspect(mixed, output=output, workers=0, console=console)
    journal = tmp_path / "m.csv.partial"
    assert len(journal.read_text().splitlines()) == 5
    before = journal.stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr(inspection, "write_manifest", stop)
        with pytest.raises(KeyboardInterrupt):
            inspect(mixed, output=output, workers=0, console=console)
    assert journal.stat().st_mtime_ns == before, "nothing was measured again"
    inspect(mixed, output=output, workers=0, console=console)
    assert not journal.exists() and output.exists()


def test_nothing_that_decodes(tmp_path, console):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(UserError) as caught:
        inspect(tmp_path, output=tmp_path / "m.csv", workers=0, console=console)
    assert str(caught.value) == (
        f"{tmp_path}: no video in it decodes; see the column reason in {tmp_path}/m.csv"
    )
    assert "a.mp4" in said(console)


def test_an_output_that_cannot_be_written(video_folder, tmp_path, console):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be created \(.*\); give a place"):
        inspect(video_folder, output=tmp_path / "file" / "m.csv", workers=0, console=console)


def _rows(manifest):
    return [manifest.row(i) for i in range(len(manifest))]


def test_copies_are_named_and_become_one_group(make_video, tmp_path, console):
    root = tmp_path / "videos"
    first = make_video(root / "train" / "run" / "a.mp4", 31)
    make_video(root / "train" / "jump" / "b.mp4", 32)
    for copy in ("test/run/c.mp4", "test/jump/d.mp4"):
        (root / copy).parent.mkdir(parents=True, exist_ok=True)
        (root / copy).write_bytes(first.read_bytes())
    manifest = inspect(root, output=tmp_path / "m.csv", workers=0, console=console)
    assert "copies: 2 videos are byte-identical to another" in said(console)
    line = "  test/jump/d.mp4 = test/run/c.mp4 = train/run/a.mp4"
    assert f"{line}; DIFFERENT labels: jump, run; DIFFERENT splits: test, train" in said(console)
    again = read_manifest(tmp_path / "m.csv")
    for found in (manifest, again):
        assert len(set(found.group_ids)) == 2
        assert Counter(found.group_ids.tolist()).most_common()[0][1] == 3


def test_videos_that_all_differ_are_said_nothing_about(mixed, tmp_path, console):
    inspect(mixed, output=tmp_path / "m.csv", workers=0, console=console)
    assert "copies" not in said(console)


def test_files_left_out_are_counted_and_named(make_video, tmp_path, console):
    make_video(tmp_path / "videos" / "run" / "a.mp4", 31)
    (tmp_path / "videos" / "run" / "[notes].txt").touch()
    inspect(tmp_path / "videos", output=tmp_path / "m.csv", workers=0, console=console)
    assert "left out: 1 .txt (run/[notes].txt); all are named in" in said(console)
    assert (tmp_path / "m.left_out.txt").read_text() == "run/[notes].txt\t.txt\n"


def test_class_names_are_shown_and_labels_can_be_set_aside(mixed, tmp_path, console):
    inspect(mixed, output=tmp_path / "m.csv", workers=0, console=console)
    assert "jump, run, walk" in said(console)
    found = inspect(mixed, output=tmp_path / "n.csv", labels="none", workers=0, console=console)
    assert found.class_names == [] and read_manifest(tmp_path / "n.csv").class_names == []
