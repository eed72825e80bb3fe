"""The examples that a step trains on, and the one that is at fault where training ends in NaN."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tfx_edge.components.core.compression.graph.serving_graph import ServingGraph
from tfx_edge.components.core.compression.training.fine_tuning_options import FineTuningOptions
from tfx_edge.components.core.compression.training.training_data import (
    TrainingBatches,
    training_batches,
)
from tfx_edge.components.core.dense_function.preparation import preparation_of
from tfx_edge.components.core.errors import EdgeError, NotFiniteError
from tfx_edge.components.core.examples.example_parser import ExampleParser
from tfx_edge.components.core.examples.non_finite_features import non_finite_feature
from tfx_edge.components.core.examples.outlying_features import outlying_feature
from tfx_edge.components.tfx_interface import artifacts
from tfx_edge.components.tfx_interface.example_files import split_files
from tfx_edge.components.tfx_interface.example_parsing import example_parser
from tfx_edge.components.training.fine_tuning_options import require_no_examples_needed

# Arrays of shape (batch, ...) by input name.
Batches = Iterator[Mapping[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class TrainingExamples:
    """What is trained on: TFRecord files, and how they become batches."""

    files: Sequence[str]
    parser: ExampleParser
    batch_size: int
    seed: int

    def batches(self) -> TrainingBatches:
        """Batches without end, from their begin at each call."""
        return training_batches(self.files, self.parser, self.batch_size, self.seed)


@contextlib.contextmanager
def faults_of_examples(examples: TrainingExamples | None) -> Iterator[None]:
    """Where training ends in NaN for a value of an example, the error names the example, not the learning rate."""
    try:
        yield
    except NotFiniteError as error:
        if examples is None:
            raise
        consequence = str(error).split(';')[0]
        for search in (non_finite_feature, outlying_feature):
            if found := search(examples.files, examples.parser, consequence):
                raise found from error
        raise


def find_examples(
    input_dict: artifacts.ArtifactDict, graph: ServingGraph, options: FineTuningOptions
) -> TrainingExamples | None:
    """The examples that a step was given, if any.

    Args:
      input_dict: `examples`, and where given `schema` and `transform_graph`.
      graph: the signature, whose inputs they are to fill.
      options: which splits and label, how many at once, and in which order.

    Returns:
      The examples; None where none were given and none are needed.

    Raises:
      EdgeError: they are needed, or do not fit the signature.
    """
    if not input_dict.get(artifacts.EXAMPLES):
        require_no_examples_needed(options)
        return None
    for name, spec in graph.signature.inputs.items():
        if spec.shape[0] not in (None, options.batch_size):
            raise EdgeError(
                f'input {name!r} of signature {graph.signature.name!r} takes batches of {spec.shape[0]}; '
                f'expected an open batch dimension. Export the model with one, or set FineTuning.batch_size '
                f'to {spec.shape[0]} (now {options.batch_size}).'
            )
    parser = example_parser(
        input_dict,
        options.train_splits,
        graph.signature.inputs,
        label_key=options.label_key,
        preparation=preparation_of(graph.folder, graph.signature),
    )
    files = split_files(input_dict[artifacts.EXAMPLES], options.train_splits)
    return TrainingExamples(files, parser, options.batch_size, options.seed)
