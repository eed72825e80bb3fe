"""What TFMA reports of a metric that fails, in one line."""

from __future__ import annotations

import contextlib
import re
import traceback
from collections.abc import Iterator

from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure

# How TFMA reports that a metric could not take an example; Beam appends the stage.
_NOT_TAKEN = re.compile(
    r'add_input failed on "<?(?:\w+\.)*_?(?P<metric>\w+)[^"]*" with inputs:\n'
    r"(?P<inputs>[^\n]*?)(?= \[while running '|\n|$)"
)
# In this file of TFMA metrics are computed, and nothing else: what fails below it is a metric's own code.
_COMPUTING = 'metrics_plots_and_validations_evaluator.py'
_FRAME = re.compile(r'^\s*File "(?P<file>[^"\n]+)", line (?P<line>\d+), in (?P<function>\S+)', re.MULTILINE)
_ENDS_TRACE = re.compile(r'^(?:\w+\.)*(?P<kind>[A-Z]\w*)(?:: (?P<said>[^\n]*))?$', re.MULTILINE)
_STAGE = " [while running '"
_LONGEST = 300


@contextlib.contextmanager
def metric_failures() -> Iterator[None]:
    """Says in one line which metric failed on what, or at which line of its code; TFMA's own error is pages long.

    Raises:
      EdgeError: a metric failed.

    Example:
      ```
      with metric_failures(), make_pipeline() as pipeline:
          pipeline | ReadExamples(files) | tfma.ExtractEvaluateAndWriteResults(eval_config=config)
      ```
    """
    try:
        yield
    except (EdgeError, EnvironmentFailure):
        raise
    except Exception as error:
        line = _line(error)
        if not line:
            raise
        raise EdgeError(line) from error


def _line(error: Exception) -> str:
    text = str(error)
    if found := _NOT_TAKEN.search(text):
        return (
            f'TFMA cannot compute a metric of eval_config: its {found["metric"]} cannot take '
            f'{found["inputs"][:_LONGEST]}; expected labels that the metric is for, and predictions that are finite '
            'numbers. Correct one of the three.'
        )
    # A worker in another process sends its trace as text.
    trace = '\n'.join(traceback.format_exception(error))
    computing = [frame for frame in _FRAME.finditer(trace) if frame['file'].endswith(_COMPUTING)]
    end = _ENDS_TRACE.search(trace, computing[-1].end()) if computing else None
    if end is None:
        return ''
    place = [*_FRAME.finditer(trace, computing[-1].start(), end.start())][-1]
    said = (end['said'] or '').partition(_STAGE)[0].strip('\'"')[:_LONGEST]
    return (
        f'TFMA cannot compute the metrics of eval_config: {end["kind"]}: {said} ({place["function"]} in '
        f'{place["file"]}, line {place["line"]}); expected metrics that fit labels and predictions. Correct that '
        'metric, or leave it out.'
    )
