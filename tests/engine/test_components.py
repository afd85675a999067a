"""Views and methods are found by name, get what they ask for, and are refused where they clash."""

import pytest

from cvrl.data.clips import ClipSpec
from cvrl.engine.components import build_method, build_views, names
from cvrl.models.backbones import build_encoder
from cvrl.utils.errors import UserError

SPEC = ClipSpec(frames=8, stride=2)
FACTS = {
    "class_names": ["a"],
    "videos": 9,
    "steps_per_epoch": 3,
    "total_steps": 30,
}
PAIR = {"name": "temporal_pair"}
ORDER = {"name": "ordered_clips"}


@pytest.fixture(scope="module")
def encoder():
    return build_encoder("r3d_small", width=4, blocks=(1, 1, 1, 1))


def method(encoder, name, views, **keywords):
    return build_method(name, keywords, encoder, FACTS, views)


def joint_views(**parts):
    return build_views("joint", {"parts": parts}, SPEC)


def test_a_file_is_a_name():
    assert {"ordered_clips", "temporal_pair", "joint"} <= set(names("views"))
    assert {"moco", "simclr", "cpc"} <= set(names("method"))


def test_keywords_reach_the_views():
    assert build_views("ordered_clips", {"clips": 4}, SPEC).order_classes == 24


def test_a_method_gets_the_facts_it_asks_for(encoder):
    order = method(encoder, "order", build_views("ordered_clips", {"clips": 4}, SPEC))
    assert order.classifier.out_features == 24 and len(order.pairs) == 6
    labels = method(encoder, "classify", build_views("temporal_pair", {}, SPEC))
    assert labels.classifier.class_names == FACTS["class_names"]


@pytest.mark.parametrize(
    ("views", "name", "remedies"),
    [
        ("ordered_clips", "simclr", ["temporal_pair", "shuffled_pair"]),
        ("temporal_pair", "order", ["ordered_clips", "relative_patch"]),
        ("rotated", "cpc", ["future_blocks"]),
        ("future_blocks", "moco", ["temporal_pair"]),
    ],
)
def test_a_pairing_that_makes_no_sense_names_the_views_that_do(encoder, views, name, remedies):
    with pytest.raises(UserError) as caught:
        method(encoder, name, build_views(views, {}, SPEC))
    message = str(caught.value)
    assert message.startswith(f"method.name = {name}: cannot compare")
    assert all(remedy in message for remedy in remedies) and views not in message.split("use ")[1]


def test_a_role_decides_what_a_pair_offers(encoder):
    predict = build_views("shuffled_pair", {"role": "predict"}, SPEC)
    with pytest.raises(UserError, match="cannot compare"):
        method(encoder, "moco", predict)
    negative = build_views("shuffled_pair", {"role": "negative"}, SPEC)
    assert method(encoder, "simclr", negative).negatives == 1


def test_one_clip_is_too_few_for_a_contrast(encoder):
    with pytest.raises(UserError, match=r"views\.clips = 1: .* set it to 2"):
        method(encoder, "simclr", build_views("temporal_pair", {"clips": 1}, SPEC))


def test_parts_are_built_each_for_its_views(encoder):
    views = joint_views(order=ORDER, pair=PAIR)
    parts = {"order": {"name": "order", "hidden": 8}, "pair": {"name": "simclr", "hidden": 8}}
    joint = method(encoder, "joint", views, parts=parts, weights={"order": 0.5})
    assert joint.clips_of == {"order": 3, "pair": 2}
    assert joint.parts["order"].classifier.out_features == 6
    assert joint.weights == {"order": 0.5, "pair": 1.0}


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"pair": {"name": "order"}}, r"method\.parts\.pair\.name = order: cannot compare"),
        ({"other": {"name": "simclr"}}, r"method\.parts\.other: has no views of that name"),
        ({"pair": {"hidden": 3}}, r"method\.parts\.pair: has no name"),
        ({"pair": {"name": "simclr", "hiden": 3}}, r"method\.parts\.pair\.hiden: not a keyword"),
        ({"pair": {"name": "simcrl"}}, r"method\.parts\.pair\.name = simcrl: .*simclr"),
        ({}, r"method\.parts: names no parts"),
    ],
)
def test_what_is_wrong_with_a_part_is_named_in_full(encoder, parts, words):
    with pytest.raises(UserError, match=words):
        method(encoder, "joint", joint_views(pair=PAIR), parts=parts)


def test_facts_are_not_the_users_to_give(encoder):
    with pytest.raises(UserError, match=r"method\.order_classes: .* remove it"):
        method(encoder, "order", build_views("ordered_clips", {}, SPEC), order_classes=7)


def test_parts_belong_to_joint_alone():
    with pytest.raises(UserError, match=r"views\.parts: not a keyword"):
        build_views("temporal_pair", {"parts": {"a": PAIR}}, SPEC)


OUTSIDE = '''
from cvrl.views.temporal_pair import TemporalPair


class Mine(TemporalPair):
    """The same, in a file of the user's."""


VIEWS = Mine
'''


def test_a_file_outside_the_package_is_a_component(tmp_path, monkeypatch):
    import pickle

    (tmp_path / "mine.py").write_text(OUTSIDE)
    views = build_views(str(tmp_path / "mine.py"), {"clips": 3}, SPEC)
    assert views.clips == 3 and type(views).__name__ == "Mine"
    monkeypatch.chdir(tmp_path)  # a relative path is the same file, run once
    assert type(build_views("mine.py", {}, SPEC)) is type(views)
    assert pickle.loads(pickle.dumps(views)).clips == 3  # loader workers receive it so


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file"),
        ("import nowhere_to_be_found", "cannot be imported: ModuleNotFoundError"),
        ("VIEW = 1", "defines no VIEWS"),
    ],
)
def test_a_file_outside_that_is_no_component_is_refused(content, reason, tmp_path):
    if content is not None:
        (tmp_path / "other.py").write_text(content)
    with pytest.raises(UserError, match=reason):
        build_views(str(tmp_path / "other.py"), {}, SPEC)
