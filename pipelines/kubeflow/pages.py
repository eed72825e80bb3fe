"""The page of an evaluation as an artifact that Kubeflow's dashboard shows."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from typing import Any

from kfp.pipeline_spec import pipeline_spec_pb2

from tfx_edge.components.edge_evaluator.keys import PAGE_FILE
from tfx_edge.pipelines.kubeflow.launcher_messages import title

# The dashboard draws artifacts of this type, each a single file.
_HTML = {'schemaTitle': 'system.HTML', 'schemaVersion': '0.0.1'}
_EVALUATION_TITLE = 'title: tfx_edge.EdgeEvaluation\n'
_SUFFIX = '_page'


def with_pages(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A spec in which every component that evaluates has one more output for the page, such as 'edge_evaluation_page'.

    Args:
      spec: a PipelineSpec as JSON.

    Returns:
      A changed copy.

    Example:
      >>> spec = with_pages(job['pipelineSpec'])
    """
    changed = copy.deepcopy(dict(spec))
    for component in changed['components'].values():
        outputs = component.get('outputDefinitions', {}).get('artifacts', {})
        for key in sorted(outputs):
            if outputs[key]['artifactType'].get('instanceSchema', '').startswith(_EVALUATION_TITLE):
                outputs[key + _SUFFIX] = {'artifactType': dict(_HTML)}
    return changed


def page_uris(executor_input: pipeline_spec_pb2.ExecutorInput) -> dict[str, str]:
    """Where the launcher wants the pages of a step: URIs, by the key of the evaluation."""
    return {
        key.removesuffix(_SUFFIX): page.uri
        for key, artifacts in executor_input.outputs.artifacts.items()
        for page in artifacts.artifacts
        if key.endswith(_SUFFIX) and title(page.type) == _HTML['schemaTitle']
    }


def write_pages(
    uris: Mapping[str, str], executor_input: pipeline_spec_pb2.ExecutorInput, path: Callable[[str], str]
) -> None:
    """Copies the pages of a step to where the launcher wants them.

    Args:
      uris: what `page_uris` said.
      executor_input: of the step, with paths in place of URIs.
      path: returns the path of an artifact's files for its URI.
    """
    from tfx.dsl.io import fileio

    for key, uri in uris.items():
        (evaluation,) = executor_input.outputs.artifacts[key].artifacts
        target = path(uri)
        fileio.makedirs(os.path.dirname(target))
        fileio.copy(os.path.join(evaluation.uri, PAGE_FILE), target, overwrite=True)
