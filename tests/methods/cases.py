"""Small batches for every method, made by the views it takes out of moving pictures."""

import importlib
import inspect
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch

import cvrl
from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import Batch
from cvrl.engine.components import build_method
from cvrl.engine.components import build_views as build_named_views
from cvrl.models.backbones import build_encoder
from cvrl.views.relative_patch import VIEWS as RelativePatch

PACKAGE = Path(inspect.getfile(cvrl)).parent
VIEWS = sorted(file.stem for file in (PACKAGE / "views").glob("[a-z]*.py"))
METHODS = sorted(file.stem for file in (PACKAGE / "methods").glob("[a-z]*.py"))
FACTS = {
    "class_names": ["a", "a+b", "c"],
    "videos": 8,
    "steps_per_epoch": 0,
    "total_steps": 10,
    "teach": lambda teacher, clips: torch.rand(8, 6, generator=torch.Generator().manual_seed(4)),
}
SPEC = ClipSpec(frames=8, stride=1)
SIZE = 32  # of the clips that reach the encoder

# What a file needs to be small and quick; everything else is its default.
VIEW_KEYWORDS = {
    "shuffled_pair": {"role": "negative"},
    "jigsaw_pair": {"grid": [1, 2, 2], "permutations": 3},
    "rotated": {"copies": 1},
    "pace": {"clips": 2},
    "future_blocks": {"blocks": 4, "predict": 2},
    "synchronised": {"moments": 3, "min_gap": 0.4},
    "time_window": {"clips": 8, "step": 4},
    "joint": {"parts": {"pair": {"name": "temporal_pair"}, "one": {"name": "temporal_pair"}}},
    "audio_pair": {"clips": 2, "seconds": 0.5},
}
METHOD_KEYWORDS = {
    "simclr": {"hidden": 16, "hidden_layers": 1, "dim": 8},
    "finetune": {"layer_decay": 0.75, "label_smoothing": 0.1, "dropout": 0.1},
    "finetune@jigsaw_pair": {"mixup": 0.2, "average": 0.9, "frozen_bn": True, "dropout": 0.0},
    "linear_probe": {"protocol": "slowfast"},
    "linear_probe@jigsaw_pair": {"protocol": "cvrl"},
    "simclr@shuffled_pair": {"hidden": 16, "hidden_layers": 1, "dim": 8},
    "simclr@jigsaw_pair": {"loss": "nce_pair", "hidden": 16, "hidden_layers": 1, "dim": 8},
    "classify@rotated": {"target": "arrangement"},
    "classify@jigsaw_pair": {"target": "arrangement"},
    "classify@pace": {"target": "arrangement"},
    "classify@temporal_transform": {"target": "arrangement"},
    "simclr@multi_crop": {"hidden": 16, "hidden_layers": 1, "dim": 8},
    "simclr@pace": {"hidden": 16, "hidden_layers": 1, "dim": 8, "key_encoder": "separate"},
    "moco@multi_crop": {
        "queue": 12,
        "bn_groups": 2,
        "hidden": 64,
        "hidden_layers": 1,
        "dim": 8,
        "momentum": 0.9,
    },
    "byol@multi_crop": {"hidden": 16, "dim": 8},
    "order": {"hidden": 16},
    "order@relative_patch": {"hidden": 16},
    "cpc": {"dim": 8, "context_dim": 16},
    "cpc@future_blocks": {
        "context": "conv_gru",
        "prediction": "roll_out",
        "score": "cosine",
        "temperature": 0.1,
        "dim": 8,
        "context_dim": 16,
    },
    "time_contrast": {"hidden": 16, "normalise": True, "temperature": 0.2},
    "time_contrast@synchronised": {"hidden": 16, "loss": "triplet", "other_events": True},
    "time_contrast_single": {"hidden": 16, "margin": 0.5},
    "semi_supervised": {"confidence": 0.3},
    "moco": {"queue": 12, "bn_groups": 2, "hidden": 64, "hidden_layers": 1, "dim": 8},
    "memory_bank": {"dim": 8},
    "memory_bank@jigsaw_pair": {"loss": "nce", "negatives_drawn": 6, "dim": 8},
    "byol": {"hidden": 16, "dim": 8},
    "distil": {
        "teacher": "any",
        "hidden": 16,
        "hidden_layers": 1,
        "relation": 1.0,
        "contrast": 0.1,
    },
    "distil@jigsaw_pair": {"teacher": "any", "components": 0},
    "swav": {"prototypes": 8, "queue": 8, "hidden": 16, "dim": 8},
    "swav@multi_crop": {"prototypes": 8, "hidden": 16, "dim": 8},
    "tclr": {"local_weight": 0.5, "global_weight": 2.0, "hidden": 16, "dim": 8},
    "reconstruct": {"cube": [2, 8, 8]},
    "reconstruct@pace": {"hide": "future", "future": 3},
    "reconstruct@jigsaw_pair": {"hide": "colour"},
    "cross_modal": {"audio_width": 4, "hidden": 16, "dim": 8},
    "cross_modal@audio_pair": {"in_modal": 0.5, "audio_width": 4, "hidden": 16, "dim": 8},
    "rspnet": {"hidden": 16, "dim": 8, "margin": 0.5},
    "joint": {
        "parts": {
            "pair": {"name": "simclr", "hidden": 16, "hidden_layers": 1, "dim": 8},
            "one": {"name": "classify"},
        },
        "weights": {"one": 0.5},
    },
}
ENCODER_KEYWORDS = {"tclr": {"time_strides": [1, 2, 1, 1]}}  # where the method asks for more
VIEWS_OF_METHOD = {"joint": "joint"}  # where the first that fits is not the one to test with


