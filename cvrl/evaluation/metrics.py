"""The metrics of the protocols: title, unit, direction and chance level of each score."""

from dataclasses import dataclass
from typing import Literal

Direction = Literal["higher", "lower"]


@dataclass(frozen=True)
class Metric:
    """How a score is named and read.

    Attributes:
        title: name and unit, the header of a table's column.
        better: whether a higher or a lower value is better.
        chance: how the chance level is found.
    """

    title: str
    better: Direction = "higher"
    chance: str = "a random ranking"

    @property
    def direction(self) -> str:
        """The direction in words.

        Example:
            >>> METRICS["alignment_error"].direction
            'lower is better'
        """
        return f"{self.better} is better"


_CLASS = "the most frequent class"
_MATCH = "a random match"
ROW_TITLES = {"untrained": "random init", "random_init": "random init"}
METRICS = {
    "top1": Metric("top-1 %", chance=_CLASS),
    "top5": Metric("top-5 %", chance=_CLASS),
    "mean_class": Metric("mean class %", chance=_CLASS),
    **{f"r{k}": Metric(f"R@{k} %") for k in (1, 5, 10, 20, 50)},
    "map": Metric("mAP %"),
    "map_micro": Metric("mAP (micro) %"),
    "alignment_error": Metric("alignment error %", "lower", _MATCH),
    "forward": Metric("first to second %", "lower", _MATCH),
    "backward": Metric("second to first %", "lower", _MATCH),
    "kendall_tau": Metric("Kendall's tau x100", chance=_MATCH),
}


def metric(name: str) -> Metric:
    """The metric of a score; a score that the table does not name is higher-is-better.

    Example:
        >>> metric("r5").title, metric("other").title
        ('R@5 %', 'other')
    """
    return METRICS.get(name, Metric(name))


def row_title(name: str) -> str:
    """The title of a row of results, in tables and on pages.

    Example:
        >>> row_title("untrained"), row_title("hog_mbh")
        ('random init', 'hog_mbh')
    """
    return ROW_TITLES.get(name, name)
