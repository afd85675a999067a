"""The published augmentation recipes, one function each, with every strength a keyword.

``build(name, size, **keywords)`` finds them by name for a config.
"""

from collections.abc import Callable
from typing import Any, Literal

from cvrl.transforms.background import EraseBackground
from cvrl.transforms.colour import ColorJitter, Grayscale, Normalize, Solarize
from cvrl.transforms.filters import Cutout, GaussianBlur, GaussianNoise, Sobel
from cvrl.transforms.geometry import (
    CenterCrop,
    HorizontalFlip,
    RandomResizedCrop,
    Resize,
    Rotate,
)
from cvrl.transforms.op import Op
from cvrl.transforms.recipe import Recipe
from cvrl.utils.checks import check_keywords, nearest
from cvrl.utils.errors import UserError

__all__ = [
    "RECIPES",
    "Recipe",
    "build",
    "cvrl",
    "evaluation",
    "light",
    "rho",
    "single",
    "supervised",
]

Range = tuple[float, float]
Ops = list[Op[Any]]
Transform = Literal[
    "crop_resize",
    "crop_resize_flip",
    "drop",
    "jitter",
    "rotate",
    "cutout",
    "noise",
    "blur",
    "sobel",
    "flip",
]


def cvrl(
    size: int = 224,
    *,
    area: Range = (0.3, 1.0),
    aspect: Range = (0.5, 2.0),
    flip_p: float = 0.5,
    jitter_p: float = 0.8,
    jitter_strength: float = 1.0,
    grey_p: float = 0.2,
    blur_p: Range = (1.0, 0.1),
    blur_sigma: Range = (0.1, 2.0),
    solarise_p: Range = (0.0, 0.2),
    erase_p: float = 0.0,
    erase_weight: Range = (0.0, 0.3),
    normalise: bool = False,
    consistent: bool = True,
) -> Recipe:
    """CVRL's recipe as its authors' code has it: two unlike views, A and B in turn.

    Qian et al., Spatiotemporal Contrastive Video Representation Learning, arXiv 2008.03800, and
    ``official/projects/video_ssl`` of tensorflow/models. In this order: crop, flip, jitter, grey,
    blur, solarise; all drawn once a clip. One deviation: the resized crop is rounded to the nearest
    of 256 levels, where the original rounds down.

    Args:
        size: side of the clips in pixels.
        area: share of the frame that is kept.
        aspect: width over height of the crop.
        flip_p: probability of mirroring.
        jitter_p: probability of colour jitter.
        jitter_strength: 1 is brightness, contrast and saturation 0.8, and hue 0.2.
        grey_p: probability of dropping the colour.
        blur_p: probability of blur in views A and B.
        blur_sigma: standard deviation of the blur in pixels. The original is made for 224 pixels
            and does not scale it, only its kernel, a tenth of the height.
        solarise_p: probability of solarising views A and B, at 0.5.
        erase_p: probability of adding a frame of the clip to all its frames (background erasing).
        erase_weight: range of that frame's weight.
        normalise: subtract 0.45 and divide by 0.225 at the end.
        consistent: draw once a clip; False draws for every frame (the ablation).

    Example:
        >>> import torch
        >>> clips_VCTHW = torch.zeros(2, 3, 8, 120, 160, dtype=torch.uint8)
        >>> clips = cvrl(size=64)(clips_VCTHW, torch.Generator().manual_seed(0))
        >>> clips.shape, clips.dtype
        (torch.Size([2, 3, 8, 64, 64]), torch.float32)
    """
    crop = RandomResizedCrop(size=size, area=area, aspect=aspect, law="height")
    flip, grey = HorizontalFlip(p=flip_p), Grayscale(p=grey_p)
    shared: Ops = [crop, flip, _jitter(jitter_p, jitter_strength), grey]
    views: list[Ops] = [
        [
            *shared,
            GaussianBlur(p=blur, sigma=blur_sigma),
            Solarize(p=solarise),
            *_erase(erase_p, erase_weight),
            *_normalise(normalise),
        ]
        for blur, solarise in zip(blur_p, solarise_p, strict=True)
    ]
    return Recipe(views, consistent=consistent)


