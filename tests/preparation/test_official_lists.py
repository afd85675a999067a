"""Official split files: read right, held against each other, the real ones to the last count."""

import csv
import json
from collections import Counter

import pytest

from cvrl.preparation.official_lists import (
    read_diving48,
    read_hmdb51,
    read_kinetics,
    read_ssv2,
    read_ucf101,
)
from cvrl.utils.errors import UserError

HEAD = "label,youtube_id,time_start,time_end,split\n"


def ucf_lists(folder, *, number=1):
    """Two classes of two groups; group k tests in split k, and group 3 in split 3 is in neither."""
    folder.mkdir(exist_ok=True)
    (folder / "classInd.txt").write_text("1 Run\r\n2 Jump\r\n")
    clips = [f"{label}/v_{label}_g0{g}_c01.avi" for label in ("Run", "Jump") for g in (1, 2)]
    for k in (1, 2, 3):
        tests = [clip for clip in clips if f"_g0{k}_" in clip]
        trains = [clip for clip in clips if clip not in tests and k < 3]
        (folder / f"testlist0{k}.txt").write_text("\r\n".join(tests))
        numbered = [f"{clip} {number if 'Run' in clip else 2}" for clip in trains]
        (folder / f"trainlist0{k}.txt").write_text("\n".join(numbered) + "\n\n")
    return folder


def hmdb_lists(folder, values=("1", "2", "0")):
    """One class of three clips, two of which are of one film; the values move on by a split."""
    folder.mkdir(exist_ok=True)
    names = [
        f"{film}_run_f_cm_np1_fr_med_{i}.avi" for i, film in enumerate(("Troy", "Troy", "#20"))
    ]
    for k in range(3):
        lines = [f"{name} {values[(row + k) % 3]} " for row, name in enumerate(names)]
        (folder / f"run_test_split{k + 1}.txt").write_text("\n".join(lines))
    return folder


def ssv2_lists(folder, *, template="Holding [something] next to [something]"):
    folder.mkdir(exist_ok=True)
    labels = {"Holding something next to something": "1", "Dropping [x]".replace("[x]", "x"): "0"}
    (folder / "labels.json").write_text(json.dumps(labels))
    (folder / "train.json").write_text(json.dumps([{"id": "10", "template": template}]))
    (folder / "validation.json").write_text(
        json.dumps([{"id": 11, "template": "Dropping [x]", "placeholders": ["x"]}])
    )
    (folder / "test.json").write_text(json.dumps([{"id": "12"}, {"id": "13"}]))
    (folder / "test-answers.csv").write_text("12;Dropping x\n")
    return folder


def diving_lists(folder, label=0):
    folder.mkdir(exist_ok=True)
    for part, name in (("train", "-mm_q_00155"), ("test", "-mm_q_00002")):
        entries = [{"vid_name": name, "label": label, "start_frame": 0, "end_frame": 9}]
        (folder / f"Diving48_V2_{part}.json").write_text(json.dumps(entries))
    return folder


def column(table, name):
    return dict(zip(table["name"].to_pylist(), table[name].to_pylist(), strict=True))


# --- UCF101 --------------------------------------------------------------------------------------


def test_ucf101(tmp_path):
    table = read_ucf101([ucf_lists(tmp_path / "lists")])
    assert table.column_names == ["name", "label", "group", "split1", "split2", "split3"]
    assert len(table) == 4
    assert column(table, "group")["v_Jump_g02_c01"] == "Jump_g02"
    assert column(table, "label")["v_Jump_g02_c01"] == "Jump"
    row = {name: column(table, name)["v_Run_g01_c01"] for name in table.column_names[3:]}
    assert row == {"split1": "test", "split2": "train", "split3": None}


def test_files_may_be_named_one_by_one(tmp_path):
    folder = ucf_lists(tmp_path / "deep")
    assert read_ucf101(sorted(folder.iterdir())).equals(read_ucf101([tmp_path]))


@pytest.mark.parametrize("name", ["classInd.txt", "trainlist02.txt", "testlist03.txt"])
def test_a_missing_list_is_named(tmp_path, name):
    folder = ucf_lists(tmp_path / "lists")
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"no {name}"):
        read_ucf101([folder])


