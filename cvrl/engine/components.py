"""Build views and methods by name: ``{name: moco}`` is ``METHOD`` of ``cvrl/methods/moco.py``.

A name that ends in ``.py`` is the path of a file outside the package. A name that is no file of the
package is looked for among installed distributions, in the entry point groups ``cvrl.views`` and
``cvrl.methods``. A component whose keywords hold ``parts`` is made of others of its kind: each part
is built first, and the whole receives them under the names that they have in the config.
"""

import importlib
import importlib.util
import inspect
import logging
import sys
import zlib
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import cvrl
from cvrl.data.clips import ClipSpec
from cvrl.data.view_base import Views
from cvrl.models.backbones import Encoder
from cvrl.task import Task
from cvrl.utils.checks import check_keywords, nearest
from cvrl.utils.errors import UserError

logger = logging.getLogger("cvrl")

_FOLDERS = {"views": "views", "method": "methods"}
_BASES: dict[str, type] = {"views": Views, "method": Task}
Keywords = Mapping[str, Any]


def build_views(name: str, keywords: Keywords, spec: ClipSpec, place: str = "views") -> Views:
    """The pretext task called ``name``.

    Args:
        name: a file of ``cvrl/views``, the path of a ``.py`` file, or an entry point.
        keywords: of its constructor.
        spec: the shape of a clip.
        place: where in the config it stands, for messages.

    Raises:
        UserError: no such file, or a keyword that it does not have.
    """
    factory = _pick("views", name, place, "VIEWS")
    given, built = dict(keywords), {}
    if "parts" in inspect.signature(factory).parameters:
        built["parts"] = {
            key: build_views(name, rest, spec, inner)
            for key, name, rest, inner in _parts(given.pop("parts", None), place)
        }
    check_keywords(place, factory, given, provided={"spec", *built})
    views: Views = factory(spec, **built, **given)
    return views


def build_method(
    name: str,
    keywords: Keywords,
    encoder: Encoder,
    facts: Mapping[str, Any],
    views: Views,
    place: str = "method",
) -> Task:
    """The method called ``name`` over an encoder.

    Args:
        name: a file of ``cvrl/methods``, the path of a ``.py`` file, or an entry point.
        keywords: of its constructor.
        encoder: what it trains.
        facts: of the data and the run, taken by constructor keywords of their names.
        views: what it is to compare; their ``order_classes``, ``clips``, ``negatives`` and
            ``predict`` are facts too.
        place: where in the config it stands, for messages.

    Raises:
        UserError: no such file, a keyword that it does not have, or views it cannot compare.
    """
    factory = _pick("method", name, place, "METHOD")
    check_pairing(name, factory, views, place)
    parameters = inspect.signature(factory).parameters
    known: dict[str, Any] = {
        **facts,
        "order_classes": views.order_classes,
        "clips": views.clips,
        "negatives": views.negatives,
        "predict": views.predict,
    }
    given, built = dict(keywords), {key: known[key] for key in parameters if key in known}
    if "parts" in parameters:
        views_of: Mapping[str, Views] = views.parts  # type: ignore[attr-defined]
        built["clips_of"] = {key: part.clips for key, part in views_of.items()}
        built["parts"] = {
            key: build_method(
                name, rest, encoder, facts, _views_of_part(key, views_of, place), inner
            )
            for key, name, rest, inner in _parts(given.pop("parts", None), place)
        }
    check_keywords(place, factory, given, provided={"encoder", *built})
    method: Task = factory(encoder, **built, **given)
    return method


def needs_labels(name: str, keywords: Keywords) -> bool:
    """Whether the method called ``name`` trains on labels of the data, with these keywords.

    Example:
        >>> needs_labels("finetune", {}), needs_labels("simclr", {})
        (True, False)
        >>> needs_labels("classify", {"target": "arrangement"}), needs_labels("classify", {})
        (False, True)
    """
    factory = _pick("method", name, "method", "METHOD")
    parameters = inspect.signature(factory).parameters
    if "parts" in parameters:
        parts = _parts(keywords.get("parts"), "method")
        return any(needs_labels(part, rest) for _, part, rest, _ in parts)
    target = parameters["target"].default if "target" in parameters else None
    return bool(factory.needs_labels or keywords.get("target", target) == "labels")


