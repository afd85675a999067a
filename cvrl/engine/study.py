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

An arm is the config with its overrides, or a config of its own with its overrides, and nothing else
changed, so the arms differ in what they say. With ``pretext_visits`` each method is also scored on
its own task. A study that is stopped goes on where it was: finished runs are kept, and a run that
was cut goes on from its checkpoint.
"""

import json
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from cvrl.config import Config, load_config
from cvrl.engine import build
from cvrl.engine.pretext import PRETEXT_FILE, has_own_task, score_pretext, write_pretext
from cvrl.engine.study_table import tabulate, tabulate_pretext
from cvrl.engine.trainer import train
from cvrl.evaluation.card import read_result
from cvrl.evaluation.protocol import Options, Protocol, evaluate
from cvrl.pretrained import load_encoder
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path
from cvrl.utils.log import track
from cvrl.utils.strict_yaml import read_yaml

KEYS = {"name", "config", "seeds", "protocols", "arms", "clips_per_video", "k", "pretext_visits"}


@dataclass(frozen=True)
class Arm:
    """One variant: a config file and its overrides."""

    config: Path
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        name: of the study.
        seeds: of the runs of each arm.
        protocols: how each run is scored.
        arms: what is compared, by name.
        clips_per_video: test clips of each video.
        k: neighbours that vote.
        pretext_visits: draws of each test video for the score on a method's own task; 0: no score.
    """

    name: str
    seeds: tuple[int, ...]
    protocols: tuple[Protocol, ...]
    arms: Mapping[str, Arm]
    clips_per_video: int = 5
    k: int = 20
    pretext_visits: int = 0


def load_study(path: str | PathLike[str]) -> Study:
    """Read a study.

    Raises:
        UserError: no such file, or keys that a study does not have.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(path, "no such file", "see the files in configs/studies/")
    content = read_yaml(file)
    unknown = sorted(content.keys() - KEYS)
    if unknown or not {"name", "arms"} <= content.keys():
        found = f"unknown key {unknown[0]}" if unknown else "needs name and arms"
        raise UserError(path, found, f"a study has {', '.join(sorted(KEYS))}")
    return Study(
        name=content["name"],
        arms={name: _arm(name, arm, content, file) for name, arm in content["arms"].items()},
        seeds=tuple(content.get("seeds", (0,))),
        protocols=tuple(content.get("protocols", ("knn",))),
        clips_per_video=content.get("clips_per_video", 5),
        k=content.get("k", 20),
        pretext_visits=content.get("pretext_visits", 0),
    )


def _arm(name: str, given: Any, content: Mapping[str, Any], file: Path) -> Arm:
    own = given if isinstance(given, Mapping) else {"set": given}
    config = own.get("config", content.get("config"))
    if config is None or not isinstance(own.get("set", []), list) or own.keys() - {"config", "set"}:
        remedy = "write a list of overrides, or {config: file.yaml, set: [key=value]}"
        raise UserError(f"{file}: arms.{name}", "is no arm", remedy)
    return Arm(file.parent / config, tuple(own.get("set", [])))


def run_study(
    study: Study, output: str | PathLike[str], overrides: Sequence[str] = (), *, jobs: int = 1
) -> str:
    """Train and score what is not done yet, and write ``results.json`` and ``table.md``.

    Args:
        study: what is compared.
        output: folder of the study; a run is ``output/<arm>/seed<n>``.
        overrides: of every arm that does not set the same key, such as where the data is.
        jobs: runs at a time; give each one its share of the cores with ``train.threads``.

    Returns:
        The table, in Markdown.

    Raises:
        UserError: what a run would raise.
    """
    folder = Path(output)
    runs = {
        (name, seed): load_config(
            arm.config,
            [
                *(text for text in overrides if not _is_set(text, arm.overrides)),
                *arm.overrides,
                f"seed={seed}",
                f"output={folder / _slug(name) / f'seed{seed}'}",
            ],
        )
        for seed in study.seeds
        for name, arm in study.arms.items()
    }
    for config in runs.values():
        build.build_data(config)  # a wrong path should not show after an hour
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=jobs, mp_context=context, max_tasks_per_child=1) as pool:
        waiting = [pool.submit(_run, config, study) for config in runs.values()]
        for done in track(as_completed(waiting), len(waiting), study.name, unit="runs"):
            done.result()
    records = list(_records(runs, study.protocols))
    table = tabulate(records, list(study.arms), study.protocols)
    if own := [record for record in records if record["protocol"] == "pretext"]:
        table += "\n" + tabulate_pretext(own, list(study.arms))
    with atomic_path(folder / "results.json") as temporary:
        temporary.write_text(json.dumps(records, indent=1) + "\n")
    with atomic_path(folder / "table.md") as temporary:
        temporary.write_text(table)
    return table


def _run(config: Config, study: Study) -> None:
    """One run, in a process of its own: train, score, leave the results in its folder."""
    folder = train(config)
    asks = study.pretext_visits > 0 and has_own_task(folder)
    if asks and not (folder / "eval" / PRETEXT_FILE).exists():
        write_pretext(folder, score_pretext(folder, visits=study.pretext_visits))
    missing = [p for p in study.protocols if not (folder / "eval" / f"{p}.json").exists()]
    if not missing:
        return
    parts = build.build_data(config).parts
    if parts.train is None:
        raise UserError(config.data.train, "has no test part", "set data.test or data.split_column")
    options = Options(clips_per_video=study.clips_per_video, k=study.k, seed=config.seed)
    reader = build.build_reader(config)
    for result in evaluate(load_encoder(folder), parts, missing, options, reader=reader):
        result.write(folder / "eval")


def _records(
    runs: Mapping[tuple[str, int], Config], protocols: Sequence[Protocol]
) -> Iterator[dict[str, Any]]:
    for (arm, seed), config in runs.items():
        for protocol in protocols:
            result = read_result(config.run_folder / "eval" / f"{protocol}.json")
            for row in result.rows:
                facts = {"arm": arm, "seed": seed, "protocol": protocol, "row": row.name}
                yield facts | row.scores
        pretext = config.run_folder / "eval" / PRETEXT_FILE
        if pretext.exists():
            for row, scores in json.loads(pretext.read_text())["rows"].items():
                facts = {"arm": arm, "seed": seed, "protocol": "pretext", "row": row}
                yield from (facts | {"score": name, "share": x} for name, x in scores.items())


def _is_set(override: str, by: Sequence[str]) -> bool:
    return override.partition("=")[0] in {text.partition("=")[0] for text in by}


def _slug(arm: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in arm.lower())
