"""Names that other libraries give to the tensors of a network, turned into an Encoder's.

Every tensor keeps its place in the order and none is dropped: what an Encoder has no place for
(classifiers, projectors, momentum encoders, queues) keeps its name, and is reported by who loads.

Where the names come from:

* pytorchvideo, torchvision: the libraries themselves, which the tests instantiate.
* SlowFast: ``slowfast/models/{stem,resnet,head}_helper.py`` and ``contrastive.py`` at 287ec00. A
  contrastive checkpoint holds the online network as ``backbone.``, the momentum network as
  ``backbone_hist.``, and ``queue_x``, ``ptr``, ``iter``, ``knn_mem.memory``, ``swav_prototypes``.
* CVRL: ``official/vision/modeling/backbones/resnet_3d.py`` and ``layers/nn_blocks_3d.py`` of
  tensorflow/models give the attributes of a block, the order in which its layers are made and the
  depths; ``official/projects/video_ssl/tasks/linear_eval.py`` reads what it needs as ``backbone``.
  How Keras turns those into names is not written there. It was seen by building a network with
  these attributes in TensorFlow 2.15 and listing its variables and its checkpoints; the features of
  that network came out the same here, on clips that the padding treats alike (see
  :func:`comes_from_tensorflow`). The published checkpoints themselves were not seen.
"""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from cvrl.models.backbones import STAGES, Encoder
from cvrl.utils.errors import UserError

# pytorchvideo's and torchvision's names of the parts of an Encoder.
_PARTS = {
    "blocks.0.": "stem.",
    **{f"blocks.{number}.": f"res{number + 1}." for number in (1, 2, 3, 4)},
    **{f"layer{number}.": f"res{number + 1}." for number in (1, 2, 3, 4)},
}

# torchvision's image ResNet: the names of its stem and of the layers of a block, by video family.
_BOTTLENECK_NAMES = {
    "conv1": "branch2.conv_a",
    "bn1": "branch2.norm_a",
    "conv2": "branch2.conv_b",
    "bn2": "branch2.norm_b",
    "conv3": "branch2.conv_c",
    "bn3": "branch2.norm_c",
    "downsample.0": "branch1_conv",
    "downsample.1": "branch1_norm",
}
_BASIC_NAMES = {
    "conv1": "conv1.0",
    "bn1": "conv1.1",
    "conv2": "conv2.0",
    "bn2": "conv2.1",
    "downsample.0": "downsample.0",
    "downsample.1": "downsample.1",
}

# The layers of a bottleneck block in the order that CVRL's code makes them.
_CONVS = ("branch1_conv", "branch2.conv_a", "branch2.conv_b", "branch2.conv_c")
_NORMS = ("branch1_norm", "branch2.norm_a", "branch2.norm_b", "branch2.norm_c")

_SLOWFAST_STEM = re.compile(r"s1\.pathway0_stem\.(conv|bn)\.(\w+)")
_SLOWFAST_BLOCK = re.compile(
    r"s([2-5])\.pathway0_res(\d+)\.((?:branch1|branch2\.[abc])(?:_bn)?)\.(\w+)"
)
_SLOWFAST_BRANCHES = ("branch1", "branch2.a", "branch2.b", "branch2.c")
_SLOWFAST_LAYERS = {
    **dict(zip(_SLOWFAST_BRANCHES, _CONVS, strict=True)),
    **{f"{branch}_bn": norm for branch, norm in zip(_SLOWFAST_BRANCHES, _NORMS, strict=True)},
}

_TF_ATTRIBUTES = {
    "_shortcut_conv": "branch1_conv",
    "_temporal_conv": "branch2.conv_a",
    "_spatial_conv": "branch2.conv_b",
    "_expand_conv": "branch2.conv_c",
    **{f"_norm{number}": layer for number, layer in enumerate(_NORMS)},
}
_TF_TENSORS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_TENSOR = f"(?P<tensor>{'|'.join(_TF_TENSORS)})"
_TF_OBJECT = re.compile(
    r"(?:backbone/|model/layer_with_weights-0/)?layer_with_weights-(?P<number>\d+)/"
    rf"(?:(?P<layer>_\w+)/)?{_TENSOR}/\.ATTRIBUTES/VARIABLE_VALUE"
)
_TF_VARIABLE = re.compile(
    r"(?:(?P<block>bottleneck_block3d(?:_\d+)?)/)?"
    rf"(?P<layer>(?:conv3d|(?:sync_)?batch_normalization)(?:_\d+)?)/{_TENSOR}(?::0)?"
)
_TF_DEPTHS = (3, 4, 6, 3)  # of R3D-50; the published checkpoints hold no other network
_TF_BLOCKS = [
    f"{stage}.res_blocks.{number}"
    for stage, depth in zip(STAGES, _TF_DEPTHS, strict=True)
    for number in range(depth)
]