def check_pairing(name: str, method: type[Task], views: Views, place: str = "method") -> None:
    """Refuse views that a method cannot compare.

    Raises:
        UserError: naming the views that it can.
    """
    if not views.kinds & method.accepts:
        fitting = [other for other in names("views") if _kinds(other) & method.accepts]
        raise UserError(
            f"{place}.name = {name}",
            f"cannot compare what the views offer ({', '.join(sorted(views.kinds))})",
            f"use views {', '.join(fitting)}",
        )
    if views.clips < method.least_clips:
        raise UserError(
            f"{place.replace('method', 'views')}.clips = {views.clips}",
            f"method {name} compares at least {method.least_clips} clips of a video",
            f"set it to {method.least_clips}",
        )


def names(section: str) -> list[str]:
    """The files of ``cvrl/views`` or ``cvrl/methods``.

    Example:
        >>> "temporal_pair" in names("views"), "simclr" in names("method")
        (True, True)
    """
    folder = Path(inspect.getfile(cvrl)).parent / _FOLDERS[section]
    return sorted(file.stem for file in folder.glob("[a-z]*.py"))


def _kinds(views_name: str) -> frozenset[str]:
    kinds: frozenset[str] = importlib.import_module(f"cvrl.views.{views_name}").VIEWS.kinds
    return kinds


def _pick(section: str, name: str, place: str, constant: str) -> Any:
    if name.endswith(".py"):
        return _from_file(Path(name), f"{place}.name = {name}", constant)
    folder = _FOLDERS[section]
    if name in names(section):
        return getattr(importlib.import_module(f"cvrl.{folder}.{name}"), constant)
    installed = entry_points(group=f"cvrl.{folder}")
    if name not in installed.names:
        remedy = nearest(name, [*names(section), *sorted(installed.names)])
        raise UserError(f"{place}.name = {name}", f"no such file in cvrl/{folder}", remedy)
    return _from_distribution([*installed.select(name=name)], section, f"{place}.name = {name}")


def _from_distribution(found: list[EntryPoint], section: str, place: str) -> Any:
    """The component of an installed distribution that has an entry point for it."""
    owners = sorted({f"{point.dist.name} {point.dist.version}" for point in found if point.dist})
    if len({point.value for point in found}) > 1:
        reason = f"is a name of several distributions: {', '.join(owners)}"
        raise UserError(place, reason, "uninstall all but one")
    try:
        component = found[0].load()
    except Exception as error:
        reason = f"{', '.join(owners)} cannot be imported: {type(error).__name__}: {error}"
        raise UserError(place, reason, "install it again, or ask its authors") from error
    base = _BASES[section]
    if not (inspect.isclass(component) and issubclass(component, base)):
        reason = f"{found[0].value} of {', '.join(owners)} is no class derived from {base.__name__}"
        raise UserError(place, reason, "see docs/extending.md for an example")
    logger.info("%s: of %s", place, ", ".join(owners))
    return component


def _from_file(path: Path, place: str, constant: str) -> Any:
    """The component that a Python file outside the package holds; the file is run once."""
    path = path.resolve()
    module_name = f"cvrl_plugin_{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None or not path.is_file():
            raise UserError(place, "no such file", "give the path of a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module  # where pickle looks for the class
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[module_name]
            reason = f"cannot be imported: {type(error).__name__}: {error}"
            raise UserError(place, reason, "see docs/extending.md for an example") from error
    if not hasattr(sys.modules[module_name], constant):
        raise UserError(
            place, f"defines no {constant}", f"end the file with {constant} = YourClass"
        )
    return getattr(sys.modules[module_name], constant)


def _parts(given: Any, place: str) -> Iterator[tuple[str, str, Keywords, str]]:
    """Of each part: its key, the name of its class, the other keywords, its place in the config."""
    if not isinstance(given, Mapping) or not given:
        remedy = f"set {place}.parts.first.name and so on"
        raise UserError(f"{place}.parts", "names no parts", remedy)
    for key, part in given.items():
        inner = f"{place}.parts.{key}"
        if not isinstance(part, Mapping) or "name" not in part:
            raise UserError(inner, "has no name", f"set {inner}.name")
        rest = {keyword: value for keyword, value in part.items() if keyword != "name"}
        yield str(key), str(part["name"]), rest, inner


def _views_of_part(key: str, views_of: Mapping[str, Views], place: str) -> Views:
    if key not in views_of:
        have = ", ".join(views_of) or "none"
        reason = f"has no views of that name (the views have {have})"
        raise UserError(f"{place}.parts.{key}", reason, f"add views.parts.{key}.name")
    return views_of[key]
