"""The rules of the house, kept by a machine: who imports whom, how code looks, what lies where.

Every rule is a function from source to a list of offences, and is itself shown an offence below.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest
import torch

import cvrl
from cvrl.config import load_config
from cvrl.engine import build
from cvrl.engine.components import build_method
from cvrl.engine.studies.study import load_study
from cvrl.models.backbones import build_encoder

ROOT = Path(__file__).parent.parent
CODE = sorted((ROOT / "cvrl").rglob("*.py"))
TOOLS = sorted((ROOT / "tools").glob("*.py"))
SCRIPTS = sorted((ROOT / "datasets").glob("*.py"))
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
STUDIES = sorted((ROOT / "configs" / "studies").glob("*.yaml"))

# A room may import from the rows below its own, and from itself.
LAYERS = (
    {"tools", "__main__"},
    {"cli"},
    {"run"},
    {"bench"},
    {"engine", "report", "explain", "export"},
    {"methods", "evaluation", "pretrained", "preparation"},
    {"task", "config"},
    {"models", "losses", "data", "views", "transforms", "schema", "config_files"},
    {"video"},
    {"utils"},
)
SIBLINGS = {
    *(("data", "transforms"), ("views", "data"), ("views", "transforms")),
    ("explain", "report"),
}
SEE_THE_CONFIG = {"cli", "run", "engine", "config", "schema"}

# A third party has one door, so that changing it is changing one place.
DOORS = {
    "pytorchvideo": ("cvrl/models/backbones.py", "cvrl/bench/"),
    "decord": ("cvrl/video/decord_reader.py", "cvrl/bench/"),
    "av": (
        *("cvrl/video/reader.py", "cvrl/video/pyav_file.py", "cvrl/video/container.py"),
        *("cvrl/video/encode.py", "cvrl/video/sound.py", "cvrl/bench/"),
    ),
    "fvcore": ("cvrl/bench/",),
    "fsspec": ("cvrl/utils/remote.py",),
    "aiohttp": ("cvrl/utils/remote.py",),
    "torchcodec": ("cvrl/bench/",),
    "kornia": ("cvrl/bench/",),
    "lightly": ("cvrl/bench/",),
    "accelerate": ("cvrl/engine/",),
    "onnx": ("cvrl/export/onnx_file.py",),
    "onnxruntime": ("cvrl/export/onnx_file.py",),
    "transformers": ("cvrl/models/hf.py",),
    "faiss": ("cvrl/evaluation/features/faiss_index.py",),
    "huggingface_hub": ("cvrl/utils/hub.py",),
    "tensorboard": ("cvrl/utils/log.py",),
    "torch.utils.tensorboard": ("cvrl/utils/log.py",),
}
HEAVY = (
    *("torch", "torchvision", "decord", "av", "pytorchvideo", "accelerate", "fvcore", "sklearn"),
    "transformers",
)

DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "decord": "decord2",
    "faiss": "faiss-cpu",
    "jinja2": "Jinja2",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
}

TOP_LEVEL = {
    *(".ci", ".gitignore", "LICENSE", "Makefile", "README.md", "pyproject.toml", "setup.py"),
    *("configs", "cvrl", "datasets", "tests", "tools"),
}
MAY_ALSO_BE = {"docs", "mkdocs.yml", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] != "cvrl" else parts[1]


def imports(source: str) -> Iterator[str]:
    """Every module a source imports, dotted, down to the names taken from it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


# --- who imports whom ----------------------------------------------------------------------------


def arrows_up(source: str, room: str) -> list[str]:
    """Imports of a room that its layer does not allow."""
    layer = {name: row for row, names in enumerate(LAYERS) for name in names}
    offences = []
    for module in imports(source):
        target = module.split(".")[1] if module.startswith("cvrl.") else None
        if target is None or target == room or target == "__version__":
            continue
        downward = target in layer and layer[target] > layer[room]
        from_the_face = target in cvrl.__all__ and room in ("tools", "cli")
        if not (downward or from_the_face or (room, target) in SIBLINGS):
            offences.append(f"{room} imports {module}")
        if target in ("config", "schema") and room not in SEE_THE_CONFIG:
            offences.append(f"{room} sees the config")
    return offences


def strange_doors(source: str, name: str) -> list[str]:
    """Third parties met anywhere but at their door."""
    return [
        f"{name} imports {module}"
        for module in imports(source)
        for party, doors in DOORS.items()
        if f"{module}.".startswith(f"{party}.") and not name.startswith(doors)
    ]


def test_every_room_has_a_layer() -> None:
    rooms = {room_of(path) for path in CODE} - {"__init__"}
    assert rooms <= set.union(*LAYERS)