def to_encoder_keys(
    state_dict: Mapping[str, Tensor], *, source: object = "weights"
) -> dict[str, Tensor]:
    """Rename the tensors of a video network to those of an Encoder.

    Known are pytorchvideo's and torchvision's networks, SlowFast's slow pathway and CVRL's R3D-50,
    whose kernels are turned from TensorFlow's (T, H, W, in, out) to (out, in, T, H, W). All other
    names stay, an Encoder's own among them.

    Args:
        state_dict: by the other library's names, without the prefixes of wrappers.
        source: where they come from, for the message.

    Returns:
        As many tensors, in the same order.

    Raises:
        UserError: two tensors would get one name.

    Example:
        >>> import torch
        >>> one = torch.ones(1)
        >>> list(to_encoder_keys({"blocks.1.a": one, "layer4.b": one, "fc.bias": one}))
        ['res2.a', 'res5.b', 'fc.bias']
        >>> list(to_encoder_keys({"s2.pathway0_res0.branch2.a_bn.bias": one}))
        ['res2.res_blocks.0.branch2.norm_a.bias']
    """
    from_tensorflow = _tensorflow_names(state_dict)
    renamed: dict[str, Tensor] = {}
    for name, tensor in state_dict.items():
        is_kernel = name in from_tensorflow and tensor.ndim == 5
        own = from_tensorflow.get(name) or _torch_name(name)
        if own in renamed:
            remedy = "save the encoder's state dict alone"
            raise UserError(source, f"holds two networks with a tensor {own}", remedy)
        renamed[own] = tensor.permute(4, 3, 0, 1, 2).contiguous() if is_kernel else tensor
    return renamed


def comes_from_tensorflow(names: Iterable[str]) -> bool:
    """Whether tensors of an R3D-50 of TensorFlow's Model Garden, which CVRL is, are among these.

    Such weights do not give CVRL's very features here. Where a layer of stride 2 meets an even
    size, TensorFlow's SAME padding puts less before than behind, (2, 3) for a kernel of 7 and
    (0, 1) for one of 3, where PyTorch puts (3, 3) and (1, 1): every window lies one pixel, and in
    the stem one frame, aside, through five such layers. An odd number of frames of 32 k + 1 pixels
    (17 frames of 225, say) never meets an even size, and gives what the original gives.

    Example:
        >>> comes_from_tensorflow(["conv3d/kernel:0", "dense/kernel:0"])
        True
        >>> comes_from_tensorflow(["s1.pathway0_stem.conv.weight"])
        False
    """
    return bool(_tensorflow_names(names))


def inflate(state_2d: Mapping[str, Tensor], encoder: Encoder) -> dict[str, Tensor]:
    """Turn the weights of torchvision's image ResNet into those of a video encoder.

    A kernel is repeated over the T frames that the video kernel sees and divided by T (Carreira
    and Zisserman, arXiv 1705.07750, section 2.4.1). So every convolution answers a still clip as
    the image network's does, but for first and last frames, which see zeros beyond the clip.

    Args:
        state_2d: ResNet-50 for ``r3d50`` and ``slow_r50``; ResNet-18 for ``r3d18``.
        encoder: gives the names and the T of every kernel; not changed.

    Returns:
        Tensors by the encoder's names, as many and in the same order.

    Raises:
        UserError: the encoder is ``r2plus1d18``, whose factored kernels no image network has.

    Example:
        >>> import torch
        >>> from cvrl.models.backbones import build_encoder
        >>> flat = {"conv1.weight": torch.ones(64, 3, 7, 7)}
        >>> inflate(flat, build_encoder("r3d18"))["stem.0.weight"].shape
        torch.Size([64, 3, 3, 7, 7])
    """
    name = encoder.spec["name"]
    if name == "r2plus1d18":
        remedy = "use r3d18, r3d50 or slow_r50, or weights of a video network"
        raise UserError(f"encoder.name = {name}", "cannot start from image weights", remedy)
    renamed = to_encoder_keys({_video_name(key, name): state_2d[key] for key in state_2d})
    own = encoder.state_dict()
    return {key: _over_time(tensor, own.get(key)) for key, tensor in renamed.items()}


