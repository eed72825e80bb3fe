"""Names of EdgeSelector's own inputs, outputs and parameters."""

from __future__ import annotations

# Not 'selection', which is the output: parameters and outputs share one name space.
SELECTION_CONFIG = 'selection_config'
ROUTES = 'routes'

BLESSING = 'blessing'
SELECTION = 'selection'

REPORT_FILE = 'selection.json'
PAGE_FILE = 'selection.html'


def candidate(place: int) -> str:
    """The input that holds a candidate: one for each, since an input of a step on Kubeflow takes one artifact."""
    return f'candidate_{place}'


def evaluation(place: int) -> str:
    """The input that holds its evaluation."""
    return f'evaluation_{place}'