def test_two_lists_of_one_name_are_refused(tmp_path):
    ucf_lists(tmp_path / "one")
    ucf_lists(tmp_path / "two")
    with pytest.raises(UserError, match=r"two files classInd\.txt"):
        read_ucf101([tmp_path])


def test_a_number_that_contradicts_the_class_list(tmp_path):
    with pytest.raises(UserError, match=r"trainlist01.*Run_g02_c01\.avi 7' is not as classInd"):
        read_ucf101([ucf_lists(tmp_path / "lists", number=7)])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Swim/v_Swim_g01_c01.avi", "is not as classInd"),
        ("v_Run_g01_c01.avi", "is not as classInd"),
        ("Run/v_Run_g01_c01.avi 1 2", "odd line"),
        ("Run/v_Run_g02_c01.avi", "in test here and in train elsewhere"),
    ],
)
def test_odd_lines_of_ucf101(tmp_path, line, reason):
    folder = ucf_lists(tmp_path / "lists")
    (folder / "testlist01.txt").write_text(line)
    with pytest.raises(UserError, match=reason):
        read_ucf101([folder])


# --- HMDB51 --------------------------------------------------------------------------------------


def test_hmdb51(tmp_path):
    table = read_hmdb51([hmdb_lists(tmp_path / "lists")])
    assert table["label"].to_pylist() == ["run"] * 3
    assert table["group"].to_pylist() == ["Troy", "Troy", "#20"]
    assert table["split1"].to_pylist() == ["train", "test", None]
    assert table["split2"].to_pylist() == ["test", None, "train"]
    assert table["split3"].to_pylist() == [None, "train", "test"]


def test_a_film_is_one_group_over_all_classes(tmp_path):
    folder = hmdb_lists(tmp_path / "lists")
    for k in (1, 2, 3):
        line = "Troy_fall_floor_f_cm_np1_fr_med_0.avi 2"
        (folder / f"fall_floor_test_split{k}.txt").write_text(line)
    table = read_hmdb51([folder])
    assert column(table, "group")["Troy_fall_floor_f_cm_np1_fr_med_0"] == "Troy"


def test_a_class_without_its_third_list(tmp_path):
    folder = hmdb_lists(tmp_path / "lists")
    (folder / "run_test_split3.txt").unlink()
    with pytest.raises(UserError, match=r"no run_test_split3\.txt"):
        read_hmdb51([folder])


def test_a_value_that_hmdb51_does_not_know(tmp_path):
    with pytest.raises(UserError, match="'3' is none of 0, 1, 2"):
        read_hmdb51([hmdb_lists(tmp_path / "lists", ("1", "3", "0"))])


def test_a_folder_without_lists(tmp_path):
    with pytest.raises(UserError, match=r"no \*_test_split1\.txt"):
        read_hmdb51([tmp_path])


# --- Kinetics ------------------------------------------------------------------------------------


def test_kinetics(tmp_path):
    (tmp_path / "train.csv").write_text(HEAD + '"petting animal (not cat)",a-_b,5,15,train\n')
    (tmp_path / "val.csv").write_text(HEAD + "archery,cd,1017.0,1027.0,validate\n")
    table = read_kinetics([tmp_path])
    assert table.to_pylist() == [
        {
            "name": "a-_b_000005_000015",
            "label": "petting animal (not cat)",
            "group": "a-_b",
            "split": "train",
        },
        {"name": "cd_001017_001027", "label": "archery", "group": "cd", "split": "val"},
    ]


def test_a_test_list_without_labels(tmp_path):
    (tmp_path / "test.csv").write_text("youtube_id,time_start,time_end,split\nab,0,10,test\n")
    assert read_kinetics([tmp_path])["label"].to_pylist() == [None]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("label,youtube_id,time_start,split\n", "no column 'time_end'"),
        (HEAD + "archery,ab,x,10,val\n", "odd row archery,ab,x,10,val"),
        (HEAD + "archery,ab,0,10,both\n", "odd row"),
        (HEAD + "archery,ab,0\n", "odd row in line 2"),
        (HEAD + "archery,ab,0,10,val\narchery,ab,0,10,train\n", "in train here and in val"),
    ],
)
def test_odd_lists_of_kinetics(tmp_path, text, reason):
    (tmp_path / "val.csv").write_text(text)
    with pytest.raises(UserError, match=reason):
        read_kinetics([tmp_path / "val.csv"])


