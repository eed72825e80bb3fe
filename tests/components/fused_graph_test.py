"""How much an engine has to start for a step: it takes longer to start an operator than to run it on few examples."""

from __future__ import annotations

import pathlib
import shutil
from typing import Any

import pytest

from tests.components.executed import artifact, execute
from tests.fused_graph import ONLY_BUILT, built, operators

pytestmark = pytest.mark.slow


@pytest.fixture
def examples(digits_examples: pathlib.Path) -> Any:
    from tfx.types import artifact_utils, standard_artifacts

    made = artifact(standard_artifacts.Examples, digits_examples)
    made.split_names = artifact_utils.encode_split_names(['train', 'eval'])
    return made


@pytest.fixture
def trained(digits_saved_model: pathlib.Path, tmp_path: pathlib.Path) -> Any:
    from tfx.types import standard_artifacts

    shutil.copytree(digits_saved_model, tmp_path / 'trained' / 'Format-Serving')
    return artifact(standard_artifacts.Model, tmp_path / 'trained')


@pytest.fixture
def evaluator(examples: Any, trained: Any, digits_int8: bytes, tmp_path: pathlib.Path) -> list[str]:
    """The operators of EdgeEvaluator in the digits pipeline: two models, and slices by one feature."""
    from tfx.types import standard_artifacts

    from tfx_edge.components import EdgeEvaluator
    from tfx_edge.pipelines.digits.pipeline import LIMITS, eval_config

    (tmp_path / 'int8' / 'Format-Serving').mkdir(parents=True)
    (tmp_path / 'int8' / 'Format-Serving' / 'tflite').write_bytes(digits_int8)
    inputs = {
        'model': artifact(standard_artifacts.Model, tmp_path / 'int8'),
        'baseline_model': trained,
        'examples': examples,
    }
    config = {'eval_config': eval_config(), 'edge': LIMITS}
    return operators(
        built(lambda: execute(EdgeEvaluator, tmp_path / 'run', inputs, beam_args=ONLY_BUILT, **config))
    )


def test_evaluator_of_two_models_is_at_most_60_operators(evaluator: list[str]) -> None:
    assert len(evaluator) <= 60, '\n'.join(evaluator)


def test_evaluator_adds_up_what_it_sees_where_it_sees_it(evaluator: list[str]) -> None:
    (predicting,) = (name for name in evaluator if 'Evaluate-PredictOnEdge_' in name)
    # What is seen of batches, what is seen of examples, and the records with the smallest hashes.
    assert predicting.count('/Sums/Precombine') == 2
    assert 'MeasureCalibrationFit/SmallestHashes/CombinePerKey/Precombine' in predicting


def test_calibration_is_at_most_20_operators(examples: Any, trained: Any, tmp_path: pathlib.Path) -> None:
    from tfx_edge import proto
    from tfx_edge.components import TFLiteQuantizer

    inputs = {'model': trained, 'examples': examples}
    config = {'quantization': proto.Quantization(mode=proto.Quantization.INT8)}
    found = operators(
        built(lambda: execute(TFLiteQuantizer, tmp_path / 'run', inputs, beam_args=ONLY_BUILT, **config))
    )
    assert any('Measure' in name for name in found)
    assert len(found) <= 20, '\n'.join(found)