@pytest.mark.parametrize("path", [*CODE, *TOOLS], ids=name_of)
def test_imports_point_down(path: Path) -> None:
    if name_of(path) != "cvrl/__init__.py":  # the face, which only passes names on
        assert arrows_up(path.read_text(), room_of(path)) == []
    assert strange_doors(path.read_text(), name_of(path)) == []


@pytest.mark.parametrize(
    ("source", "room"),
    [
        ("import cvrl.engine.trainer", "methods"),
        ("from cvrl.task import Task", "models"),
        ("from cvrl import config", "data"),
        ("def f():\n    from cvrl.models import heads", "losses"),
        ("from cvrl.data import video", "transforms"),
        ("from cvrl.views import rotated", "data"),
        ("from cvrl.config import Config", "evaluation"),
        ("from cvrl.schema import DataConfig", "methods"),
        ("from cvrl.report import page", "engine"),
        ("from cvrl.evaluation import knn", "pretrained"),
        ("from cvrl import load_encoder", "engine"),
        ("from cvrl.nowhere import x", "engine"),
    ],
)
def test_an_arrow_up_is_seen(source: str, room: str) -> None:
    assert arrows_up(source, room)


@pytest.mark.parametrize(
    ("source", "room"),
    [
        ("from cvrl.utils.errors import UserError", "data"),
        ("from cvrl.transforms import recipes", "views"),
        ("from cvrl.video.reader import open_video", "data"),
        ("from cvrl import load_encoder, __version__", "tools"),
        ("import cvrl", "engine"),
        ("import torch.nn", "losses"),
    ],
)
def test_an_arrow_down_is_let_pass(source: str, room: str) -> None:
    assert arrows_up(source, room) == []


def test_a_third_party_at_the_wrong_door_is_seen() -> None:
    assert strange_doors("from torch.utils.tensorboard import SummaryWriter", "cvrl/task.py")
    assert strange_doors("import av.video", "tools/x.py")
    assert strange_doors("from pytorchvideo.models import resnet", "cvrl/models/heads.py")
    assert not strange_doors("import average\nimport torch.utils.data", "cvrl/task.py")


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = f"import sys, cvrl; print([m for m in {HEAVY!r} if m in sys.modules])"
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"


def test_the_face_gives_what_it_names() -> None:
    for name in cvrl.__all__:
        assert name in dir(cvrl)
        assert getattr(cvrl, name) is getattr(cvrl, name)
    with pytest.raises(AttributeError, match="no attribute 'load_encodr'"):
        _ = cvrl.load_encodr


def test_every_third_party_is_declared() -> None:
    constants = (n for n in ast.walk(ast.parse((ROOT / "setup.py").read_text())))
    texts = {n.value for n in constants if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    declared = {re.split(r"[<>=!~\[ ]", text)[0] for text in texts}
    ours = {"cvrl", *sys.stdlib_module_names, *(path.stem for path in [*TOOLS, *SCRIPTS])}
    for path in [*CODE, *TOOLS, *SCRIPTS]:
        parties = {module.partition(".")[0] for module in imports(path.read_text())} - ours
        missing = {DISTRIBUTIONS.get(party, party) for party in parties} - declared
        assert not missing, f"{name_of(path)} imports what setup.py does not name: {missing}"


# --- how code looks ------------------------------------------------------------------------------

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(source: str) -> list[Function]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, Function)]


def length(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def unannotated(source: str) -> list[str]:
    """Functions with a parameter or a return that has no annotation."""
    offences = []
    for node in functions(source):
        given = node.args
        spread = [arg for arg in (given.vararg, given.kwarg) if arg]
        args = [*given.posonlyargs, *given.args, *given.kwonlyargs, *spread]
        bare = [arg for arg in args if not arg.annotation and arg.arg not in ("self", "cls")]
        if bare or node.returns is None:
            offences.append(node.name)
    return offences


def silent_excepts(source: str) -> list[int]:
    """Lines of handlers that catch everything, or that say nothing about what they caught."""
    nothing = (ast.Pass, ast.Continue)
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (len(node.body) == 1 and isinstance(node.body[0], nothing)))
    ]


def prints(source: str) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]


def undocumented(source: str) -> tuple[list[str], int]:
    """Public functions, methods and classes without a docstring, and the number of all of them."""
    nodes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, Function | ast.ClassDef)]
    public = [node for node in nodes if not node.name.startswith("_")]
    return [node.name for node in public if not ast.get_docstring(node)], len(public)


