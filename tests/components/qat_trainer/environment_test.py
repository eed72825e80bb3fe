"""What the machine lacks while a QATTrainer plans is no property of the model, which would then be trained in float."""

from __future__ import annotations

import numpy as np
import pytest

from tests.golden import files
from tfx_edge import proto
from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.dense_function.choice import choose_signature
from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.qat.deployment import plan_deployment
from tfx_edge.components.qat_trainer.options import qat_options

pytestmark = pytest.mark.slow


@pytest.mark.parametrize('error', [EdgeError('no integer file'), EnvironmentFailure('the disk is full')])
def test_only_the_model_s_own_fault_leaves_it_in_float(
    digits: dict[str, np.ndarray], error: Exception
) -> None:
    folder = str(files.saved_model('digits'))
    graph = ServingGraph(folder, choose_signature(folder))

    def sound(model: ModelFile, mode: str) -> tuple[str, ...]:
        raise error

    def plan() -> str:
        return plan_deployment(
            graph,
            qat_options(proto.QuantizationAwareTraining()),
            {'image': digits['x_train'][:8]},
            files.float_model('digits'),
            sound,
        ).fault

    if isinstance(error, EdgeError):
        assert plan() == 'no integer file'
    else:
        with pytest.raises(EnvironmentFailure, match='the disk is full'):
            plan()
