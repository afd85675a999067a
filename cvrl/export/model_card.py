"""The model card of a run: what it was trained on and how, and what its scores mean.

All of it comes from the run folder or from the arguments. What is not known is said to be unknown.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cvrl.evaluation.card import (
    SCORE_TITLES,
    ProtocolCard,
    Result,
    card_lines,
    percent,
    warnings_of,
)
from cvrl.evaluation.card import title as title_of

NOT_STATED = "not stated"
_FOLDERS = re.compile(r"(?<![\w.:/~])(?:~|\.\.?)?/(?:[^/\s,;:'\"]+/)*(?=[^/\s])")


def write_card(
    facts: Mapping[str, Any],
    run_config: str,
    results: Sequence[Result],
    *,
    title: str,
    hub_name: str,
    data_license: str,
    license: str | None,
) -> str:
    """The model card as Markdown, with the metadata that the Hub reads on top.

    Args:
        facts: of the model, see :func:`cvrl.pretrained.facts_of`.
        run_config: YAML of the run; empty where it is not known.
        results: of evaluations.
        title: the heading.
        hub_name: what ``load_encoder`` is given in the example.
        data_license: of the training videos.
        license: of the weights; None: not stated.
    """
    config = yaml.safe_load(run_config) if run_config else {}
    parts = [
        _metadata(facts, config, license),
        f"# {title}\n\n{_summary(facts, config)}",
        _usage(facts, hub_name),
        _data(config, results, data_license, license),
        _training(run_config),
        _evaluation(results),
    ]
    return "\n\n".join(parts) + "\n"


def without_folders(text: str) -> str:
    """Text with paths shortened to their last part; a card names no folders of its author.

    Example:
        >>> without_folders("test: /home/ann/videos/test.csv, see https://example.org/a")
        'test: test.csv, see https://example.org/a'
        >>> without_folders("train 3/4, ../data/ucf101")
        'train 3/4, ucf101'
    """
    return _FOLDERS.sub("", text)


def _metadata(facts: Mapping[str, Any], config: Mapping[str, Any], license: str | None) -> str:
    classes = facts.get("class_head") is not None
    names = [config[key]["name"] for key in ("method", "views") if key in config]
    values: dict[str, Any] = {
        "library_name": "cvrl",
        "pipeline_tag": "video-classification" if classes else "feature-extraction",
        "tags": ["video", "action-recognition", *dict.fromkeys(names)],
    }
    if license:
        values["license"] = license
    return f"---\n{yaml.safe_dump(values, sort_keys=False)}---"


def _summary(facts: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    clip = facts["clip"]
    kind = "encoder" if facts.get("class_head") is None else "classifier"
    how = ""
    if config:
        how = f", trained with method `{config['method']['name']}` on views"
        how += f" `{config['views']['name']}`"
    return (
        f"A video {kind}: `{facts['encoder']['name']}`{how}. A clip is {clip['frames']} frames, "
        f"stride {clip['stride']}, {facts['size']} x {facts['size']} pixels."
    )


def _usage(facts: Mapping[str, Any], hub_name: str) -> str:
    lines = ["import cvrl", "", f'encoder = cvrl.load_encoder("{hub_name}")  # clips to features']
    text = ""
    if facts.get("class_head") is not None:
        lines.append(f'classifier = cvrl.load_classifier("{hub_name}")  # clips to probabilities')
        names = [f"`{name}`" for name in facts["class_head"]["class_names"]]
        text = f"\n\n{len(names)} classes: {', '.join(names)}."
    code = "\n".join(lines)
    return f"## Usage\n\n```python\n{code}\n```\n\nInstall it with `pip install 'cvrl[hub]'`.{text}"


def _data(
    config: Mapping[str, Any], results: Sequence[Result], data_license: str, license: str | None
) -> str:
    data = config.get("data", {})
    name = Path(data["train"]).name if data.get("train") else "unknown: the run has no config"
    lines = [f"- Training videos: {name}"]
    if data.get("train_split"):
        lines[0] += f", split `{data['train_split']}`"
    if data.get("hold_out"):
        lines.append(f"- Held out of training: {100 * data['hold_out']:g} % of the groups")
    counts = {result.card.n_train for result in results if result.card.n_train}
    if counts:
        lines.append(f"- Labelled training videos of the evaluations: {_range(counts)}")
    lines.append(f"- Licence of the training videos: {data_license}")
    lines.append(f"- Licence of the weights: {license or NOT_STATED}")
    return "## Data\n\n" + "\n".join(lines)


def _training(run_config: str) -> str:
    if not run_config:
        return "## Training\n\nUnknown: the run has no config."
    settings = without_folders(run_config).strip()
    return f"## Training\n\nThe config of the run:\n\n```yaml\n{settings}\n```"


def _evaluation(results: Sequence[Result]) -> str:
    if not results:
        return "## Evaluation\n\nNot evaluated."
    text = "Scores in percent, beside the same network with random weights and chance."
    return "\n\n".join(["## Evaluation", text, *map(_result, results)])


def _result(result: Result) -> str:
    """A table of scores with its protocol card."""
    names = list(result.rows[0].scores)
    titles = " | ".join(SCORE_TITLES.get(name, name) for name in names)
    rows = [f"| | {titles} |", "|---" * (len(names) + 1) + "|"]
    for row in result.rows:
        scores = " | ".join(percent(row.scores.get(name)) for name in names)
        rows.append(f"| {row.name} | {scores} |")
    warnings = "".join(f"**{line}**\n\n" for line in warnings_of(result.card))
    card = "\n".join(card_lines(_without_paths(result.card)))
    table = "\n".join(rows)
    return f"### {title_of(result.card)}\n\n{table}\n\n{warnings}```text\n{card}\n```"


def _without_paths(card: ProtocolCard) -> ProtocolCard:
    texts: dict[str, Any] = {
        field.name: without_folders(value)
        for field in dataclasses.fields(card)
        if isinstance(value := getattr(card, field.name), str) and field.name != "show"
    }
    lists: dict[str, Any] = {
        name: [without_folders(line) for line in getattr(card, name)]
        for name in ("missing", "train_missing", "notes")
    }
    return dataclasses.replace(card, **texts, **lists)


def _range(counts: set[int]) -> str:
    least, most = min(counts), max(counts)
    return str(least) if least == most else f"{least} to {most}"