def _torch_name(name: str) -> str:
    """The Encoder's name of a tensor of pytorchvideo, torchvision or SlowFast; others stay."""
    if stem := _SLOWFAST_STEM.fullmatch(name):
        return f"stem.{'conv' if stem[1] == 'conv' else 'norm'}.{stem[2]}"
    if block := _SLOWFAST_BLOCK.fullmatch(name):
        stage, number, layer, rest = block.groups()
        return f"res{stage}.res_blocks.{number}.{_SLOWFAST_LAYERS[layer]}.{rest}"
    part = next((part for part in _PARTS if name.startswith(part)), "")
    return _PARTS.get(part, "") + name.removeprefix(part)


def _tensorflow_names(names: Iterable[str]) -> dict[str, str]:
    """The Encoder's names of those that are of CVRL's R3D-50, as a checkpoint or as variables."""
    given = list(names)
    by_object = {name: _object_name(name) for name in given}
    return _variable_names(given) | {name: own for name, own in by_object.items() if own}


def _object_name(name: str) -> str | None:
    """From the path that a TF2 checkpoint keeps a tensor under, as tf.train.list_variables tells.

    The layers that have weights are numbered as they follow each other: the stem's convolution,
    its norm, then the blocks.
    """
    found = _TF_OBJECT.fullmatch(name)
    if not found:
        return None
    number, layer, tensor = int(found["number"]), found["layer"], found["tensor"]
    if layer is None and number <= 1:
        return f"stem.{('conv', 'norm')[number]}.{_TF_TENSORS[tensor]}"
    if layer in _TF_ATTRIBUTES and 2 <= number < 2 + len(_TF_BLOCKS):
        return f"{_TF_BLOCKS[number - 2]}.{_TF_ATTRIBUTES[layer]}.{_TF_TENSORS[tensor]}"
    return None


def _variable_names(names: Iterable[str]) -> dict[str, str]:
    """From the names that Keras gives to variables: ``bottleneck_block3d_1/conv3d_2/kernel:0``.

    Numbers go up as layers are made, from where depends on what the process made before and on the
    version. So only their order is used: the first convolution and norm outside of blocks are the
    stem's, those after them belong to heads; in a block a shortcut, where there is one, comes
    first.
    """
    found = {name: match for name in names if (match := _TF_VARIABLE.fullmatch(name))}
    blocks = {match["block"] for match in found.values() if match["block"]}
    first = min(map(_number, blocks), default=0)
    own: dict[str, str] = {}
    for (block, is_conv), layers in _layers_by_place(found.values()).items():
        places = [f"stem.{'conv' if is_conv else 'norm'}"]
        if block:
            index = _number(block) - first
            if index >= len(_TF_BLOCKS) or len(layers) not in (3, 4):
                continue
            kinds = (_CONVS if is_conv else _NORMS)[-len(layers) :]
            places = [f"{_TF_BLOCKS[index]}.{kind}" for kind in kinds]
        place_of = dict(zip(layers[: len(places)], places, strict=True))
        for name, match in found.items():
            if match["block"] == block and match["layer"] in place_of:
                own[name] = f"{place_of[match['layer']]}.{_TF_TENSORS[match['tensor']]}"
    return own


def _layers_by_place(found: Iterable[re.Match[str]]) -> dict[tuple[str | None, bool], list[str]]:
    """The layers of each block (None: outside of blocks), in order, norms and others apart."""
    places: dict[tuple[str | None, bool], set[str]] = {}
    for match in found:
        place = (match["block"], match["layer"].startswith("conv3d"))
        places.setdefault(place, set()).add(match["layer"])
    return {place: sorted(layers, key=_number) for place, layers in places.items()}


def _number(layer: str) -> int:
    """The number that Keras puts behind the name of a layer, the first of which has none."""
    digits = re.search(r"_(\d+)$", layer)
    return int(digits[1]) if digits else 0


def _video_name(flat_name: str, encoder_name: str) -> str:
    """The name that a tensor of torchvision's image ResNet has in its video networks."""
    basic = encoder_name == "r3d18"
    layers = _BASIC_NAMES if basic else _BOTTLENECK_NAMES
    found = re.match(r"(?:(layer\d)\.(\d+)\.)?(conv\d|bn\d|downsample\.\d)(?=\.)", flat_name)
    if not found or found[3] not in layers:
        return flat_name
    stage, block, layer, rest = *found.groups(), flat_name[found.end() :]
    if stage is None:
        kind = "conv" if layer == "conv1" else "norm"
        return "stem." + ({"conv": "0", "norm": "1"}[kind] if basic else kind) + rest
    return f"{stage}.{block if basic else f'res_blocks.{block}'}.{layers[layer]}{rest}"


def _over_time(tensor: Tensor, target: Tensor | None) -> Tensor:
    if tensor.ndim != 4:
        return tensor
    frames = target.shape[2] if target is not None and target.ndim == 5 else 1
    return tensor.unsqueeze(2).repeat(1, 1, frames, 1, 1) / frames