@pytest.mark.parametrize("path", [*CODE, *TOOLS, *SCRIPTS], ids=name_of)
def test_a_file_keeps_the_style(path: Path) -> None:
    source = path.read_text()
    assert unannotated(source) == []
    assert silent_excepts(source) == []
    assert [node.name for node in functions(source) if length(node) > 80] == []
    assert not re.search(r"\b(TODO|FIXME|HACK|XXX)\b", source)
    assert source.count("\n") <= (80 if path in TOOLS else 400)
    assert ast.get_docstring(ast.parse(source)) or not source.strip()
    if path in CODE and room_of(path) != "cli":
        assert prints(source) == []


def test_functions_are_short() -> None:
    lengths = sorted(length(node) for path in CODE for node in functions(path.read_text()))
    assert lengths[int(0.95 * len(lengths))] <= 40


def test_what_is_public_is_documented() -> None:
    found = [(path, *undocumented(path.read_text())) for path in [*CODE, *TOOLS]]
    missing = [f"{name_of(path)}: {name}" for path, names, _ in found for name in names]
    assert len(missing) <= 0.1 * sum(count for _, _, count in found), missing


def test_offences_against_style_are_seen() -> None:
    assert unannotated("def f(a) -> None: ...\ndef g(*a: int): ...") == ["f", "g"]
    assert unannotated("class A:\n    def f(self, *, a: int) -> None: ...") == []
    assert unannotated("def f(**k) -> None: ...") == ["f"]
    assert silent_excepts("try: x\nexcept: y\ntry: x\nexcept A: pass") == [2, 4]
    assert silent_excepts("try: x\nexcept A: y") == []
    assert prints("x = 1\nprint(x)\nconsole.print(x)") == [2]
    assert undocumented("class A:\n    def f(self): ...\n    def _g(self): ...") == (["A", "f"], 2)
    assert length(functions("def f():\n    a\n\n    b")[0]) == 4


def test_tests_have_at_least_as_many_statements_as_the_code() -> None:
    """Docstrings do not count: the library has long ones. Benchmarks are tested by running them."""

    def statements(folder: str) -> int:
        files = [path for path in (ROOT / folder).rglob("*.py") if "bench" not in path.parts]
        nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text()))]
        return sum(isinstance(node, ast.stmt) and not is_docstring(node) for node in nodes)

    assert statements("tests") >= statements("cvrl")


def is_docstring(node: ast.stmt) -> bool:
    """Whether a statement is a lone string."""
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


# --- what lies where -----------------------------------------------------------------------------


def test_the_top_level_holds_what_the_house_says() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    there = {file.partition("/")[0] for file in listed.stdout.split("\0") if file}
    assert there - MAY_ALSO_BE == TOP_LEVEL


def test_folders_of_scripts_are_no_packages() -> None:
    # `datasets` would shadow a library of that name, and pytest imports tests by their path.
    for folder in ("datasets", "tests", "tools"):
        assert not list((ROOT / folder).rglob("__init__.py"))


def test_the_package_is_typed() -> None:
    assert (ROOT / "cvrl" / "py.typed").exists()


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_a_config_says_what_to_expect_of_it(path: Path) -> None:
    header = "\n".join(takewhile(lambda line: line.startswith("#"), path.read_text().splitlines()))
    is_run = path.parent.name != "base"  # a base alone has no cost and no result
    for fact in ("Paper", "Hardware", "Time", "Expect") if is_run else ("Paper",):
        assert re.search(rf"^# {fact}\b.*: *\S", header, re.M), f"no line `# {fact}: ...` on top"


@pytest.mark.parametrize("path", sorted(set(CONFIGS) - set(STUDIES)), ids=name_of)
def test_a_config_loads_and_its_keywords_fit(path: Path) -> None:
    config = load_config(path, ["data.train=videos"])
    facts = {"class_names": ["a"], "videos": 8}
    facts |= {"steps_per_epoch": 1, "total_steps": 10}
    facts |= {"teach": lambda teacher, clips: torch.rand(8, 4, device="cpu")}
    with torch.device("meta"):  # the paper's networks without their weights
        stored = config.encoder.name == "hf"  # a model that its user has
        name, keywords = (
            ("r3d_small", {}) if stored else (config.encoder.name, config.encoder.keywords)
        )
        encoder = build_encoder(name, **keywords)
        views = build.build_views(config)
        build_method(config.method.name, config.method.keywords, encoder, facts, views)
    build.build_recipe(config)
    if path.parent.name == "pretrain":
        assert config.name == path.stem, "runs/<name> is found by the config's name"
    if path.parent.name in ("finetune", "linear"):
        assert config.name == f"{path.parent.name}_{path.stem}"


@pytest.mark.parametrize("path", STUDIES, ids=name_of)
def test_the_arms_of_a_study_load(path: Path) -> None:
    study = load_study(path)
    for arm in study.arms.values():
        load_config(arm.config, ["data.train=videos", *arm.overrides])
