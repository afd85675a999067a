"""A run from Python: train, evaluate, extract and predict, as the commands of ``cvrl`` do.

Example:
    Train for ten minutes on one core, score the encoder, write its page and its features::

        import cvrl

        run = cvrl.train("my_videos", config="sce_small", output="runs/mine")
        (result,) = run.evaluate("knn", hold_out=0.25)
        run.page()
        cvrl.extract(run, "my_videos", "features.parquet")
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cvrl.config import Config, TestConfig, load_config
from cvrl.data.manifest import read_manifest
from cvrl.data.splits import read_splits
from cvrl.engine.machine import pick_device, pick_workers
from cvrl.engine.scoring.run_sources import KEYS, run_folder, views_to_test
from cvrl.engine.scoring.score_run import score_run
from cvrl.evaluation.card import Result
from cvrl.evaluation.diagnostics.perturbation_table import present
from cvrl.evaluation.features.clip_stream import ClipChoice
from cvrl.evaluation.features.extraction import Stage
from cvrl.evaluation.features.feature_store import Extraction, StoreReport, extract_to_file
from cvrl.evaluation.features.inference_form import Precision
from cvrl.evaluation.prediction.multiview import answer_videos
from cvrl.evaluation.prediction.predict import collect, list_videos
from cvrl.evaluation.prediction.predictions import Predictions
from cvrl.evaluation.protocols.base import Options
from cvrl.models.backbones import Encoder
from cvrl.models.classifier import Classifier
from cvrl.pretrained import is_shipped, load_classifier, load_encoder, local_path
from cvrl.utils import hub
from cvrl.utils.checks import nearest
from cvrl.utils.errors import UserError

AnyPath = str | PathLike[str]


class Run:
    """A finished run, or a file of weights.

    Args:
        path: the run folder, a ``model.safetensors``, the name of a model on the Hugging Face Hub,
            ``org/name``, or that of an encoder that comes with the package.

    Attributes:
        path: as given; of a model on the Hub, the folder that it is downloaded to.
        folder: the run folder, or the folder of the file; of an encoder that comes with the
            package ``runs/shipped/<name>``.

    Raises:
        UserError: no such folder or file, or no such model on the Hub.
    """

    def __init__(self, path: AnyPath) -> None:
        # Results of a shipped encoder are not written into the package.
        self.path = Path(path if is_shipped(path) else local_path(path))
        if not (self.path.exists() or is_shipped(path)):
            raise UserError(path, "no such run", "give the folder of a run")
        self.folder = run_folder(self.path)

    def __repr__(self) -> str:
        return f"Run({fspath(self.path)!r})"

    @cached_property
    def config(self) -> Config:
        """The config it was trained with."""
        return load_config(self.folder / "config.yaml")

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder, see :func:`cvrl.load_encoder`."""
        return load_encoder(self.path)

    @cached_property
    def classifier(self) -> Classifier:
        """The encoder with its classifier, see :func:`cvrl.load_classifier`."""
        return load_classifier(self.path)

    def views(self, **given: int | None) -> TestConfig:
        """The clips and crops of a test: what is given and not None, else as the config says.

        Args:
            given: ``clips``, ``crops``, ``size`` and ``short_side``.
        """
        return views_to_test(self.path, given)

    def classifier_at(self, size: int | None = None, short_side: int | None = None) -> Classifier:
        """The classifier for crops of another size than that of training.

        Args:
            size: pixels of a crop; None: as the config's ``test`` section says.
            short_side: pixels of the frames that it is cut from; the same.
        """
        views = self.views(size=size, short_side=short_side)
        if views.size is None and views.short_side is None:
            return self.classifier
        return load_classifier(self.path, size=views.size, short_side=views.short_side)

    def evaluate(
        self,
        *protocols: str,
        device: str = "auto",
        output: AnyPath | None = None,
        **settings: Any,
    ) -> list[Result]:
        """Score the encoder beside its random-init baseline; print and write the results.

        Args:
            protocols: such as ``knn``, ``linear`` and ``retrieval``; none leaves the choice to the
                labels of the videos.
            device: ``cpu``, ``cuda``, or ``auto``.
            output: folder for the JSON files; default: ``eval`` in the run folder.
            settings: what is not to be as the run's config says: ``train``, ``test``, ``hold_out``
                and other options of ``cvrl evaluate``, by the names of
                :class:`cvrl.evaluation.protocols.base.Options`; ``size`` and ``short_side`` of
                the crops in pixels; ``join``, runs whose encoders' features are joined.

        Returns:
            A result a protocol and perturbation: ``result.row("trained").scores["top1"]``.

        Raises:
            UserError: an unknown setting, no videos, or settings that cannot be used.
            CorruptVideoError: a test video cannot be decoded.
        """
        known = {*KEYS, *vars(Options()), "hold_out", "allow_missing", "scratch"}
        known |= {"size", "short_side", "join"}
        for key in settings.keys() - known:
            raise UserError(f"{key} = {settings[key]!r}", "is no setting", nearest(key, known))
        asked: Any = protocols or None
        scored = score_run(self.path, settings, protocols=asked, device=pick_device(device))
        return present(scored, self.folder / "eval" if output is None else output)

    def page(
        self,
        *,
        searches: int = 8,
        max_videos: int = 400,
        seed: int = 0,
        workers: int | None = None,
        device: str = "auto",
    ) -> Path:
        """Write ``report.html`` and ``report.png`` into the run folder.

        Args:
            searches: queries to show.
            max_videos: of the test split; twice as many of the training split.
            seed: of the queries and the feature map.
            workers: loader processes; None: by the cores.
            device: ``cpu``, ``cuda``, or ``auto``.

        Returns:
            The page.
        """
        from cvrl.engine import build
        from cvrl.report.comparison import compare
        from cvrl.report.page import write_report
        from cvrl.report.run_summary import perturbed_results, read_run
        from cvrl.report.training_pairs import draw_pairs_of_run

        config = load_config(self.folder / "config.yaml")
        encoder = self.encoder.to(pick_device(device))
        views = build.build_views(config)
        summary = read_run(self.folder, config.data.train, config.train.batch_size * views.clips)
        config.data.augment_on = "worker"
        source = {key: getattr(config.data, key) for key in KEYS}
        parts = read_splits(**source, fallback_hold_out=config.data.hold_out, seed=config.seed)
        dataset = build.build_dataset(config, build.build_data(config), views)
        stored = perturbed_results(summary.results, encoder, parts)
        comparison = compare(
            encoder,
            parts,
            still=not stored,
            seed=config.seed,
            clips=max(config.eval.clips_per_video, 2),
            max_videos=max_videos,
            workers=pick_workers(workers),
            bad=[path for path, _ in summary.quarantined],
        )
        page, _ = write_report(
            summary,
            comparison,
            draw_pairs_of_run(dataset, seed=seed),
            k=config.eval.k,
            temperature=config.eval.temperature,
            seed=seed,
            searches=searches,
            perturbed=stored,
        )
        return page

    def push_to_hub(
        self,
        name: str,
        *,
        data_license: str,
        license: str | None = None,
        private: bool = False,
        token: str | None = None,
    ) -> str:
        """Upload the model and its card to the Hugging Face Hub, as ``cvrl export --format hub``.

        Args:
            name: ``org/name``; created where there is none.
            data_license: licence or terms of the training videos, for the card.
            license: licence of the weights, by the Hub's identifiers such as ``apache-2.0``.
            private: whether a model that is created is visible to its owners only.
            token: None: ``HF_TOKEN``, or that of ``hf auth login``.

        Returns:
            The page of the model.

        Raises:
            UserError: a wrong name, no token, no permission, no network, or nothing to upload.
        """
        from cvrl.export.hub_folder import write_hub_folder

        hub.check_upload(name, token)
        with TemporaryDirectory() as folder:
            title = name.partition("/")[2]
            write_hub_folder(self.path, folder, data_license=data_license, license=license,
                             title=title, hub_name=name)  # fmt: skip
            message = f"Upload {title} with cvrl"
            return hub.upload(folder, name, private=private, message=message, token=token)


