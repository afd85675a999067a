"""The config is read as written, or refused in a line that says what to do."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cvrl.config import (
    ComponentConfig,
    Config,
    DataConfig,
    EncoderConfig,
    check_keywords,
    describe,
    load_config,
    save_config,
    validate,
)
from cvrl.utils.errors import UserError

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, name: str = "run.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def path(write: Write) -> Path:
    return write("data: {train: videos}\n")


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_config(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.remedy
    return message


# --- what is read --------------------------------------------------------------------------------


def test_an_almost_empty_file_gives_the_defaults(path: Path) -> None:
    assert load_config(path) == Config(data=DataConfig(train="videos"))


def test_values_have_the_types_of_the_schema(write: Write) -> None:
    path = write("data: {train: a}\noptim: {lr: 1e-3, warmup_epochs: 2}\ntrain: {compile: true}\n")
    config = load_config(path)
    assert (config.optim.lr, config.optim.warmup_epochs) == (0.001, 2.0)
    assert isinstance(config.optim.warmup_epochs, float)
    assert config.train.compile is True
    assert type(config.encoder) is EncoderConfig
    assert type(config.views) is ComponentConfig
    assert type(config.views.keywords) is dict


def test_the_base_lies_below_the_file_and_the_overrides_above(tmp_path: Path, write: Write) -> None:
    (tmp_path / "base").mkdir()
    write("optim: {lr: 1.0, momentum: 0.5}\nseed: 1\ntrain: {epochs: 9}", "base/low.yaml")
    path = write("base: base/low.yaml\ndata: {train: a}\noptim: {lr: 2.0}\ntrain: {epochs: 8}")
    config = load_config(path, ["train.epochs=7"])
    assert (config.seed, config.optim.momentum, config.optim.lr) == (1, 0.5, 2.0)
    assert config.train.epochs == 7


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.train=123", "123"),
        ("data.train=a b/[c]: #d=e.csv", "a b/[c]: #d=e.csv"),
        ("data.train=~", "~"),
        ("data.train='quoted'", "'quoted'"),
        ("data.test=null", None),
        ("data.test=", None),
        ("data.test=yes", "yes"),
        ("data.workers=null", None),
        ("data.workers=3", 3),
        ("optim.lr=1e-3", 0.001),
        ("optim.lr=2", 2.0),
        ("train.compile=true", True),
        ("train.precision=bf16", "bf16"),
    ],
)
def test_an_override_gives_the_value_a_user_means(
    path: Path, override: str, expected: object
) -> None:
    section, key = override.partition("=")[0].split(".")
    value = getattr(getattr(load_config(path, [override]), section), key)
    assert value == expected
    assert type(value) is type(expected)


def test_overrides_reach_free_keywords_and_whole_sections(path: Path) -> None:
    overrides = ["augment.jitter.hue=0.2", "views={prior: fixed, interval: 3}", "method.dim=64"]
    config = load_config(path, overrides)
    assert config.augment.keywords == {"jitter": {"hue": 0.2}}
    assert config.views == ComponentConfig("temporal_pair", {"prior": "fixed", "interval": 3})
    assert config.method.keywords == {"dim": 64}


def test_keywords_stand_beside_the_name_and_weights_is_not_one(write: Write) -> None:
    path = write("data: {train: a}\nencoder: {name: r3d18, weights: w.pt, width: 8, name2: x}\n")
    assert load_config(path).encoder == EncoderConfig("r3d18", {"width": 8, "name2": "x"}, "w.pt")


def test_keywords_of_a_component_merge_while_its_name_stays(write: Write) -> None:
    write("method: {name: simclr, temperature: 0.1, dim: 32}", "base.yaml")
    path = write("base: base.yaml\ndata: {train: a}\nmethod: {temperature: 0.2}")
    assert load_config(path).method.keywords == {"temperature": 0.2, "dim": 32}
    same = load_config(path, ["method.name=simclr", "method.dim=16"]).method
    assert same.keywords == {"temperature": 0.2, "dim": 16}


def test_a_new_name_drops_the_keywords_of_the_old_one(write: Write) -> None:
    write("method: {name: simclr, temperature: 0.1, dim: 32}", "base.yaml")
    path = write("base: base.yaml\ndata: {train: a}\nmethod: {name: moco, queue: 64}")
    assert load_config(path).method == ComponentConfig("moco", {"queue": 64})
    assert load_config(path, ["method.name=byol"]).method == ComponentConfig("byol")


def test_an_empty_section_changes_nothing(write: Write) -> None:
    path = write("data: {train: a}\noptim:\n  # lr: 3\nviews:\n")
    assert load_config(path) == Config(data=DataConfig(train="a"))


def test_a_value_can_refer_to_another(write: Write) -> None:
    path = write("name: x\ndata: {train: 'lists/${name}.csv'}\neval: {k: '${train.epochs}'}")
    config = load_config(path, ["train.epochs=30"])
    assert (config.data.train, config.eval.k) == ("lists/x.csv", 30)


@pytest.mark.parametrize(
    ("output", "folder"), [(None, "runs/deep"), ("elsewhere/x", "elsewhere/x")]
)
def test_the_run_folder_follows_the_name_unless_given(output: str | None, folder: str) -> None:
    assert Config(name="deep", output=output).run_folder == Path(folder)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("optim.lrr=1", "optim.lr"),
        ("optm.lr=1", "optim.lr"),
        ("lr=1", "optim.lr"),
        ("train.lr=1", "optim.lr"),
        ("train.batchsize=8", "train.batch_size"),
        ("eval.clip_per_video=8", "eval.clips_per_video"),
        ("Seed=1", "seed"),
        ("checkpoint.every_step=1", "checkpoint.every_steps"),
    ],
)
def test_an_unknown_key_is_named_with_its_nearest_spelling(
    path: Path, wrong: str, right: str
) -> None:
    message = refused(path, wrong)
    key = wrong.partition("=")[0]
    assert message.startswith(key.split(".")[0])  # a section that does not exist is named itself
    assert "unknown key" in message
    assert f"did you mean {right}" in message or wrong == "optm.lr=1"


def test_an_unknown_key_like_no_other_gets_the_list(path: Path) -> None:
    message = refused(path, "log.zzzz=1")
    assert "log.every_steps, log.tensorboard" in message


def test_an_unknown_key_of_a_file_names_the_file(write: Write) -> None:
    write("optim: {lrr: 1}", "base.yaml")
    assert "base.yaml: optim.lrr: unknown key" in refused(write("base: base.yaml"))
    assert "run.yaml: 7: unknown key" in refused(write("7: 8"))


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("seed: 1\nname: x\nseed: 2\n", 3, "seed"),
        ("optim:\n  lr: 1\n  lr: 1\n", 3, "lr"),
        ("views: {prior: a,\n  prior: b}\n", 2, "prior"),
        ("augment: [{p: 1}, {p: 1, p: 2}]\n", 1, "p"),
    ],
)
def test_a_key_given_twice_is_refused_with_its_line(
    write: Write, text: str, line: int, key: str
) -> None:
    message = refused(write(text))
    assert f"run.yaml, line {line}" in message
    assert f"key {key} is given twice" in message


@pytest.mark.parametrize(
    "overrides",
    [
        ["seed=1", "seed=2"],
        ["optim.lr=1", "optim={lr: 2}"],
        ["optim={lr: 2}", "optim.lr=1"],
        ["optim=3", "optim.lr=1"],
    ],
)
def test_an_override_given_twice_is_refused(path: Path, overrides: list[str]) -> None:
    assert "is given twice" in refused(path, *overrides)


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("optim.lr=fast", "give a number"),
        ("optim.lr=true", "give a number"),
        ("optim.lr=null", "give a number"),
        ("optim.clip_norm=x", "give a number or null"),
        ("train.epochs=1.5", "give a whole number"),
        ("train.epochs=[1]", "give a whole number"),
        ("train.sync_bn=1", "give true or false"),
        ("train.sync_bn=on", "give true or false"),
        ("train.precision=fp23", "did you mean fp32?"),
        ("train.precision=16", "give fp32 or bf16 or fp16"),
        ("optim.name=sdg", "did you mean sgd?"),
        ("data.train=null", "give text"),
        ("method.name=null", "give text"),
        ("optim=0.1", "is a section"),
        ("encoder=r3d18", "such as encoder.name"),
    ],
)
def test_a_wrong_type_names_key_value_and_what_is_wanted(
    path: Path, override: str, wanted: str
) -> None:
    key, _, value = override.partition("=")
    message = refused(path, override)
    assert message.startswith(f"{key} = ")
    assert value.strip("[]") in message.lower().replace("none", "null")
    assert wanted in message


def test_a_wrong_type_in_a_file_names_the_file(write: Write) -> None:
    assert "run.yaml: optim.lr = 'x'" in refused(write("optim: {lr: x}"))
    assert "run.yaml: data.train = 5" in refused(write("data: {train: 5}"))


@pytest.mark.parametrize("text", ["--lr", "optim.lr", "=1", "optim.=1", ".lr=1", "a..b=1"])
def test_an_override_of_another_form_is_refused(path: Path, text: str) -> None:
    assert "section.key=value" in refused(path, text)


def test_an_override_that_is_no_yaml_is_refused(path: Path) -> None:
    assert "optim.lr=[1" in refused(path, "optim.lr=[1")


def test_the_missing_training_data_is_asked_for(write: Write) -> None:
    message = refused(write("name: x"))
    assert message.startswith("data.train: has no value")
    assert "data.train=path/to/videos-or-list" in message


def test_a_keyword_left_open_is_asked_for(write: Write) -> None:
    path = write("data:\n  train: ???\nmethod:\n  dim: ???\n")
    assert refused(path, "method.dim=1").startswith("data.train: has no value")
    assert refused(path, "data.train=a").startswith("method.dim: has no value")
    load_config(path, ["data.train=a", "method.dim=1"])


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    assert str(tmp_path) in refused(tmp_path / name)


@pytest.mark.parametrize("text", ["- a\n- b", "words", "a: [1", "a: b: c", "\tx: 1", "a: 1\n---\n"])
def test_a_file_that_is_no_mapping_is_refused(write: Write, text: str) -> None:
    assert "run.yaml" in refused(write(text))


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "video.yaml"
    file.write_bytes(bytes(range(256)))
    assert "not a text file" in refused(file)


def test_a_base_is_one_level_deep_and_exists(write: Write) -> None:
    write("base: other.yaml", "middle.yaml")
    assert "one level" in refused(write("base: middle.yaml"))
    assert "none.yaml" in refused(write("base: none.yaml"))


@pytest.mark.parametrize("value", ["${nowhere}", "${", "${train.epochs}x"])
def test_a_reference_that_leads_nowhere_is_refused(write: Write, value: str) -> None:
    path = write(f"data: {{train: a}}\nseed: '{value}'")
    message = refused(path)
    assert "run.yaml" in message
    assert "seed" in message


@pytest.mark.parametrize(
    ("override", "bound"),
    [
        ("seed=-1", "at least 0"),
        ("data.hold_out=1", "at least 0 and below 1"),
        ("data.hold_out=-0.1", "at least 0 and below 1"),
        ("data.max_bad_fraction=1.1", "at least 0 and at most 1"),
        ("data.limits.max_frames=0", "at least 1"),
        ("data.workers=-1", "at least 0"),
        ("data.cache_short_side=-1", "at least 0"),
        ("clip.frames=0", "at least 1"),
        ("clip.stride=0", "at least 1"),
        ("clip.size=0", "at least 1"),
        ("clip.fps=0", "above 0"),
        ("optim.lr=0", "above 0"),
        ("optim.lr=.nan", "above 0"),
        ("optim.lr=.inf", "above 0"),
        ("optim.momentum=1", "below 1"),
        ("optim.weight_decay=-1", "at least 0"),
        ("optim.clip_norm=0", "above 0"),
        ("optim.reference_batch=0", "at least 1"),
        ("train.batch_size=0", "at least 1"),
        ("train.accumulate=0", "at least 1"),
        ("train.epochs=0", "at least 1"),
        ("train.steps=0", "at least 1"),
        ("train.threads=0", "at least 1"),
        ("checkpoint.keep=0", "at least 1"),
        ("checkpoint.every_steps=0", "at least 1"),
        ("eval.temperature=0", "above 0"),
        ("eval.k=0", "at least 1"),
        ("eval.every_epochs=-1", "at least 0"),
        ("log.every_steps=0", "at least 1"),
    ],
)
def test_a_number_out_of_range_is_refused(path: Path, override: str, bound: str) -> None:
    message = refused(path, override)
    assert message.startswith(override.partition("=")[0])
    assert "not in range" in message
    assert bound in message


@pytest.mark.parametrize(
    ("overrides", "remedy"),
    [
        (["train.batch_size=10", "train.accumulate=4"], "use train.batch_size=8"),
        (["train.batch_size=2", "train.accumulate=4"], "use train.batch_size=4"),
        (["train.compile=true", "train.recompute=true"], "set train.compile=false"),
        (["train.compile=true", "train.clips_at_once=8"], "set train.compile=false"),
        (["train.epochs=3"], "use optim.warmup_epochs=0.3"),
        (["optim.final_lr=1", "optim.lr=0.5"], "use optim.final_lr=0"),
        (["test.size=256", "test.short_side=224"], "set test.short_side=256 or more"),
        (["clip.size=64", "eval.short_side=48"], "set eval.short_side=64 or more"),
        (["test.crops=2"], "give 1 (centre) or 3"),
        (["name=a/b"], "output="),
        (["name=.."], "output="),
        (["checkpoint.resume={}"], None),
        (["output="], None),
    ],
)
def test_values_that_contradict_each_other_are_refused(
    path: Path, overrides: list[str], remedy: str | None
) -> None:
    if remedy is None:
        load_config(path, overrides)  # text as it stands, or null
    else:
        assert remedy in refused(path, *overrides)


def test_the_remedies_of_contradictions_work(path: Path) -> None:
    load_config(path, ["train.batch_size=8", "train.accumulate=4"])
    load_config(path, ["train.epochs=3", "optim.warmup_epochs=0.3"])
    load_config(path, ["train.epochs=1", "train.steps=10000"])  # warm-up may then be longer


def test_empty_text_is_refused(write: Write) -> None:
    assert refused(write("data: {train: ''}")).startswith("data.train: is empty")
    assert refused(write("data: {train: a}\nname: ''")).startswith("name: is empty")


def test_validate_takes_a_config_made_in_python() -> None:
    config = Config(data=DataConfig(train="videos"))
    validate(config)
    config.train.batch_size = -4
    with pytest.raises(UserError, match=r"train\.batch_size = -4"):
        validate(config)


# --- what is written -----------------------------------------------------------------------------


def test_a_saved_config_is_whole_and_needs_no_base(tmp_path: Path, write: Write) -> None:
    write("method: {name: simclr, temperature: 0.1}", "base.yaml")
    path = write("base: base.yaml\nname: x\ndata: {train: '${name}.csv'}\nencoder: {width: 8}")
    config = load_config(path, ["optim.weight_decay=1e-6"])
    saved = tmp_path / "elsewhere" / "config.yaml"
    save_config(config, saved)
    assert load_config(saved) == config
    assert "base" not in saved.read_text()
    assert saved.read_text() == describe(config)


def test_a_description_has_every_key(path: Path) -> None:
    text = describe(load_config(path, ["views.prior=uniform"]))
    for spec in dataclasses.fields(Config):
        assert f"{spec.name}:" in text
        hint = get_type_hints(Config)[spec.name]
        for inner in dataclasses.fields(hint) if dataclasses.is_dataclass(hint) else ():
            assert f"  {inner.name}:" in text or inner.name == "keywords"
    assert "views:\n  name: temporal_pair\n  prior: uniform\n" in text


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
KEYWORDS = st.dictionaries(
    TEXTS.filter(lambda key: key not in ("name", "weights")),
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    ),
    max_size=4,
)


@settings(max_examples=40, deadline=None)
@example(
    train="1e-6", keywords={"a": "1e-6", "b": "on", "c": "010", "d": "1:30", "e": "2020-01-01"}
)
@example(train="${name}", keywords={"a": "\\${x}", "b": ["\\\\${", "$", "{"], "c": "<<", "d": "="})
@example(train="null", keywords={"a": "~", "b": "", "c": 1e300, "d": 1e-300, "e": 1e22, "f": -0.0})
@given(train=TEXTS, keywords=KEYWORDS)
def test_whatever_is_saved_is_read_back_equal(
    tmp_path_factory: pytest.TempPathFactory, train: str, keywords: dict[str, Any]
) -> None:
    config = Config(data=DataConfig(train=train), method=ComponentConfig("simclr", keywords))
    path = tmp_path_factory.getbasetemp() / "round_trip.yaml"
    save_config(config, path)
    assert load_config(path) == config


# --- free keywords -------------------------------------------------------------------------------


def test_the_face_of_the_module_checks_keywords() -> None:
    check_keywords("views", ComponentConfig, {"name": "x"}, set())
    with pytest.raises(UserError, match=r"views\.nam: not a keyword of ComponentConfig"):
        check_keywords("views", ComponentConfig, {"nam": "x"}, set())