# --- Something-Something V2 ----------------------------------------------------------------------


def test_ssv2(tmp_path):
    table = read_ssv2([ssv2_lists(tmp_path / "labels")])
    assert column(table, "label") == {
        "10": "Holding something next to something",
        "11": "Dropping x",
        "12": "Dropping x",
        "13": None,
    }
    assert column(table, "split") == {"10": "train", "11": "val", "12": "test", "13": "test"}
    assert table["group"].null_count == 4


def test_a_template_that_labels_do_not_know(tmp_path):
    with pytest.raises(UserError, match=r"'Eating x' is not in labels\.json"):
        read_ssv2([ssv2_lists(tmp_path / "labels", template="Eating [x]")])


@pytest.mark.parametrize(
    ("text", "reason"),
    [("[", "is no JSON"), ("{}", "is no list"), ('[{"id": 1}]', "is no list with id and template")],
)
def test_odd_json(tmp_path, text, reason):
    folder = ssv2_lists(tmp_path / "labels")
    (folder / "train.json").write_text(text)
    with pytest.raises(UserError, match=reason):
        read_ssv2([folder])


# --- Diving48 ------------------------------------------------------------------------------------


def test_diving48(tmp_path):
    folder = diving_lists(tmp_path / "lists")
    assert read_diving48([folder])["label"].to_pylist() == ["0", "0"]
    (folder / "Diving48_vocab.json").write_text('[["Back", "15som", "05Twis", "FREE"]]')
    table = read_diving48([folder])
    assert table["label"].to_pylist() == ["Back_15som_05Twis_FREE"] * 2
    assert table["group"].to_pylist() == ["-mm_q"] * 2
    assert table["split"].to_pylist() == ["train", "test"]


def test_a_label_outside_the_vocabulary(tmp_path):
    folder = diving_lists(tmp_path / "lists", label=1)
    (folder / "Diving48_vocab.json").write_text('[["Back", "15som", "05Twis", "FREE"]]')
    with pytest.raises(UserError, match="label 1 is not among 1"):
        read_diving48([folder])


def test_a_list_that_is_no_text(tmp_path):
    folder = diving_lists(tmp_path / "lists")
    (folder / "Diving48_V2_test.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        read_diving48([folder])


# --- the lists themselves ------------------------------------------------------------------------


@pytest.mark.real
def test_the_real_lists_of_ucf101(real_data):
    table = read_ucf101([real_data / "splits" / "ucfTrainTestlist"])
    assert len(table) == 13_320 and len(set(table["label"].to_pylist())) == 101
    counts = [Counter(table[f"split{k}"].to_pylist()) for k in (1, 2, 3)]
    assert counts == [
        {"train": 9537, "test": 3783},
        {"train": 9586, "test": 3734},
        {"train": 9624, "test": 3696},
    ]
    for k in (1, 2, 3):
        rows = list(zip(table["group"].to_pylist(), table[f"split{k}"].to_pylist(), strict=True))
        sides = [{group for group, part in rows if part == side} for side in ("train", "test")]
        assert not sides[0] & sides[1]


@pytest.mark.real
def test_the_real_lists_of_hmdb51_share_films(real_data):
    table = read_hmdb51([real_data / "splits" / "hmdb51_splits"])
    assert len(table) == 6766 and len(set(table["label"].to_pylist())) == 51
    assert len(set(table["group"].to_pylist())) == 1407
    for k, leaking in ((1, 457), (2, 527), (3, 529)):
        parts = table[f"split{k}"].to_pylist()
        assert Counter(parts) == {"train": 3570, "test": 1530, None: 1666}
        rows = list(zip(table["group"].to_pylist(), parts, strict=True))
        trained = {group for group, part in rows if part == "train"}
        assert sum(part == "test" and group in trained for group, part in rows) == leaking


@pytest.mark.real
def test_the_real_list_of_kinetics(real_data):
    file = real_data / "splits" / "kinetics-400_val.csv"
    table = read_kinetics([file])
    assert len(table) == 19_906 and len(set(table["label"].to_pylist())) == 400
    with open(file, newline="") as stream:
        names = [
            f"{r['youtube_id']}_{r['time_start']:0>6}_{r['time_end']:0>6}"
            for r in csv.DictReader(stream)
        ]
    assert table["name"].to_pylist() == names
