"""Transforms of clips, consistent over time, and the published recipes made of them."""

from cvrl.transforms import recipes
from cvrl.transforms.background import EraseBackground
from cvrl.transforms.colour import ColorJitter, Grayscale, Normalize, Solarize
from cvrl.transforms.filters import Cutout, GaussianBlur, GaussianNoise, Sobel
from cvrl.transforms.geometry import (
    CenterCrop,
    HorizontalFlip,
    RandomCrop,
    RandomResizedCrop,
    Resize,
    Rotate,
)
from cvrl.transforms.op import Op
from cvrl.transforms.recipe import Recipe

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Cutout",
    "EraseBackground",
    "GaussianBlur",
    "GaussianNoise",
    "Grayscale",
    "HorizontalFlip",
    "Normalize",
    "Op",
    "RandomCrop",
    "RandomResizedCrop",
    "Recipe",
    "Resize",
    "Rotate",
    "Sobel",
    "Solarize",
    "recipes",
]