# A method with other views than that is a case of its own, "method@views".
CASES = sorted({*METHODS, *(name for name in METHOD_KEYWORDS if "@" in name)})


def views_of(case):
    """The views a case names, else its method's own, else temporal_pair, else the first to fit."""
    method, _, named = case.partition("@")
    if named:
        return build_views(named)
    accepts = importlib.import_module(f"cvrl.methods.{method}").METHOD.accepts
    own = [VIEWS_OF_METHOD[method]] if method in VIEWS_OF_METHOD else []
    for name in [*own, "temporal_pair", *VIEWS]:
        if importlib.import_module(f"cvrl.views.{name}").VIEWS.kinds & accepts:
            return build_views(name)
    raise AssertionError(f"no views for {method}")


def build_views(name):
    return build_named_views(name, VIEW_KEYWORDS.get(name, {}), SPEC)


def build(case):
    """The method over a network of a few thousand weights."""
    torch.manual_seed(0)
    method = case.partition("@")[0]
    own = ENCODER_KEYWORDS.get(method, {})
    encoder = build_encoder("r3d_small", width=4, blocks=(1, 1, 1, 1), **own)
    return build_method(method, METHOD_KEYWORDS.get(case, {}), encoder, FACTS, views_of(case))


def make_batch(case, videos=6, seed=0, dtype=torch.float32):
    """Videos that can be told apart and have a direction of time: each has a picture that drifts
    and darkens."""
    views = views_of(case)
    samples = [_sample(views, video, seed) for video in range(videos)]
    small = [sample["small"] for sample in samples if sample["small"] is not None]
    sound = [sample["sound"] for sample in samples if sample["sound"] is not None]
    return Batch(
        clips_BVCTHW=torch.stack([sample["clips"] for sample in samples]).to(dtype),
        labels_B=torch.arange(videos) % 3 - int(case == "semi_supervised"),  # -1 has none
        video_id_B=torch.arange(videos),
        group_id_B=torch.arange(videos),
        time_BV=torch.stack([sample["time"] for sample in samples]),
        order_BV=torch.stack([sample["order"] for sample in samples]),
        small_BVCTHW=torch.stack(small).to(dtype) if small else None,
        sound_BWMF=torch.stack(sound).to(dtype) if sound else None,
    )


def rows_of(batch, rows):
    """Some videos of a batch, as another rank holds them."""
    tensors = {
        field.name: getattr(batch, field.name)[rows]
        for field in fields(batch)
        if isinstance(getattr(batch, field.name), torch.Tensor)
    }
    return replace(batch, **tensors)


def _sample(views, video, seed, length=80):
    generator = torch.Generator().manual_seed(video)
    picture_CHW = torch.rand(3, 2 * SIZE, 2 * SIZE, generator=generator)
    noise = torch.Generator().manual_seed(1000 * seed + video)
    rng = np.random.default_rng([seed, video])
    plan = views.plan(length, 25.0, rng)
    rows = [
        torch.stack([_frame(picture_CHW, int(tick) % length, noise) for tick in ticks_T], dim=1)
        for ticks_T in plan.ticks_VT
    ]
    clips = torch.stack(rows[: views.clips])
    side = 112 if isinstance(views, RelativePatch) else SIZE  # its patches are a third
    clips = torch.nn.functional.interpolate(clips.flatten(0, 1), size=(side, side)).reshape(
        views.clips, 3, SPEC.frames, side, side
    )
    clips, order_V = views.arrange(clips, plan, rng)
    small = None
    if views.small is not None:
        small = torch.stack(rows[views.clips :])
    sound = None if views.sound is None else _sound(plan, video, noise)
    film = length // max(1, views.cameras)  # the films of several cameras follow one another
    time_V = torch.from_numpy(plan.start_V[: views.clips] % film / 25.0)
    return {
        "clips": clips,
        "order": torch.from_numpy(order_V),
        "time": time_V,
        "small": small,
        "sound": sound,
    }


def _sound(plan, video, noise):
    """A chord of the video's own that rises, as the picture drifts: (W, 16, 20)."""
    chord_M = torch.rand(16, generator=torch.Generator().manual_seed(100 + video))
    windows = [chord_M.roll(int(tick) // 8)[:, None].expand(16, 20) for tick in plan.sound_W]
    return torch.stack(windows) + 0.1 * torch.rand(len(windows), 16, 20, generator=noise)


def _frame(picture_CHW, tick, noise):
    drifted = picture_CHW.roll((tick // 4, tick // 2), dims=(1, 2))[:, :SIZE, :SIZE]
    return 0.8 * drifted * (1 - tick / 200) + 0.2 * torch.rand(3, SIZE, SIZE, generator=noise)
