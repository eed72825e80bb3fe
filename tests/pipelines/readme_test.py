"""The snippets in the README: a pipeline, and a stricter gate for it."""

from __future__ import annotations

import pytest

from tests.pipelines import readme_snippets
from tfx_edge.components import Clusterer, EdgeEvaluator, Pruner, QATTrainer, TFLiteQuantizer

pytestmark = pytest.mark.slow


def test_snippet_adds_the_five_components_to_a_pipeline() -> None:
    made = [type(value) for value in readme_snippets.run().values()]
    for component in (Pruner, Clusterer, QATTrainer, TFLiteQuantizer, EdgeEvaluator):
        assert component in made
