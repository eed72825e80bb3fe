"""Shows EdgeEvaluator's report in notebooks: `InteractiveContext.show(evaluator.outputs['edge_evaluation'])`."""

from __future__ import annotations

import html
import os

from tfx import types
from tfx.dsl.io import fileio
from tfx.orchestration.experimental.interactive import visualizations

from tfx_edge.components.edge_evaluator import keys
from tfx_edge.components.tfx_interface.artifact_types import EdgeEvaluation

_HEIGHT = '80vh'


class EdgeEvaluationView(visualizations.ArtifactVisualization):
    """Shows `report.html` in TFX's InteractiveContext; registered when EdgeEvaluator is imported.

    Example:
      ```python
      context = InteractiveContext()
      context.run(evaluator)
      context.show(evaluator.outputs['edge_evaluation'])
      ```
    """

    ARTIFACT_TYPE = EdgeEvaluation

    def display(self, artifact: types.Artifact) -> None:
        """Shows the page in a frame that runs no scripts and has its own styles.

        Args:
          artifact: of EdgeEvaluator.
        """
        import IPython.display  # only notebooks have it loaded

        with fileio.open(os.path.join(artifact.uri, keys.PAGE_FILE)) as file:
            page = html.escape(file.read())
        frame = f'<iframe sandbox style="width:100%;height:{_HEIGHT};border:0" srcdoc="{page}"></iframe>'
        IPython.display.display(IPython.display.HTML(frame))


def register() -> None:
    """Registers the view with TFX's InteractiveContext."""
    visualizations.get_registry().register(EdgeEvaluationView)
