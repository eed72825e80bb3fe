"""What sees every example of a TFMA run, and writes what it saw."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import apache_beam as beam
import tensorflow_model_analysis as tfma

from tfx_edge.components.core.evaluation.evaluators.predictions import STAGE_NAME
from tfx_edge.components.core.evaluation.evaluators.text_file import WriteTextFile

_Seen = TypeVar('_Seen')


@dataclasses.dataclass(frozen=True)
class Observer:
    """A TFMA evaluator, and the writers of what it finds."""

    evaluator: tfma.evaluators.Evaluator
    writers: tuple[tfma.writers.Writer, ...]


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
      name: of the stage, such as 'CountAgreement'.
      path: of the file.
      observe: what is seen of TFMA's extracts: of a batch, behind the predictions.
      total: adds up, to the same in any order; also of nothing, and of its own results.
      as_text: of the sum.
      run_after: the stage behind which it sees them. Behind `tfma.extractors.SLICE_KEY_EXTRACTOR_STAGE_NAME` extracts
        are of one example, and have its label and slices.

    Returns:
      The observer.

    Example:
      >>> observer = adding_up('CountBatches', '/tmp/count.txt', lambda batch: 1, sum, str)
      >>> observer.evaluator.stage_name
      'CountBatches'
    """
    key = f'edge_{name}'
    return Observer(
        tfma.evaluators.Evaluator(
            stage_name=name, run_after=run_after, ptransform=_AddUp(key, observe, total)
        ),
        (text_writer(key, path, as_text),),
    )


def text_writer(key: str, path: str, as_text: Callable[[Any], str]) -> tfma.writers.Writer:
    """A TFMA writer of what an evaluator found under a key, as one text file.

    Args:
      key: of the evaluator's output.
      path: of the file.
      as_text: of what was found.

    Returns:
      The writer.
    """
    return tfma.writers.Writer(
        stage_name=f'Write_{key}',
        ptransform=tfma.writers.Write(key=key, ptransform=WriteTextFile(path, as_text)),
    )


class _AddUp(beam.PTransform):
    def __init__(self, key: str, observe: Callable[[Any], Any], total: Callable[[Any], Any]) -> None:
        super().__init__()
        self._key = key
        self._observe = observe
        self._total = total

    def expand(self, extracts: Any) -> dict[str, Any]:
        return {
            self._key: extracts
            | 'Observe' >> beam.Map(self._observe)
            | 'AddUp' >> beam.CombineGlobally(self._total)
        }
