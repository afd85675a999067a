"""A study: one config trained in several variants and seeds, each scored, all in one table.

A study is a YAML file::

    name: ucf101_4
    config: ../ucf101_4/cvrl.yaml
    seeds: [0, 1, 2]
    protocols: [knn, linear]
    arms:
      decreasing interval: []
      uniform interval: [views.prior=uniform]
      clip order: {config: ../pretrain/order_small.yaml, set: [train.epochs=20]}
      fine-tuned: {config: ../finetune/small.yaml, from: uniform interval}

An arm is the config with its overrides, or a config of its own with its overrides, and nothing else
changed, so the arms differ in what they say. With ``from`` an arm starts from the encoder that
another arm trained with the same seed. With ``splits``, columns of the list, every arm and seed
runs once a split. With ``pretext_visits`` each method is also scored on its own task; the protocol
``classifier`` scores the arms that train one. A study that is stopped goes on where it was:
finished runs are kept, and a run that was cut goes on from its checkpoint.
"""

import json
import multiprocessing
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from cvrl.config import Config, load_config
from cvrl.config_files import find_config
from cvrl.data.splits import Parts
from cvrl.engine import build
from cvrl.engine.resume import check_finished
from cvrl.engine.scoring.pretext_score import (
    PRETEXT_FILE,
    has_own_task,
    score_pretext,
    write_pretext,
)
from cvrl.engine.studies.study_table import tabulate, tabulate_pretext
from cvrl.engine.trainer import train
from cvrl.evaluation.card import Result, read_result
from cvrl.evaluation.evaluate import Options, evaluate
from cvrl.evaluation.prediction.multiview import evaluate_classifier
from cvrl.pretrained import holds_classifier, load_classifier, load_encoder
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path
from cvrl.utils.log import track
from cvrl.utils.parent import stop_with_parent
from cvrl.utils.strict_yaml import read_yaml

CLASSIFIER = "classifier"  # the protocol of runs that train one
KEYS = {"name", "config", "seeds", "splits", "protocols", "arms"}
KEYS |= {"clips_per_video", "crops", "k", "pretext_visits"}
ARM_KEYS = {"config", "set", "from", "protocols"}
# A process a run. Python 3.10 cannot, and its processes take one run after another.
_FRESH: dict[str, Any] = {"max_tasks_per_child": 1} if sys.version_info >= (3, 11) else {}


