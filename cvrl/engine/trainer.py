"""THE loop. Pre-training, linear probes and fine-tuning are tasks handed to it.

A step is: ``losses = task(batch)``, backward, ``task.before_step()``, clip, optimiser step,
``task.after_step(step)``. The loop knows nothing of the method. Everything random is a function of
the seed and the step, so a run that is stopped at any moment and started again goes on to the same
weights, bit for bit on a CPU.
"""

import logging
import os
from collections.abc import Generator, Iterable
from contextlib import closing, nullcontext
from itertools import islice
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from cvrl.config import Config, describe, load_config
from cvrl.data.dataset import Batch
from cvrl.data.fingerprint import fingerprint
from cvrl.data.loader import StopWaitingError, default_workers, train_loader
from cvrl.data.sampler import VisitSampler
from cvrl.data.worker_watch import LoaderError
from cvrl.engine import build
from cvrl.engine.checkpoint import State, diverged, load_checkpoint, save_checkpoint
from cvrl.engine.clock import Clock
from cvrl.engine.devices import build_accelerator
from cvrl.engine.monitor import KnnMonitor
from cvrl.engine.quarantine import Quarantine
from cvrl.engine.resume import absolute_paths, check_continuation, find_checkpoint, start_folder
from cvrl.engine.signals import StopRequest
from cvrl.engine.step_log import StepLog, first_line
from cvrl.models.batchnorm import convert_sync_batchnorm
from cvrl.models.weights import first_not_finite
from cvrl.pretrained import MODEL_FILE, save_model
from cvrl.transforms import recipes
from cvrl.utils import dist
from cvrl.utils.errors import UserError
from cvrl.utils.lock import locked
from cvrl.utils.log import MetricLog, TrainProgress, set_up_logging
from cvrl.utils.parent import stop_with_parent
from cvrl.utils.remote_folder import pull_output, storing
from cvrl.utils.seed import integer_seed

logger = logging.getLogger("cvrl")
SAVE_MEMORY = "set train.clips_at_once=8 or so, train.recompute=true, or a smaller batch"


def train(config: Config) -> Path:
    """Train as a config says, or go on with the run that its folder holds.

    Args:
        config: the run. Its folder receives ``config.yaml``, ``env.txt``, ``metrics.jsonl``,
            ``checkpoints/``, ``model.safetensors`` and, if files were bad, ``quarantine.csv``.

    Returns:
        The run folder.

    Raises:
        UserError: config, data or checkpoint cannot be used, loss or weights are not finite, too
            many files are bad, the folder is in use, the disk is full, or a loader worker fails.
    """
    if "RANK" in os.environ:
        stop_with_parent()
    main = os.environ.get("RANK", "0") == "0"  # the other ranks of torchrun write nothing
    pull_output(config.output)
    with locked(config.run_folder, folder=True) if main else nullcontext():
        trainer = Trainer(config)
        with StopRequest() as stop:
            try:
                trainer.fit(stop)
            except torch.OutOfMemoryError as error:
                place = f"step {trainer.step}"
                raise UserError(place, "ran out of GPU memory", SAVE_MEMORY) from error
            except RuntimeError as error:
                if not dist.is_loss_of_rank(error):
                    raise
                remedy = "see its message; the same command goes on from the last checkpoint"
                raise UserError("another rank", "has ended", remedy) from error
    return trainer.folder


def train_from(path: str | PathLike[str], overrides: Iterable[str] = ()) -> Path:
    """Train as a config file and overrides ``section.key=value`` say, see :func:`train`."""
    return train(load_config(path, overrides))