def train(
    data: AnyPath | Mapping[str, Any],
    *,
    config: AnyPath = "cvrl_small",
    output: AnyPath | None = None,
    **overrides: Any,
) -> Run:
    """Train as a config says, or go on with the run that the folder holds.

    Args:
        data: folder, list, CSV or manifest of videos; or the section ``data`` of the config, as in
            ``{"train": "my_videos", "hold_out": 0.25}``.
        config: a YAML file, or the name of a config that ``cvrl configs`` lists.
        output: the run folder; default: ``runs/NAME``.
        overrides: sections of the config with the keys to change, ``train={"epochs": 5}``, or
            single keys, ``seed=1``.

    Returns:
        The run.

    Raises:
        UserError: the config, the data or a checkpoint cannot be used.

    Example:
        >>> run = train("videos", config="sce_small", train={"steps": 100})  # doctest: +SKIP
        >>> run.encoder.dim  # doctest: +SKIP
        128
    """
    from cvrl.engine.trainer import train as run_trainer

    section = data if isinstance(data, Mapping) else {"train": data}
    given = dict(_leaves({"data": section, **overrides}))
    if output is not None:
        given["output"] = fspath(output)
    return Run(run_trainer(load_config(config, [f"{k}={_text(v)}" for k, v in given.items()])))