@dataclass(frozen=True)
class Arm:
    """One variant of a study.

    Attributes:
        config: file of the config.
        overrides: of its keys.
        source: the arm whose encoder it starts from.
        protocols: how its runs are scored; None: by those of the study.
    """

    config: Path
    overrides: tuple[str, ...] = ()
    source: str | None = None
    protocols: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        name: of the study.
        seeds: of the runs of each arm.
        protocols: how each run is scored.
        arms: what is compared, by name.
        splits: columns of the list that hold a split; empty: the one that the config says.
        clips_per_video: test clips of each video.
        crops: of each test clip, for a classifier.
        k: neighbours that vote.
        pretext_visits: draws of each test video for the score on a method's own task; 0: no score.
    """

    name: str
    seeds: tuple[int, ...]
    protocols: tuple[str, ...]
    arms: Mapping[str, Arm]
    splits: tuple[str, ...] = ()
    clips_per_video: int = 5
    crops: int = 1
    k: int = 20
    pretext_visits: int = 0


class Run(NamedTuple):
    """One training of a study."""

    arm: str
    split: str | None
    seed: int


def load_study(path: str | PathLike[str]) -> Study:
    """Read a study.

    Args:
        path: the YAML file, or the name of a study of the package, such as ``evidence_small``.

    Raises:
        UserError: no such file, keys that a study does not have, or an arm from no other.
    """
    file = find_config(path, "studies")
    if not file.is_file():
        raise UserError(path, "no such file", "see the files in configs/studies/")
    content = read_yaml(file)
    unknown = sorted(content.keys() - KEYS)
    if unknown or not {"name", "arms"} <= content.keys():
        found = f"unknown key {unknown[0]}" if unknown else "needs name and arms"
        raise UserError(path, found, f"a study has {', '.join(sorted(KEYS))}")
    arms = {name: _arm(name, arm, content, file) for name, arm in content["arms"].items()}
    _check_sources(arms, file)
    return Study(
        name=content["name"],
        arms=arms,
        seeds=tuple(content.get("seeds", (0,))),
        splits=tuple(content.get("splits", ())),
        protocols=tuple(content.get("protocols", ("knn",))),
        clips_per_video=content.get("clips_per_video", 5),
        crops=content.get("crops", 1),
        k=content.get("k", 20),
        pretext_visits=content.get("pretext_visits", 0),
    )


def _arm(name: str, given: Any, content: Mapping[str, Any], file: Path) -> Arm:
    own = given if isinstance(given, Mapping) else {"set": given}
    config = own.get("config", content.get("config"))
    if config is None or not isinstance(own.get("set", []), list) or own.keys() - ARM_KEYS:
        remedy = "write a list of overrides, or {config: file.yaml, set: [key=value], from: arm}"
        raise UserError(f"{file}: arms.{name}", "is no arm", remedy)
    protocols = tuple(own["protocols"]) if "protocols" in own else None
    return Arm(file.parent / config, tuple(own.get("set", [])), own.get("from"), protocols)


def _check_sources(arms: Mapping[str, Arm], file: Path) -> None:
    """Refuse arms that start from no arm of the study, or in the end from themselves."""
    for name, arm in arms.items():
        seen, source = {name}, arm.source
        while source is not None:
            if source not in arms or source in seen:
                reason = f"starts from {source}, which is " + (
                    "no arm" if source not in arms else "itself waiting for it"
                )
                raise UserError(f"{file}: arms.{name}", reason, f"arms are {', '.join(arms)}")
            seen.add(source)
            source = arms[source].source


def run_study(
    study: Study, output: str | PathLike[str], overrides: Sequence[str] = (), *, jobs: int = 1
) -> str:
    """Train and score what is not done yet, and write ``results.json`` and ``table.md``.

    Args:
        study: what is compared.
        output: folder of the study; a run is ``output/<arm>/seed<n>``, with splits
            ``output/<arm>/<split>/seed<n>``.
        overrides: of every arm that does not set the same key, such as where the data is.
        jobs: runs at a time; give each one its share of the cores with ``train.threads``.

    Returns:
        The table, in Markdown.

    Raises:
        UserError: what a run would raise, or that one was stopped.
    """
    folder = Path(output)
    runs = {
        Run(arm, split, seed): _config(study, Run(arm, split, seed), folder, overrides)
        for split in study.splits or (None,)
        for seed in study.seeds
        for arm in study.arms
    }
    for run, config in runs.items():  # what is wrong should not show after an hour
        build.build_data(config)
        _check_same_encoder(run, study, runs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, stop_with_parent, **_FRESH) as pool:
        for _ in track(_in_turn(pool, runs, study), len(runs), study.name, unit="runs"):
            pass
    records = list(records_of(runs, study.protocols))
    table = _tables(records, study)
    with atomic_path(folder / "results.json") as temporary:
        temporary.write_text(json.dumps(records, indent=1) + "\n")
    with atomic_path(folder / "table.md") as temporary:
        temporary.write_text(table)
    return table


def score_run(config: Config, study: Study, arm: str | None = None) -> None:
    """Score a finished run by the protocols that its folder does not hold yet.

    An arm may name protocols of its own; without one, those of the study count.

    The protocol ``classifier`` is for the runs that train one; of others it asks nothing.

    Raises:
        UserError: the data has no test part.
    """
    folder = config.run_folder
    asked = (study.arms[arm].protocols if arm else None) or study.protocols
    missing = [p for p in asked if not (folder / "eval" / f"{p}.json").exists()]
    if not holds_classifier(folder):
        missing = [protocol for protocol in missing if protocol != CLASSIFIER]
    if not missing:
        return
    parts = build.build_data(config).parts
    if parts.train is None:
        raise UserError(config.data.train, "has no test part", "set data.test or data.split_column")
    if CLASSIFIER in missing:
        _score_classifier(config, parts, study).write(folder / "eval")
    others: Any = [protocol for protocol in missing if protocol != CLASSIFIER]
    if not others:
        return
    options = Options(
        clips_per_video=study.clips_per_video,
        k=study.k,
        seed=config.seed,
        baselines=("hog_mbh",) if "linear" in others else (),
    )
    reader, views = build.build_reader(config), config.eval
    encoder = load_encoder(folder, size=views.size, short_side=views.short_side)
    for result in evaluate(encoder, parts, others, options, reader=reader):
        result.write(folder / "eval")


def _score_classifier(config: Config, parts: Parts, study: Study) -> Result:
    views = config.test
    classifier = load_classifier(config.run_folder, size=views.size, short_side=views.short_side)
    result = evaluate_classifier(
        [classifier],
        parts,
        clips=study.clips_per_video,
        crops=study.crops,
        reader=build.build_reader(config),
        batch_videos=1,
        workers=0,
    )[0]
    settings = result.card.settings | {"trained as": classifier.head.protocol}
    return replace(result, card=replace(result.card, settings=settings))


def _config(study: Study, run: Run, folder: Path, overrides: Sequence[str]) -> Config:
    arm = study.arms[run.arm]
    own = [*arm.overrides, f"seed={run.seed}", f"output={_folder(folder, run)}"]
    if run.split is not None:
        own.append(f"data.split_column={run.split}")
    if arm.source is not None:
        own.append(f"encoder.weights={_folder(folder, run._replace(arm=arm.source))}")
    return load_config(arm.config, [*(t for t in overrides if not _is_set(t, own)), *own])


def _check_same_encoder(run: Run, study: Study, runs: Mapping[Run, Config]) -> None:
    source = study.arms[run.arm].source
    if source is None:
        return
    ours, theirs = (
        {**one.keywords, "name": one.name, "init": None}  # how weights began does not matter here
        for one in (runs[run].encoder, runs[run._replace(arm=source)].encoder)
    )
    if ours != theirs:
        reason = f"has another encoder than {source}, which it starts from"
        raise UserError(f"arms.{run.arm}", reason, "give both the same encoder section")


def _in_turn(pool: ProcessPoolExecutor, runs: Mapping[Run, Config], study: Study) -> Iterator[Run]:
    """Start every run as soon as the one it starts from is done; the runs, as they finish."""
    waiting, done = dict(runs), set[Run]()
    running: dict[Future[None], Run] = {}
    try:
        while waiting or running:
            for run in list(waiting):
                source = study.arms[run.arm].source
                if source is None or run._replace(arm=source) in done:
                    running[pool.submit(_run, waiting.pop(run), study, run.arm)] = run
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                future.result()
                done.add(running[future])
                yield running.pop(future)
    finally:
        for future in running:  # of a study that failed or was stopped
            future.cancel()


def _run(config: Config, study: Study, arm: str) -> None:
    """One run, in a process of its own: train, score, leave the results in its folder."""
    folder = train(config)
    check_finished(config)
    asks = study.pretext_visits > 0 and has_own_task(folder)
    if asks and not (folder / "eval" / PRETEXT_FILE).exists():
        write_pretext(folder, score_pretext(folder, visits=study.pretext_visits))
    score_run(config, study, arm)


def records_of(runs: Mapping[Run, Config], protocols: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What scored runs left in their folders: one record a run, protocol and row.

    Args:
        runs: with the config of each.
        protocols: they were scored by.
    """
    for run, config in runs.items():
        facts = {key: value for key, value in run._asdict().items() if value is not None}
        for protocol in protocols:
            file = config.run_folder / "eval" / f"{protocol}.json"
            if not file.exists():
                continue  # the arm is not scored by it, or the run trained no classifier
            for row in read_result(file).rows:
                yield facts | {"protocol": protocol, "row": row.name} | row.scores
        pretext = config.run_folder / "eval" / PRETEXT_FILE
        if pretext.exists():
            for name, scores in json.loads(pretext.read_text())["rows"].items():
                about = facts | {"protocol": "pretext", "row": name}
                yield from (about | {"score": score, "share": x} for score, x in scores.items())


def _tables(records: Sequence[Mapping[str, Any]], study: Study) -> str:
    """Over all splits, of each split, and of the methods' own tasks."""
    arms = list(study.arms)
    tables = [tabulate(records, arms, study.protocols)]
    for split in study.splits if len(study.splits) > 1 else ():
        of_split = [record for record in records if record["split"] == split]
        tables.append(f"{split}:\n\n" + tabulate(of_split, arms, study.protocols))
    if own := [record for record in records if record["protocol"] == "pretext"]:
        tables.append(tabulate_pretext(own, arms))
    return "\n".join(tables)


def _is_set(override: str, by: Sequence[str]) -> bool:
    return override.partition("=")[0] in {text.partition("=")[0] for text in by}


def _folder(output: Path, run: Run) -> Path:
    slug = "".join(letter if letter.isalnum() else "_" for letter in run.arm.lower())
    return output / slug / (run.split or "") / f"seed{run.seed}"
