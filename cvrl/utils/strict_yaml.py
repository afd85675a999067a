"""YAML without its surprises: no key twice, and scalars that mean what they look like.

PyYAML follows YAML 1.1, where the last of two equal keys wins in silence, ``1e-6`` is text, ``on``
is true, ``010`` is eight and ``1:30`` is ninety.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from cvrl.utils.errors import UserError


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping a YAML file holds; an empty file is an empty mapping.

    Raises:
        UserError: the file cannot be read, is not YAML, gives a key twice, or holds no mapping.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.yaml"
        >>> _ = file.write_text("lr: 1e-6")
        >>> read_yaml(file)
        {'lr': 1e-06}
    """
    remedy = "give the path of a YAML config, such as those in configs/"
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise UserError(path, (error.strerror or str(error)).lower(), remedy) from error
    except UnicodeDecodeError as error:
        raise UserError(path, "is not a text file", remedy) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(path, "holds no `key: value` lines", remedy)
    return {str(key): value for key, value in content.items()}


def parse_yaml(text: str, source: str) -> Any:
    r"""The value a YAML text stands for.

    Args:
        text: one YAML document.
        source: where it comes from, for the message.

    Raises:
        UserError: the text is not YAML or gives a key twice; the message has the line.

    Example:
        >>> parse_yaml("{a: 1e-3, b: on}", "here")
        {'a': 0.001, 'b': 'on'}
        >>> parse_yaml("a: 1\na: 2", "here")
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: here, line 2: key a is given twice, see line 1; keep one
    """
    try:
        loader = _Loader(text)
        loader.name = source
        return loader.get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = f"{source}, line {mark.line + 1}" if mark else source
        problem = getattr(error, "problem", None) or str(error)
        raise UserError(line, f"is not YAML: {problem}", "mend it there") from error


def dump_yaml(content: object) -> str:
    """Plain values as YAML, in the order given, such that :func:`parse_yaml` reads them back.

    Example:
        >>> print(dump_yaml({"lr": 1e-6, "text": "1e-6", "on": [1, None]}), end="")
        lr: 1.0e-06
        text: '1e-6'
        'on':
        - 1
        - null
    """
    text: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            line = key.start_mark.line + 1
            if key.value in lines:
                twice = f"key {key.value} is given twice, see line {lines[key.value]}"
                raise UserError(f"{self.name}, line {line}", twice, "keep one")
            lines[key.value] = line
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes any text that this reader, or plain PyYAML, would take for something else."""

    def ignore_aliases(self, data: object) -> bool:
        return True  # a list met twice is written twice: anchors surprise people too


_FLOAT = re.compile(
    r"[-+]?(\d[\d_]*(\.[\d_]*(e[-+]?\d+)?|e[-+]?\d+)|\.\d[\d_]*(e[-+]?\d+)?|\.inf)$|\.nan$", re.I
)
_SCALARS = {
    "null": (re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    "int": (re.compile(r"[-+]?(0|[1-9][\d_]*)$"), list("-+0123456789")),
    "float": (_FLOAT, list("-+.0123456789")),
    "merge": (re.compile(r"<<$"), ["<"]),
}
_Loader.yaml_implicit_resolvers = {}
for _tag, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, _first)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", *_SCALARS["float"])