def extract(
    run: Run | AnyPath,
    videos: AnyPath,
    output: AnyPath | None = None,
    *,
    clips: int | None = None,
    every: float | None = None,
    overlap: float | None = None,
    stage: Stage = "pooled",
    precision: Precision = "fp32",
    share_frames: bool = True,
    root: AnyPath | None = None,
    batch_clips: int = 16,
    workers: int | None = None,
    device: str = "auto",
    strict: bool = False,
) -> StoreReport:
    """Write one feature vector a clip; go on where a killed extraction stopped.

    Args:
        run: a run, its folder, or a ``model.safetensors``.
        videos: folder, list, CSV, or a single video.
        output: a ``.parquet``, ``.npy`` or ``.faiss`` file; default: ``features.parquet`` in the
            run folder.
        clips: clips spread over each video; 1 if neither ``every`` nor ``overlap`` is given.
        every: a clip every so many seconds instead.
        overlap: clips that share this part with the next instead.
        stage: ``pooled``, ``projected``, or a stage such as ``res4``, averaged to a vector.
        precision: ``plain``, ``fp32`` or ``int8``.
        share_frames: encode a frame once where clips overlap.
        root: folder that relative paths in a list start from.
        batch_clips: clips encoded at a time.
        workers: loader processes; None: by the cores.
        device: ``cpu``, ``cuda``, or ``auto``.
        strict: a video that cannot be decoded is an error.

    Returns:
        The file, the number of clips, and the videos that were left out.

    Raises:
        UserError: see :func:`cvrl.evaluation.features.feature_store.extract_to_file`.
    """
    run = run if isinstance(run, Run) else Run(run)
    if clips is None and every is None and overlap is None:
        clips = 1
    choice = ClipChoice(clips=clips, every=every, overlap=overlap)
    manifest = read_manifest(videos, root=root)
    encoder = run.encoder.to(pick_device(device))
    return extract_to_file(
        Extraction(encoder, choice, stage, precision, share_frames),
        manifest,
        run.folder / "features.parquet" if output is None else output,
        batch_clips=batch_clips,
        workers=pick_workers(workers),
        strict=strict,
        checkpoint=run.path,
    )


def predict(
    run: Run | AnyPath,
    *videos: AnyPath,
    clips: int | None = None,
    crops: int | None = None,
    size: int | None = None,
    short_side: int | None = None,
    join: Sequence[AnyPath] = (),
    workers: int | None = None,
    device: str = "auto",
) -> Predictions:
    """Say what a classifier sees in videos.

    Args:
        run: a run that was trained with labels, its folder, or a ``model.safetensors``.
        videos: videos, folders or lists.
        clips: clips spread over each video; None: as the run's config says, else 10.
        crops: 1: the centre; 3: along the longer side; None: as the run's config says, else 3.
        size: pixels of a crop; None: as the run's config says, else as in training.
        short_side: pixels of the frames that it is cut from; None: the same.
        join: further runs, whose probabilities are averaged with this one's.
        workers: loader processes; None: by the cores.
        device: ``cpu``, ``cuda``, or ``auto``.

    Returns:
        ``paths``, ``probability_VK`` and ``predicted`` of the videos that can be decoded, and
            ``bad``, the others with the reason.

    Raises:
        UserError: a run has no classifier or other classes, or there are no videos.
    """
    run = run if isinstance(run, Run) else Run(run)
    views, manifest = run.views(clips=clips, crops=crops), list_videos(videos)
    several = [
        one.classifier_at(size, short_side).to(pick_device(device))
        for one in [run, *map(Run, join)]
    ]
    answers = answer_videos(
        several,
        manifest,
        ClipChoice(clips=views.clips),
        crops=views.crops,
        workers=min(pick_workers(workers), len(manifest)),
        name_bad=True,
    )
    return collect(several[0], manifest, [*answers])


def _leaves(overrides: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys with their values; a mapping is a section."""
    for key, value in overrides.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    """A value as an override has it: text and paths as they stand, all else as JSON."""
    if isinstance(value, str | PathLike):
        return fspath(value)
    return json.dumps(list(value) if isinstance(value, tuple) else value)