class Trainer:
    """A run: what :func:`train` builds from the config, and its loop.

    Attributes:
        step: optimiser steps done.
        task: the method with its encoder.
        folder: where the run writes.
    """

    def __init__(self, config: Config) -> None:
        if config.train.threads is not None:
            torch.set_num_threads(config.train.threads)
        self.config = config
        self.accelerator = build_accelerator(config.train)
        self.is_main = self.accelerator.is_main_process
        set_up_logging(main=self.is_main)
        self.folder = config.run_folder
        self.store = storing(config.output, is_main=self.is_main)
        self.data = build.build_data(config)
        self.videos = fingerprint(self.data.train)
        self.schedule = build.build_schedule(config, len(self.data.train))
        self.views = build.build_views(config)
        self.recipe = build.build_recipe(config)
        self.rest = self.recipe.split()[1]  # what the device does where data.augment_on says so
        self.reader = build.build_reader(config)
        self.task = build.build_task(config, self.data, self.schedule, self.views)
        if config.train.sync_bn and dist.is_distributed():
            convert_sync_batchnorm(self.task)
        device = self.accelerator.device
        build.set_up_encoders(config.train, self.task, device)
        optimizer = build.build_run_optimizer(config, self.task, self.schedule, device)
        self.model, self.optimizer = self.accelerator.prepare(self.task, optimizer)
        videos, most = len(self.data.train), config.data.max_bad_fraction
        self.quarantine = Quarantine(self.folder, videos, most, writes=self.is_main)
        self.step = 0
        self.best: float | None = None  # of the watched scores, where the model is chosen by them
        self.clock = Clock(clips_per_step=config.train.batch_size * self.views.clips)

    def fit(self, stop: StopRequest) -> None:
        """Run the steps that are left, watching, logging and saving on the way."""
        self._begin()
        device, last = self.accelerator.device, self.schedule.total_steps
        logger.info("%s", first_line(self.config, self.data.train, device, self.step, last))
        self.clock.start(self.step)
        log = self._open_log()
        monitor = self._monitor() if self.is_main else None
        try:
            with closing(self.batches(stop)) as batches:
                for micro_batches in batches:
                    losses = self.train_step(micro_batches)
                    self.step += 1
                    stopping = self._is_asked_to_stop(stop)
                    self._log(losses, log)
                    if self._is_watch_due() and monitor is not None:
                        with self.clock.paused():
                            scores = monitor(self.task.kept_encoder, self.task.class_head)
                        self._keep_if_best(scores)
                        log.metrics.write(step=self.step, epoch=self._epoch, **scores)
                    if stopping or self.step % self.config.checkpoint.every_steps == 0:
                        self._save()
                    if stopping:
                        self._tell_stopped()
                        return
            self._save()
        except StopWaitingError:
            self._write_state()
            self._tell_stopped()
        except LoaderError as error:
            self._write_state()
            reason = f"{error.reason}; step {self.step} is saved"
            raise UserError(error.thing, reason, error.remedy) from error
        finally:
            log.close()

    def train_step(self, micro_batches: list[Batch]) -> dict[str, Tensor]:
        """One optimiser step over the parts of a batch.

        Args:
            micro_batches: ``train.accumulate`` parts of this rank's share of the batch.

        Returns:
            The task's losses, averaged over the parts; ``loss`` also over the ranks.
        """
        # dropout and the like: a function of the step, whatever was drawn before
        torch.manual_seed(integer_seed(self.config.seed, self.step, dist.rank()))
        for group in self.optimizer.param_groups:
            group["lr"] = float(self.schedule.lr_at[self.step]) * group.get("lr_scale", 1.0)
        parts = []
        self.model.train()
        for batch in micro_batches:
            batch = batch.to(self.accelerator.device, non_blocking=True).augmented(self.rest)
            with self.accelerator.accumulate(self.model):
                losses = self._losses(batch)
                self.accelerator.backward(losses["loss"])
                if self.accelerator.sync_gradients:
                    self.task.before_step()
                if self.task.is_ready():  # else gradients stay scaled: unscaling goes with a step
                    self._clip_gradients()
                    self.optimizer.step()
                self.optimizer.zero_grad()
            parts.append({name: value.detach() for name, value in losses.items()})
        self.task.after_step(self.step)
        losses = {name: _join([part[name] for part in parts]) for name in parts[0]}
        return losses | {"loss": dist.average(losses["loss"])}

    def batches(self, stop: StopRequest | None = None) -> Generator[list[Batch], None, None]:
        """This rank's share of each step's batch, in ``train.accumulate`` parts, from this step on.

        Time spent in getting them is waiting, on the trainer's clock.

        Args:
            stop: looked at while a batch is awaited.

        Raises:
            StopWaitingError: a stop was requested, and the next batch does not come.
            LoaderError: a loader worker was killed, or a file does not answer.
        """
        config = self.config
        sampler = VisitSampler(
            videos=len(self.data.train),
            batch_size=config.train.batch_size,
            seed=config.seed,
            first_step=self.step,
            last_step=self.schedule.total_steps,
            accumulate=config.train.accumulate,
            rank=dist.rank(),
            world_size=dist.world_size(),
        )
        loader = train_loader(
            build.build_dataset(config, self.data, self.views),
            sampler,
            workers=self._workers,
            pin_memory=self.accelerator.device.type == "cuda",
            on_wait=stop.check_while_waiting if stop is not None else None,
            stall_seconds=config.data.stall_seconds,
        )
        with closing(iter(loader)) as batches:
            while True:
                with self.clock.waiting():
                    micro_batches = list(islice(batches, config.train.accumulate))
                if not micro_batches:
                    return
                for batch in micro_batches:
                    self.quarantine.add(batch.bad)
                yield micro_batches

    def _clip_gradients(self) -> None:
        most = self.config.optim.clip_norm
        if self.accelerator.sync_gradients and most is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), most)

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        """The task's losses, or the end of the run where they are no numbers."""
        try:
            losses: dict[str, Tensor] = self.model(batch)
        except FloatingPointError as error:
            raise self._diverged(str(error)) from error
        if not bool(torch.isfinite(losses["loss"])):
            raise self._diverged(f"the loss is {float(losses['loss'])}")
        return losses

    def _diverged(self, reason: str) -> UserError:
        return diverged(self.folder / "checkpoints", self.step, reason)

    def _check_weights(self) -> None:
        """End the run, on every rank, before weights that are not finite replace whole ones."""
        found = first_not_finite(self.task.state_dict())
        if found is not None:
            raise self._diverged(found)

    def _is_asked_to_stop(self, stop: StopRequest) -> bool:
        """Whether any rank was: ranks may be told at different steps, and stop at the same one."""
        asked = torch.tensor(float(stop.requested), device=self.accelerator.device)
        return bool(dist.average(asked) > 0)

    def _begin(self) -> None:
        """Take up the run the folder holds, or start it."""
        checkpoint = find_checkpoint(self.config, self.folder)
        if checkpoint is None:
            if self.is_main:
                start_folder(self.config, self.folder, self.data.labelled)
        else:
            state = load_checkpoint(checkpoint)
            check_continuation(self.config, self.videos, state, checkpoint, self.folder)
            self._restore(state, checkpoint)
            logger.info("going on from %s", checkpoint)
        dist.barrier()

    def _save(self) -> None:
        """Write the checkpoint of this step and the encoder, from the first rank; all wait for it.

        Raises:
            UserError: the weights are not finite, or the disk is full.
        """
        self._write_state()
        dist.barrier()

    def _write_state(self) -> None:
        """As :meth:`_save`, without waiting for ranks that may be gone."""
        self._check_weights()
        if not self.is_main:
            return
        scaler = self.accelerator.scaler
        state: State = {
            "step": self.step,
            "best": self.best,
            "config": describe(absolute_paths(self.config)),
            "videos": self.videos,
            "task": self.task.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else {},
        }
        folder = self.folder / "checkpoints"
        save_checkpoint(folder, self.step, state, keep=self.config.checkpoint.keep)
        if self.config.checkpoint.select == "last" or self.best is None:
            self._save_model()
        self.store()

    def _tell_stopped(self) -> None:
        logger.info("stopped at step %d; the same command goes on", self.step)

    def _keep_if_best(self, scores: dict[str, float]) -> None:
        """With ``checkpoint.select=best``: write the model where it does better than before."""
        if self.config.checkpoint.select == "last":
            return
        score = scores.get("classifier_top1", next(iter(scores.values())))
        if self.best is None or score > self.best:
            self._check_weights()
            self.best = score
            self._save_model()

    def _save_model(self) -> None:
        save_model(
            self.folder / MODEL_FILE,
            self.task.kept_encoder,
            clip=self.views.spec,
            size=self.config.clip.size,
            normalise=self.recipe.normalised,
            projector=self.task.projector,
            class_head=self.task.class_head,
        )

    def _restore(self, state: State, source: Path) -> None:
        try:
            self.task.load_state_dict(state["task"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise UserError(
                source, f"is of another network ({error})", "give the config it was trained with"
            ) from error
        if self.accelerator.scaler is not None and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.step, self.best = state["step"], state.get("best")

    def _open_log(self) -> StepLog:
        tensorboard, first = self.config.log.tensorboard, self.step
        return StepLog(
            MetricLog(self.folder, first_step=first, tensorboard=tensorboard, enabled=self.is_main),
            TrainProgress(self.schedule.total_steps, first, enabled=self.is_main),
            self.accelerator.device,
        )

    def _log(self, losses: dict[str, Tensor], log: StepLog) -> None:
        if self.step % self.config.log.every_steps and self.step != self.schedule.total_steps:
            return
        log.add(
            losses,
            self.clock.lap(self.step),
            step=self.step,
            epoch=self._epoch,
            lr=float(self.schedule.lr_at[self.step - 1]),
            bad_videos=self.quarantine.count,
        )

    def _monitor(self) -> KnnMonitor | None:
        config, parts = self.config, self.data.parts
        if config.eval.every_epochs == 0 or parts.train is None:
            return None
        return KnnMonitor(
            train=parts.train,
            watch=parts.test,
            spec=self.views.spec,
            transform=recipes.evaluation(
                config.eval.size or config.clip.size,
                resize=config.eval.short_side,
                normalise=self.recipe.normalised,
            ),
            options=config.eval,
            reader=self.reader,
            workers=self._workers,
            seed=config.seed,
        )

    def _is_watch_due(self) -> bool:
        every = self.config.eval.every_epochs * self.schedule.steps_per_epoch
        return self.step == self.schedule.total_steps or (every > 0 and self.step % every == 0)

    @property
    def _epoch(self) -> float:
        return self.step / self.schedule.steps_per_epoch

    @property
    def _workers(self) -> int:
        workers = self.config.data.workers
        ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        return default_workers(ranks_here) if workers is None else workers


def _join(parts: list[Tensor]) -> Tensor:
    """Mean of scalars, rows of the rest."""
    return torch.stack(parts).mean() if parts[0].ndim == 0 else torch.cat(parts)