def rho(
    size: int = 224,
    *,
    area: Range = (0.2, 0.766),
    aspect: Range = (3 / 4, 4 / 3),
    flip_p: float = 0.5,
    jitter_p: float = 0.8,
    jitter: float = 0.6,
    hue: float = 0.15,
    grey_p: float = 0.2,
    blur_p: float = 0.5,
    blur_sigma: Range = (0.1, 2.0),
    erase_p: float = 0.0,
    erase_weight: Range = (0.0, 0.3),
    short_side: Range | None = None,
    grey_first: bool = False,
    normalise: bool = True,
    consistent: bool = True,
) -> Recipe:
    """The recipe of MoCo, BYOL, SimCLR and SwAV on rho clips, all views alike.

    Feichtenhofer et al., A Large-Scale Study on Unsupervised Spatiotemporal Representation
    Learning, arXiv 2104.14558, and facebookresearch/SlowFast. Two deviations. The original jitters
    and blurs the decoded frames, then crops; we crop first, which leaves far fewer pixels to touch,
    so contrast is about the mean of the crop and sigma counts its pixels. The original blurs the
    frames stacked into one tall image, which mixes the rows of neighbours; we blur each alone.

    Args:
        size: side of the clips in pixels.
        area: share of the frame that is kept.
        aspect: width over height of the crop.
        flip_p: probability of mirroring.
        jitter_p: probability of colour jitter.
        jitter: strength of brightness, contrast and saturation.
        hue: strength of hue.
        grey_p: probability of dropping the colour.
        blur_p: probability of blur.
        blur_sigma: standard deviation of the blur in pixels.
        erase_p: probability of adding a frame of the clip to all its frames (background erasing).
        erase_weight: range of that frame's weight.
        short_side: in place of area and aspect, see :class:`RandomResizedCrop`; for fine-tuning.
        grey_first: drop the colour before the jitter, as SlowFast does in fine-tuning.
        normalise: subtract 0.45 and divide by 0.225 at the end.
        consistent: draw once a clip; False draws for every frame.

    Example:
        >>> rho(size=112).normalised
        True
    """
    colours = ColorJitter(
        p=jitter_p,
        brightness=jitter,
        contrast=jitter,
        saturation=jitter,
        hue=hue,
        model="torchvision",
    )
    grey = Grayscale(p=grey_p)
    colour_ops: Ops = [grey, colours] if grey_first else [colours, grey]
    ops: Ops = [
        RandomResizedCrop(size=size, area=area, aspect=aspect, short_side=short_side),
        HorizontalFlip(p=flip_p),
        *colour_ops,
        GaussianBlur(p=blur_p, sigma=blur_sigma, padding="replicate"),
        *_erase(erase_p, erase_weight),
        *_normalise(normalise),
    ]
    return Recipe([ops], consistent=consistent)


def supervised(
    size: int = 224,
    *,
    area: Range = (0.3, 1.0),
    aspect: Range = (0.5, 2.0),
    flip_p: float = 0.5,
    jitter_p: float = 0.8,
    jitter_strength: float = 0.0,
    short_side: Range | None = None,
    normalise: bool = False,
    consistent: bool = True,
) -> Recipe:
    """Training with labels: crop, flip and, if asked for, light jitter.

    The defaults are those of CVRL's linear evaluation on Kinetics.

    Args:
        size: side of the clips in pixels.
        area: share of the frame that is kept.
        aspect: width over height of the crop.
        flip_p: probability of mirroring.
        jitter_p: probability of colour jitter, where it has any strength.
        jitter_strength: as in :func:`cvrl`; 0 leaves colours alone.
        short_side: in place of area and aspect, see :class:`RandomResizedCrop`; SlowFast's.
        normalise: subtract 0.45 and divide by 0.225 at the end.
        consistent: draw once a clip; False draws for every frame.

    Example:
        >>> len(supervised(size=112).views[0])
        2
    """
    ops: Ops = [
        RandomResizedCrop(size=size, area=area, aspect=aspect, law="height", short_side=short_side),
        HorizontalFlip(p=flip_p),
        *([_jitter(jitter_p, jitter_strength)] if jitter_strength > 0 else []),
        *_normalise(normalise),
    ]
    return Recipe([ops], consistent=consistent)


def light(
    size: int = 112,
    *,
    area: Range = (0.3, 1.0),
    aspect: Range = (3 / 4, 4 / 3),
    flip_p: float = 0.5,
    jitter_p: float = 0.8,
    jitter_strength: float = 0.4,
    grey_p: float = 0.2,
    blur_p: float = 0.0,
    erase_p: float = 0.0,
    erase_weight: Range = (0.0, 0.3),
    normalise: bool = False,
    consistent: bool = True,
) -> Recipe:
    """A weaker recipe for small data and short training, all views alike. Not from a paper.

    Args:
        size: side of the clips in pixels.
        area: share of the frame that is kept.
        aspect: width over height of the crop.
        flip_p: probability of mirroring.
        jitter_p: probability of colour jitter.
        jitter_strength: as in :func:`cvrl`.
        grey_p: probability of dropping the colour.
        blur_p: probability of blur, as in :func:`cvrl`.
        erase_p: probability of adding a frame of the clip to all its frames (background erasing).
        erase_weight: range of that frame's weight.
        normalise: subtract 0.45 and divide by 0.225 at the end.
        consistent: draw once a clip; False draws for every frame.

    Example:
        >>> light(size=64, jitter_strength=0.2).consistent
        True
    """
    ops: Ops = [
        RandomResizedCrop(size=size, area=area, aspect=aspect),
        HorizontalFlip(p=flip_p),
        _jitter(jitter_p, jitter_strength),
        Grayscale(p=grey_p),
        GaussianBlur(p=blur_p),
        *_erase(erase_p, erase_weight),
        *_normalise(normalise),
    ]
    return Recipe([ops], consistent=consistent)


