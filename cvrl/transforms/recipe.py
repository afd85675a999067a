"""A recipe: which transforms each view of a video goes through, and whose draws are whose.

Shapes: B videos, V views, C channels, T frames, H W pixels.

Every random number belongs to one place. A recipe takes one seed a view from the generator given,
so another view leaves the earlier ones as they were; and each transform of a view has a generator
of its own, so another strength of one leaves the draws of the others as they were.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, TypeAlias

import torch
from torch import Tensor

from cvrl.transforms.colour import Normalize
from cvrl.transforms.geometry import RandomResizedCrop
from cvrl.transforms.op import Op, Shape, Step, check_clip, integer, run_steps, to_float
from cvrl.utils.errors import UserError
from cvrl.utils.seed import torch_generator

# Of one transform: one set for the clip, or one a frame. Of one view: those of its transforms.
ViewParams: TypeAlias = tuple[tuple[Any, ...], ...]
Params: TypeAlias = tuple[ViewParams, ...]


@dataclass(frozen=True)
class Recipe:
    """The transforms of each view, applied to a stack of clips.

    Args:
        views: the transforms of view 0, 1, ... in order. Where there are more clips than entries,
            the entries take turns: with two of them, A B A B.
        consistent: draw once a clip. False draws anew for every frame, as CVRL's ablation does.
        as_float: end in float32. False leaves the dtype to the transforms.
        earlier: for each view, how many transforms of a larger recipe come before these; see
            :meth:`split`.

    Example:
        >>> from cvrl.transforms import HorizontalFlip, RandomResizedCrop
        >>> recipe = Recipe([[RandomResizedCrop(size=32), HorizontalFlip(p=0.5)]])
        >>> clips_VCTHW = torch.zeros(2, 3, 8, 60, 80, dtype=torch.uint8)
        >>> recipe(clips_VCTHW, torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3, 8, 32, 32])
    """

    views: Sequence[Sequence[Op[Any]]]
    consistent: bool = True
    as_float: bool = True
    earlier: Sequence[int] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "views", tuple(tuple(ops) for ops in self.views))
        object.__setattr__(self, "earlier", tuple(self.earlier) or (0,) * len(self.views))
        if not self.views:
            raise ValueError("a recipe needs the transforms of at least one view")

    @property
    def normalised(self) -> bool:
        """Whether clips are shifted and scaled after [0, 1]."""
        return any(isinstance(op, Normalize) for ops in self.views for op in ops)

    def __call__(
        self,
        clips_VCTHW: Tensor,
        generator: torch.Generator | None = None,
        alike: Sequence[int] = (),
    ) -> Tensor:
        """Draw parameters and apply them.

        Args:
            clips_VCTHW: uint8 in [0, 255] or floating in [0, 1]; dimensions before C are views,
                however many: (C, T, H, W) is one.
            generator: CPU generator; may be left out where nothing is random.
            alike: see :meth:`draw`.

        Returns:
            float32 clips, with the leading dimensions they came with.

        Raises:
            ValueError: dtype or shape is not that of clips.
            UserError: the dimensions are in another order, values are not in [0, 1], or the video
                is too small for a crop.
        """
        _check_layout(clips_VCTHW)
        return self.apply(clips_VCTHW, self.draw(clips_VCTHW.shape, generator, alike))

    def draw(
        self,
        shape: Sequence[int],
        generator: torch.Generator | None = None,
        alike: Sequence[int] = (),
    ) -> Params:
        """The parameters for clips of one shape, as plain numbers.

        Args:
            shape: (..., C, T, H, W).
            generator: CPU generator; one draw a view is taken from it, or one a run of ``alike``.
            alike: lengths of runs of clips whose parameters are drawn as for one long clip. They
                are applied clip by clip, so nothing of one clip, such as its mean brightness,
                reaches another. Left out, every clip is a run of its own.

        Raises:
            ValueError: a shape of no clips, or runs of another number of clips.
            UserError: a run in a recipe whose views are unlike.

        Example:
            >>> from cvrl.transforms import CenterCrop
            >>> Recipe([[CenterCrop(size=2)]]).draw((3, 8, 4, 4))
            (((Box(top=1, left=1, height=2, width=2),),),)
        """
        if len(shape) < 4 or 0 in shape:
            raise ValueError(f"clips are (..., C, T, H, W), none of them 0, not {tuple(shape)}")
        channels, frames, height, width = shape[-4:]
        views = math.prod(shape[:-4])
        runs = tuple(alike) or (1,) * views
        if sum(runs) != views:
            raise ValueError(f"runs of {runs} clips do not make {views} clips")
        if max(runs) > 1 and len(self.views) > 1:
            raise UserError(
                "augment",
                "treats the clips of a video unlike, the views want them alike",
                "use augment.name=light, rho or supervised",
            )
        params: list[ViewParams] = []
        for run in runs:
            long = (channels, run * frames, height, width)
            params += _cut(self._draw_view(len(params), long, generator), run)
        return tuple(params)

    def apply(self, clips_VCTHW: Tensor, params: Params) -> Tensor:
        """Apply drawn parameters, on whatever device the clips are.

        Args:
            clips_VCTHW: clips of the shape that was drawn for.
            params: from :meth:`draw`.

        Returns:
            As :meth:`__call__`.

        Raises:
            ValueError: dtype, shape, or number of views is another.
        """
        clips = clips_VCTHW.reshape(-1, *clips_VCTHW.shape[-4:])
        if len(clips) != len(params):
            raise ValueError(f"parameters of {len(params)} views for {len(clips)} clips")
        done = [self._apply_view(*item) for item in zip(count(), clips, params, strict=False)]
        return _stack(done).reshape(*clips_VCTHW.shape[:-4], *done[0].shape)

    def apply_batch(self, clips_BVCTHW: Tensor, params_B: Sequence[Params]) -> Tensor:
        """Apply the parameters of several samples, each drawn by itself, to their batch.

        Args:
            clips_BVCTHW: clips of one size.
            params_B: from :meth:`draw`, one a sample.

        Returns:
            float32 (B, V, C, T, H', W'), the same as sample by sample.

        Raises:
            ValueError: the batch has another number of samples.

        Example:
            >>> from cvrl.transforms import HorizontalFlip
            >>> recipe = Recipe([[HorizontalFlip(p=0.5)]])
            >>> clips_BVCTHW = torch.zeros(4, 2, 3, 8, 32, 32, dtype=torch.uint8)
            >>> generator = torch.Generator().manual_seed(0)
            >>> params_B = [recipe.draw(clips.shape, generator) for clips in clips_BVCTHW]
            >>> recipe.apply_batch(clips_BVCTHW, params_B).dtype
            torch.float32
        """
        if len(clips_BVCTHW) != len(params_B):
            given, batch = len(params_B), len(clips_BVCTHW)
            raise ValueError(f"parameters of {given} samples for a batch of {batch}")
        return _stack([self.apply(*sample) for sample in zip(clips_BVCTHW, params_B, strict=True)])

    def split(self) -> tuple["Recipe", "Recipe"]:
        """Cut the recipe after its crop: one half for the worker, one for the training device.

        Videos differ in size, so the crop must come before batches are made; its half keeps uint8,
        which costs a quarter of float32 to send. Both halves, given generators in the same state,
        make the draws of the whole: ``rest(crop(x, g()), g()) == recipe(x, g())``, bit for bit.

        Returns:
            (crop, rest).

        Example:
            >>> from cvrl.transforms import HorizontalFlip, RandomResizedCrop
            >>> crop, rest = Recipe([[RandomResizedCrop(size=8), HorizontalFlip()]]).split()
            >>> [len(ops) for ops in crop.views], rest.views
            ([1], ((HorizontalFlip(p=1.0),),))
        """
        cuts = [
            max((i + 1 for i, op in enumerate(ops) if op.resizes), default=0) for ops in self.views
        ]
        crops = [ops[:cut] for ops, cut in zip(self.views, cuts, strict=True)]
        rests = [ops[cut:] for ops, cut in zip(self.views, cuts, strict=True)]
        done = [before + cut for before, cut in zip(self.earlier, cuts, strict=True)]
        return (
            Recipe(crops, consistent=self.consistent, as_float=False, earlier=self.earlier),
            Recipe(rests, consistent=self.consistent, as_float=self.as_float, earlier=done),
        )

    def recropped(self, size: int, area: tuple[float, float]) -> "Recipe":
        """The same recipe with its random crops of another size and area.

        Args:
            size: height and width of the crops in pixels.
            area: share of the frame that a crop keeps, lowest and highest.

        Raises:
            UserError: the recipe has no random crop.

        Example:
            >>> from cvrl.transforms import RandomResizedCrop
            >>> small = Recipe([[RandomResizedCrop(size=32)]]).recropped(16, (0.05, 0.14))
            >>> small.views[0][0].size, small.views[0][0].area
            (16, (0.05, 0.14))
        """
        views = [
            [
                replace(op, size=size, area=area, short_side=None)
                if isinstance(op, RandomResizedCrop)
                else op
                for op in ops
            ]
            for ops in self.views
        ]
        if any(not any(isinstance(op, RandomResizedCrop) for op in ops) for ops in views):
            raise UserError("augment", "has no random crop to make smaller", "use augment.name=rho")
        return replace(self, views=views)

    def _draw_view(self, view: int, shape: Shape, generator: torch.Generator | None) -> ViewParams:
        seed = None if generator is None else integer(generator, 0, 2**62)
        kind = view % len(self.views)
        drawn = []
        for index, op in enumerate(self.views[kind], start=self.earlier[kind]):
            own = None if seed is None else torch_generator(seed, index)
            channels, frames, height, width = shape
            parts = 1 if self.consistent else frames
            part = (channels, frames // parts, height, width)
            sets = tuple(op.draw(own, part) for _ in range(parts))
            sizes = {op.output_shape(part, params) for params in sets}
            if len(sizes) > 1:
                raise ValueError(f"frames of one clip end in different sizes after {op}")
            _, _, height, width = sizes.pop()
            shape = channels, frames, height, width
            drawn.append(sets)
        return tuple(drawn)

    def _apply_view(self, view: int, clip_CTHW: Tensor, params: ViewParams) -> Tensor:
        check_clip(clip_CTHW)
        ops = self.views[view % len(self.views)]
        steps: list[Step] = []  # those of transforms seen and not yet done
        for op, sets in zip(ops, params, strict=True):
            if len(sets) not in (1, clip_CTHW.shape[1]):
                raise ValueError(
                    f"parameters of {len(sets)} frames for a clip of {clip_CTHW.shape[1]}"
                )
            more = op.steps(sets[0]) if len(sets) == 1 else None
            if more is not None:
                check_clip(clip_CTHW, channels=3 if op.rgb else None)
                steps += more
                continue
            clip_CTHW, steps = run_steps(clip_CTHW, steps), []
            parts = clip_CTHW.chunk(len(sets), dim=1)
            done = [op.apply(part, drawn) for part, drawn in zip(parts, sets, strict=True)]
            clip_CTHW = done[0] if len(done) == 1 else torch.cat(done, dim=1)
        return run_steps(clip_CTHW, [*steps, Step(to_float)] if self.as_float else steps)


def _cut(params: ViewParams, clips: int) -> list[ViewParams]:
    """The parameters of a long clip for each of the clips it is made of."""
    frames = [len(sets) // clips for sets in params]  # 0 where one set serves all frames
    return [
        tuple(
            sets[clip * n : (clip + 1) * n] if n else sets
            for sets, n in zip(params, frames, strict=True)
        )
        for clip in range(clips)
    ]


def _stack(clips: Sequence[Tensor]) -> Tensor:
    if len({clip.shape for clip in clips}) > 1:
        shapes = ", ".join(str(tuple(clip.shape)) for clip in clips)
        raise ValueError(f"views end in different sizes: {shapes}")
    return torch.stack(list(clips))


def _check_layout(clips: Any) -> None:
    """Refuse clips that would be taken for others: dimensions in another order, another scale."""
    if not isinstance(clips, Tensor):
        reason = f"is a {type(clips).__name__} and no tensor"
        raise UserError("the clip", reason, "give torch.from_numpy(frames).permute(3, 0, 1, 2)")
    shape = tuple(clips.shape)
    if len(shape) >= 4:
        channels, frames, height, width = shape[-4:]
        order, remedy = "", ""
        if width == 3 and height > 3:
            order, remedy = "(T, H, W, C)", "movedim(-1, -4)"
        elif frames == 3 and channels != 3:
            order, remedy = "(T, C, H, W)", "transpose(-4, -3)"
        if order:
            reason = f"has the shape {shape}, which seems to be {order} and should be (C, T, H, W)"
            raise UserError("the clip", reason, f"use clip.{remedy}")
    if clips.is_floating_point() and clips.numel() and float(clips.max()) > 2:
        reason = f"is floating with values up to {float(clips.max()):g} and should be in [0, 1]"
        raise UserError("the clip", reason, "give uint8, or divide by 255")
