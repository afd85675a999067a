"""Groups that file names tell."""

import pyarrow as pa
import pytest

from cvrl.data.sources.name_groups import infer_groups, join_derived
from cvrl.data.sources.text_lists import list_file


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("PushUps/v_PushUps_g07_c03.avi", "PushUps_g07"),
        ("v_PushUps_g07_c03.avi", "PushUps_g07"),
        ("PushUps_g07_c03", "PushUps_g07"),
        ("frames/v_PushUps_g07_c03", "PushUps_g07"),
        ("/data/v_HandStand_g1_c12.mp4", "HandStand_g01"),
        ("brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "April_09_brush_hair"),
        ("Fellowship_4_shake_hands_u_cm_np2_fr_med_3.avi", "Fellowship_4_shake_hands"),
        ("prelinger_LetsBeGo1953_wave_u_cm_np10_ba_med_2.avi", "prelinger_LetsBeGo1953_wave"),
        ("run/a.mp4", None),
        ("v_PushUps_g07_c03/clip.mp4", None),
        ("big_c03.mp4", None),
        ("dog_g7.mp4", None),
    ],
)
def test_infer_groups(path, group):
    assert infer_groups(pa.array([path])).to_pylist() == [group]


@pytest.mark.real
def test_official_ucf101_lists(real_data):
    train = list_file(real_data / "splits" / "ucfTrainTestlist" / "trainlist01.txt")
    test = list_file(real_data / "splits" / "ucfTrainTestlist" / "testlist01.txt")
    assert (len(train), len(test)) == (9537, 3783)
    assert set(train["label"].to_pylist()) == {str(number) for number in range(1, 102)}
    assert test.column_names == ["path"]
    groups = infer_groups(train["path"])
    assert groups.null_count == 0
    assert not set(groups.to_pylist()) & set(infer_groups(test["path"]).to_pylist())


@pytest.mark.real
def test_official_hmdb51_names_all_tell_their_group(real_data):
    lists = sorted((real_data / "splits" / "hmdb51_splits").glob("*_split1.txt"))
    paths = pa.concat_arrays([list_file(path)["path"].combine_chunks() for path in lists])
    groups = infer_groups(paths)
    assert len(lists) == 51 and len(paths) == 6766
    assert groups.null_count == 0
    assert 1000 < len(groups.unique()) < 5000


@pytest.mark.parametrize(
    "name",
    [
        *(
            "v_Run_g02_c01 (1).avi",
            "v_Run_g02_c01_flip.avi",
            "v_Run_G02_c01.AVI",
            "v_Run_g2_c3.avi",
        ),
        *(
            "v_Run_g02_c01.mp4.avi",
            "V_Run_g02_c09_copy (2).avi",
            "x/Run_g02_take3",
            "v_Run_G2_.mp4",
        ),
    ],
)
def test_names_derived_from_ucf_names_stay_in_the_group(name):
    assert infer_groups(pa.array([name])).to_pylist() == ["Run_g02"]


def test_names_derived_from_hmdb_names_stay_in_the_group():
    names = ["April_run_u_nm_np1_ba_goo_0 (1).avi", "April_run_U_nm_np1_ba_goo_0_flip.AVI"]
    assert infer_groups(pa.array(names)).to_pylist() == ["April_run", "April_run"]


def joined(*paths, group=None):
    group = pa.array(group or [None] * len(paths), pa.string())
    return join_derived(pa.chunked_array([paths]), pa.chunked_array([group])).to_pylist()


@pytest.mark.parametrize(
    "derived",
    [
        *("run/a (1).mp4", "run/a_flip.mp4", "run/a_FLIPPED.mp4", "run/a-mirror.avi"),
        *("run/a - Copy.mp4", "run/a - Copy (2).mp4", "run/Copy of a.mp4", "run/a_hflip_rot90.mp4"),
        *("run/a.avi", "run/a.mp4.mkv", "run/a_aug3.mp4", "test/a (1).mp4"),
    ],
)
def test_what_is_made_from_a_listed_file_joins_its_group(derived):
    assert joined("run/a.mp4", "run/b.mp4", derived) == ["run/a.mp4", None, "run/a.mp4"]
    assert joined(derived, "run/a.mp4", group=[None, "g"]) == ["g", "g"]
    assert joined(derived, "run/a.mp4", group=["own", "g"]) == ["own", "g"]


@pytest.mark.parametrize(
    "paths",
    [
        ("clip (1).mp4", "clip (2).mp4", "clip (3).mp4"),  # a numbering: there is no clip.mp4
        ("a.mp4", "walk_slow.mp4", "b_flip.mp4"),
        ("x/1.mp4", "y/1.mp4", "z/1 (1).mp4"),  # of which?
        ("run/one", "jump/one", "x/two.5"),
    ],
)
def test_files_without_a_listed_source_stay_alone(paths):
    assert joined(*paths) == [None] * len(paths)


def test_the_folder_of_the_derived_file_comes_first():
    paths = ("x/1.mp4", "y/1.mp4", "y/1 (1).mp4")
    assert joined(*paths) == [None, "y/1.mp4", "y/1.mp4"]
