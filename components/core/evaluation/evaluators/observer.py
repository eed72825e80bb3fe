"""What sees every example of a run, how that is added up, and how the sums are written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import apache_beam as beam

from tfx_edge.components.core.evaluation.evaluators.predictions import STAGE_NAME
from tfx_edge.components.core.evaluation.evaluators.whole_file import write_text

_Seen = TypeVar('_Seen')
# The name of a Sum, a part of it ('' where it has only one), and what is added to that part.
Seen = tuple[str, str, Any]


@dataclasses.dataclass(frozen=True)
class Sum:
    """What is added up over all examples.

    All that is seen of the same extracts is added up by one step of Beam, and all of a run written by one: each step of
    its own would cost an engine such as Flink more than the adding.

    Attributes:
      name: of its own in a run; without a slash.
      combine: adds up each part, to the same in any order.
      write: writes a file, or several, of the sums by part; of none where nothing was seen.
      figure: makes what is written of a part and its sum; None for the sum itself. Parts are spread over the workers.
    """

    name: str
    combine: beam.CombineFn
    write: Callable[[Mapping[str, Any]], None]
    figure: Callable[[str, Any], Any] | None = None


@dataclasses.dataclass(frozen=True)
class Observer:
    """What sees every example of a run.

    Attributes:
      observe: what is seen of TFMA's extracts.
      sums: to which it is added.
      run_after: the stage behind which it sees them: of a batch behind `STAGE_NAME`, with the predictions. Behind
        `tfma.extractors.SLICE_KEY_EXTRACTOR_STAGE_NAME` extracts are of one example, and have its label and slices.
    """

    observe: Callable[[dict[str, Any]], Iterable[Seen]]
    sums: tuple[Sum, ...]
    run_after: str = STAGE_NAME


@dataclasses.dataclass(frozen=True)
class Branch:
    """Steps of Beam beside the observers', for what is more than a sum.

    Attributes:
      name: of its own in a run.
      transform: makes of TFMA's extracts, of batches behind the predictions, a collection of a few values.
      write: writes a file of these, which come in any order; of none where nothing was seen.
    """

    name: str
    transform: beam.PTransform
    write: Callable[[Sequence[Any]], None]


def adding_up(
    name: str,
    path: str,
    observe: Callable[[Mapping[str, Any]], _Seen],
    total: Callable[[Iterable[_Seen]], _Seen],
    as_text: Callable[[_Seen], str],
    *,
    run_after: str = STAGE_NAME,
) -> Observer:
    """An observer that adds up what it sees, and writes the sum as one text file.

    Args:
      name: of its own in a run, such as 'CountAgreement'.
      path: of the file.
      observe: what is seen of TFMA's extracts: of a batch, behind the predictions.
      total: adds up, to the same in any order; also of nothing, and of its own results.
      as_text: of the sum.
      run_after: the stage behind which it sees them (see `Observer`).

    Returns:
      The observer.

    Example:
      >>> observer = adding_up('CountBatches', '/tmp/count.txt', lambda batch: 1, sum, str)
      >>> list(observer.observe({}))
      [('CountBatches', '', 1)]
    """

    def write(sums: Mapping[str, _Seen]) -> None:
        write_text(path, as_text(sums[''] if sums else total(())))

    return Observer(
        lambda extracts: [(name, '', observe(extracts))],
        (Sum(name, beam.CombineFn.from_callable(total), write),),
        run_after,
    )