def evaluation(size: int, *, resize: int | None = None, normalise: bool = False) -> Recipe:
    """The deterministic transform of test clips: resize the short side, cut out the centre.

    Args:
        size: side of the clips in pixels.
        resize: length of the short side before the cut; None for ``size``.
        normalise: subtract 0.45 and divide by 0.225 at the end.

    Returns:
        A recipe that needs no generator and takes (..., C, T, H, W).

    Raises:
        UserError: ``resize`` is smaller than ``size``.

    Example:
        >>> import torch
        >>> evaluation(64)(torch.zeros(3, 8, 120, 160, dtype=torch.uint8)).shape
        torch.Size([3, 8, 64, 64])
    """
    if resize is not None and resize < size:
        raise UserError(
            f"resize = {resize}", f"is smaller than the crop of {size}", "give at least the crop"
        )
    ops: Ops = [Resize(size=resize or size), CenterCrop(size=size), *_normalise(normalise)]
    return Recipe([ops])


def single(size: int = 224, *, transform: Transform, consistent: bool = True) -> Recipe:
    """One of the ten transforms that SimCLR compares, always applied, and nothing else.

    Chen et al., arXiv 2002.05709, figure 4. All but the crops work on the resized centre.

    Args:
        size: side of the clips in pixels.
        transform: which one.
        consistent: draw once a clip; False draws for every frame.

    Example:
        >>> single(64, transform="cutout").views[0][-1]
        Cutout(p=1.0, area=(0.1, 0.3), aspect=(1.0, 1.0), value=0.0)
    """
    centre: Ops = [Resize(size=size), CenterCrop(size=size)]
    crop = RandomResizedCrop(size=size)
    ops: dict[Transform, Ops] = {
        "crop_resize": [crop],
        "crop_resize_flip": [crop, HorizontalFlip(p=0.5)],
        "drop": [*centre, Grayscale()],
        "jitter": [*centre, _jitter(1.0, 1.0)],
        "rotate": [*centre, Rotate()],
        "cutout": [*centre, Cutout()],
        "noise": [*centre, GaussianNoise()],
        "blur": [*centre, GaussianBlur()],
        "sobel": [*centre, Sobel()],
        "flip": [*centre, HorizontalFlip()],
    }
    if transform not in ops:
        raise UserError(f"transform = {transform}", "is not known", nearest(transform, ops))
    return Recipe([ops[transform]], consistent=consistent)


RECIPES: dict[str, Callable[..., Recipe]] = {
    "cvrl": cvrl,
    "rho": rho,
    "supervised": supervised,
    "light": light,
    "evaluation": evaluation,
    "single": single,
}


def build(name: str, size: int, /, **keywords: Any) -> Recipe:
    """The recipe called ``name``.

    Args:
        name: a key of ``RECIPES``.
        size: side of the clips in pixels.
        keywords: other keywords of the function of that name.

    Raises:
        UserError: the name or a keyword is unknown, or a value of the wrong type or out of range.

    Example:
        >>> build("light", 64, flip_p=0.0).views[0][1]
        HorizontalFlip(p=0.0)
        >>> build("cvlr", 64)
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: augment.name = cvlr: not a recipe; did you mean cvrl?
    """
    if name not in RECIPES:
        raise UserError(f"augment.name = {name}", "not a recipe", nearest(name, RECIPES))
    check_keywords("augment", RECIPES[name], keywords, provided={"size"})
    return RECIPES[name](size=size, **keywords)


def _jitter(p: float, strength: float) -> ColorJitter:
    strong = 0.8 * strength
    return ColorJitter(
        p=p, brightness=strong, contrast=strong, saturation=strong, hue=0.2 * strength
    )


def _erase(p: float, weight: Range) -> Ops:
    """After all that draws, so that the other draws do not depend on it."""
    return [EraseBackground(p=p, weight=weight)] if p else []


def _normalise(wanted: bool) -> list[Normalize]:
    return [Normalize()] if wanted else []
