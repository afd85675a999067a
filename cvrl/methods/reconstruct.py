r"""Generative pretext tasks: hide a part of a clip and paint it from the encoder's last map.

With a clip x, what is shown of it s, and a decoder g on the map f(s) of the encoder,

.. math:: L = \frac{1}{|M|} \sum_{i \in M} \left(x_i - s_i - g(f(s))_i\right)^2

over the values M that are hidden. What is hidden is one of

* ``colour``: s is the clip in grey. Zhang et al., "Colorful Image Colorization" (arXiv 1603.08511);
* ``future``: the last frames; s repeats the last one that is seen in their place. Mathieu et al.,
  "Deep Multi-Scale Video Prediction beyond Mean Square Error" (arXiv 1511.05440); Srivastava et
  al., "Unsupervised Learning of Video Representations using LSTMs" (arXiv 1502.04681);
* ``cubes``: cubes of some frames, rows and columns, where s is 0. Pathak et al., "Context Encoders:
  Feature Learning by Inpainting" (arXiv 1604.07379), on cubes of video as in Feichtenhofer et al.,
  "Masked Autoencoders As Spatiotemporal Learners" (arXiv 2205.09113).

Deviations: the loss is the square error for all, where colourising classifies colours and frame
prediction and inpainting add gradient and adversarial losses; a 3D ResNet sees the whole clip with
its hidden part filled in, where masked autoencoders leave it out.

Shapes: B videos on this rank, V clips, N = B V, C = 3 colours, T frames, H W pixels.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.models.backbones import Encoder
from cvrl.models.decoder import MapDecoder
from cvrl.task import Task
from cvrl.utils import dist
from cvrl.utils.checks import check_range
from cvrl.utils.errors import UserError
from cvrl.utils.seed import torch_generator

Hidden = Literal["colour", "future", "cubes"]
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey, ITU-R BT.601
# What the encoder is fed must tell what the decoder is to paint: differences of frames do not tell
# colours or still pictures, and differ in scale from clip to clip where orders alternate.
INPUTS: dict[Hidden, tuple[str, ...]] = {
    "colour": ("rgb", "derivatives"),
    "future": ("rgb", "derivatives", "residual"),
    "cubes": ("rgb", "derivatives"),
}


class Reconstruct(Task):
    """Paint what is hidden of a clip from what is seen of it.

    Args:
        encoder: maps clips (N, C, T, H, W) to maps. ``clip.input`` may be ``rgb`` or
            ``derivatives``, and ``residual`` where the future is hidden.
        hide: ``colour``, ``future`` or ``cubes``.
        future: frames to hide, for ``future``.
        cube: frames, rows and columns of a cube, for ``cubes``.
        ratio: share of the cubes to hide, in (0, 1), for ``cubes``.
        width: channels of the decoder.

    Raises:
        UserError: another ``hide``, a number out of range, or an input that does not tell what is
            hidden; in the first step, clips too short for ``future`` or too small for two cubes.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> task = Reconstruct(build_encoder("r3d_small"), hide="future", future=2)
        >>> shown, hidden = task.hide_part(torch.rand(1, 3, 8, 48, 48), torch.tensor([0]))
        >>> torch.equal(shown[:, :, 7], shown[:, :, 5]), hidden[0, 0, :, 0, 0].tolist()
        (True, [False, False, False, False, False, False, True, True])
    """

    accepts = frozenset({"clips"})
    step: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        hide: Hidden = "cubes",
        future: int = 2,
        cube: Sequence[int] = (2, 16, 16),
        ratio: float = 0.5,
        width: int = 32,
    ) -> None:
        super().__init__()
        if hide not in get_args(Hidden):
            known = ", ".join(get_args(Hidden))
            raise UserError(f"method.hide = {hide}", "is nothing to hide", f"use {known}")
        given = encoder.spec.get("input", "rgb")
        if given not in INPUTS[hide]:
            reason = f"does not tell what method.hide={hide} hides"
            raise UserError(f"clip.input = {given}", reason, f"use {', '.join(INPUTS[hide])}")
        if len(cube) != 3 or min(cube) < 1:
            reason = "is not frames, rows and columns of at least 1"
            raise UserError(f"method.cube = {list(cube)}", reason, "use [2, 16, 16]")
        check_range("method.future", future, "[1, inf)")
        check_range("method.ratio", ratio, "(0, 1)")
        check_range("method.width", width, "[1, inf)")
        self.encoder = encoder
        self.decoder = MapDecoder(encoder.dim, encoder.strides, width=width)
        self.hide, self.future, self.ratio = hide, future, ratio
        self.cube = (cube[0], cube[1], cube[2])
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The square error over what is hidden; see :meth:`cvrl.task.Task.forward`.

        ``relative_error`` is the error as a share of that of leaving what is shown as it is.
        """
        V = batch.clips_BVCTHW.shape[1]
        clips_NCTHW = batch.clips_BVCTHW.flatten(0, 1)
        shown_NCTHW, hidden_NCTHW = self.hide_part(clips_NCTHW, batch.video_id_B, V)
        maps = self.encoder.stages(shown_NCTHW)
        T, H, W = clips_NCTHW.shape[2:]
        painted_NCTHW = self.decoder(maps["res5"], (T, H, W))
        error_N = masked_square(clips_NCTHW - shown_NCTHW - painted_NCTHW, hidden_NCTHW)
        untouched_N = masked_square(clips_NCTHW - shown_NCTHW, hidden_NCTHW)
        return {
            "loss": dist.global_mean(error_N),
            "relative_error": error_N.detach().sum() / untouched_N.sum().clamp(min=1e-12),
            "embedding_ND": F.normalize(maps["pooled"].detach().float(), dim=1),
        }

    def after_step(self, step: int) -> None:
        """Count the step, from which the cubes are drawn."""
        self.step.fill_(step + 1)

    def hide_part(
        self, clips_NCTHW: Tensor, video_id_B: Tensor, clips: int = 1
    ) -> tuple[Tensor, Tensor]:
        """What is shown of the clips, and which values are hidden.

        Args:
            clips_NCTHW: the clips, those of one video next to each other.
            video_id_B: their videos; with the step they decide the cubes, whatever the rank.
            clips: V, clips of each video.

        Returns:
            Clips of the same shape, and a mask that broadcasts to it.
        """
        if self.hide == "colour":
            luma_C = clips_NCTHW.new_tensor(LUMA).view(1, 3, 1, 1, 1)
            grey = (clips_NCTHW * luma_C).sum(dim=1, keepdim=True).expand_as(clips_NCTHW)
            return grey, torch.ones_like(clips_NCTHW[:1, :1], dtype=torch.bool)
        if self.hide == "future":
            return self._hide_future(clips_NCTHW)
        hidden_N1THW = torch.stack(
            [
                self._cubes(clips_NCTHW.shape, video, clip)
                for video in video_id_B.tolist()
                for clip in range(clips)
            ]
        ).to(clips_NCTHW.device)
        return clips_NCTHW.masked_fill(hidden_N1THW, 0.0), hidden_N1THW

    def _hide_future(self, clips_NCTHW: Tensor) -> tuple[Tensor, Tensor]:
        T = clips_NCTHW.shape[2]
        if self.future >= T:
            reason = f"leaves nothing to see of a clip of {T} frames"
            raise UserError(f"method.future = {self.future}", reason, f"use {max(1, T // 4)}")
        seen = T - self.future
        last = clips_NCTHW[:, :, seen - 1 : seen].expand(-1, -1, self.future, -1, -1)
        hidden_T = torch.arange(T, device=clips_NCTHW.device) >= seen
        shown_NCTHW = torch.cat([clips_NCTHW[:, :, :seen], last], dim=2)
        return shown_NCTHW, hidden_T.view(1, 1, T, 1, 1)

    def _cubes(self, shape: Sequence[int], video: int, clip: int) -> Tensor:
        """The mask (1, T, H, W) of a clip: cubes of a grid, drawn by (step, video, clip)."""
        T, H, W = shape[2:]
        grid = [-(-size // side) for size, side in zip((T, H, W), self.cube, strict=True)]
        count = grid[0] * grid[1] * grid[2]
        if count < 2:
            reason = f"covers a clip of {T} frames of {H}x{W} pixels"
            raise UserError(f"method.cube = {list(self.cube)}", reason, "use smaller cubes")
        hidden = min(max(round(self.ratio * count), 1), count - 1)
        drawn = torch.randperm(count, generator=torch_generator(int(self.step), video, clip))
        mask = (drawn < hidden).view(grid)
        for axis, side in enumerate(self.cube):
            mask = mask.repeat_interleave(side, dim=axis)
        return mask[None, :T, :H, :W]


def masked_square(error_NCTHW: Tensor, hidden: Tensor) -> Tensor:
    """The mean square of each clip's hidden values.

    Args:
        error_NCTHW: of all values.
        hidden: mask that broadcasts to it.

    Returns:
        (N,), float32 (float64 for float64 input) under autocast too.

    Example:
        >>> error = torch.tensor([3.0, 5.0]).view(1, 1, 2, 1, 1)
        >>> masked_square(error, torch.tensor([True, False]).view(1, 1, 2, 1, 1)).tolist()
        [9.0]
    """
    precise = error_NCTHW if error_NCTHW.dtype == torch.float64 else error_NCTHW.float()
    hidden = hidden.expand_as(precise)
    return (precise.square() * hidden).sum(dim=(1, 2, 3, 4)) / hidden.sum(dim=(1, 2, 3, 4))


METHOD = Reconstruct
