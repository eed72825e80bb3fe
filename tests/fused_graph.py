"""What an engine starts for a pipeline of Beam, found without starting anything."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NoReturn

import apache_beam as beam
import pytest
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import translations
from apache_beam.runners.runner import PipelineRunner

# Beam arguments with which a pipeline is built, and not run.
ONLY_BUILT = ('--runner=tests.fused_graph.OnlyBuilt', '--sdk_container_image=none')
_STAGE = 'beam:runner:executable_stage:v1'
# What the engine does itself, as Beam's portable runner for Flink has it.
_OF_ENGINE = frozenset(
    {
        common_urns.primitives.IMPULSE.urn,
        common_urns.primitives.GROUP_BY_KEY.urn,
        common_urns.primitives.FLATTEN.urn,
        common_urns.composites.RESHUFFLE.urn,
    }
)


class OnlyBuilt(PipelineRunner):
    """A runner that hands back the pipeline in place of running it."""

    def run_pipeline(self, pipeline: beam.Pipeline, options: Any) -> NoReturn:
        raise _Built(pipeline.to_runner_api())


class _Built(BaseException):
    """Passes what turns errors of a pipeline into lines."""

    def __init__(self, pipeline: beam_runner_api_pb2.Pipeline) -> None:
        super().__init__()
        self.pipeline = pipeline


def built(run: Callable[[], object]) -> beam_runner_api_pb2.Pipeline:
    """The pipeline that a function builds and runs with the arguments ONLY_BUILT."""
    with pytest.raises(_Built) as raised:
        run()
    return raised.value.pipeline


def operators(pipeline: beam_runner_api_pb2.Pipeline) -> list[str]:
    """The operators of Flink's graph, each of which is a task on every slot: one line for each, with its kind.

    Beam's own optimizer fuses transforms into stages, as its portable runners do. A stage is an operator, and so is
    each of its outputs where it has several (Flink takes them apart), and the sink of one without any; an impulse, a
    grouping and a reshuffle are too. A flattening is none: what comes behind it reads from several operators.
    """
    fused = translations.optimize_pipeline(
        copy.deepcopy(pipeline), translations.standard_optimize_phases(), _OF_ENGINE, partial=False
    )
    found = []
    for transform in fused.components.transforms.values():
        urn = transform.spec.urn
        if urn == _STAGE:
            outputs = len(transform.outputs)
            found.append(f'stage {transform.unique_name}')
            found += [f'output {name}' for name in transform.outputs] if outputs > 1 else []
            found += [f'sink of {transform.unique_name}'] if not outputs else []
        elif urn in _OF_ENGINE and urn != common_urns.primitives.FLATTEN.urn:
            found.append(f'{urn.split(":")[-2]} {transform.unique_name}')
    return found
