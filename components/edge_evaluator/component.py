"""EdgeEvaluator: decides whether a `.tflite` file ships."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow_model_analysis as tfma
from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.orchestration import data_types
from tfx.types import component_spec, standard_artifacts, system_executions

import tfx_edge
from tfx_edge import proto
from tfx_edge.components.edge_evaluator import eval_config_property, executor, keys, notebook_view, options
from tfx_edge.components.tfx_interface import artifacts, exec_properties
from tfx_edge.components.tfx_interface.artifact_types import EdgeEvaluation

notebook_view.register()


class EdgeEvaluatorSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of EdgeEvaluator."""

    PARAMETERS = {
        keys.EVAL_CONFIG: component_spec.ExecutionParameter(type=str),
        keys.EDGE: component_spec.ExecutionParameter(type=str),
        keys.EXAMPLE_SPLITS: component_spec.ExecutionParameter(type=str),
        exec_properties.VERSION: component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        artifacts.MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model),
        artifacts.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
        keys.BASELINE_MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
        artifacts.SCHEMA: component_spec.ChannelParameter(type=standard_artifacts.Schema, optional=True),
        artifacts.TRANSFORM_GRAPH: component_spec.ChannelParameter(
            type=standard_artifacts.TransformGraph, optional=True
        ),
    }
    OUTPUTS = {
        keys.EVALUATION: component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        keys.BLESSING: component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        keys.EDGE_EVALUATION: component_spec.ChannelParameter(type=EdgeEvaluation),
    }
    TYPE_ANNOTATION = system_executions.Evaluate


class EdgeEvaluator(base_beam_component.BaseBeamComponent):
    """Evaluates a `.tflite` file on the runtime that devices use, and blesses it or not.

    Metrics, slices and thresholds are TFMA's, as in TFX's Evaluator; `edge` adds the limits of a
    device. The model is blessed when every threshold and every limit holds; all are checked even after
    one fails, and `report.json` says what was measured. A model that answers NaN or infinity, or the same to every
    example, is never blessed, and neither is one for which `eval_config` sets no threshold. Nor, unless `edge`
    switches it off, is a file with integer activations whose ranges do not fit the examples, as when it was calibrated
    on noise: they cut off too much (`max_clipping`) or are many times too wide (`min_range_used`).

    `max_metric_drop` demands statistical evidence that a metric is not worse than the baseline's by a margin, on
    all examples and on each slice. It takes metrics of `eval_config` that are means over examples: accuracies
    (a score test for paired proportions) and losses (a paired bootstrap). Each test holds, fails or is
    undecided; an undecided one, as on a slice with fewer than `min_slice_examples`, lets the model pass only with
    `bless_undecided`. Where there is no baseline yet (a first run), all are undecided, and so
    are `min_agreement` and `max_latency_ratio`.

    `devices` names hardware that is not here, whose maker's tool reports what the file costs: Arm's Ethos-U NPUs (Vela:
    cycles, milliseconds, memory, operators left to the CPU; extra `ethos-u`) and TensorFlow Lite Micro (its arena and
    the file's bytes; of the file that `Quantization.for_micro` writes, where there is one; extra `tflite-micro`).
    Beside a baseline, the report and the log say what that costs as an int8 file, so that what zeros and clusters save
    is seen. `web` is a web page on this host: LiteRT.js in Chromium without a window runs the file, and a baseline's
    own file in turns with it; `max_milliseconds` is a limit on the median. A tool that is not installed is reported as
    absent; a limit on what it would report then fails.

    A signature named in a ModelSpec is the one called; where none is named, a SavedModel baseline is called by
    the signature of the candidate's name, or else by its first dense numeric one.

    Example:
      ```python
      evaluator = EdgeEvaluator(
          model=quantizer.outputs['model'],
          examples=example_gen.outputs['examples'],
          baseline_model=trainer.outputs['model'],
          eval_config=tfma.EvalConfig(
              model_specs=[tfma.ModelSpec(label_key='label')],
              slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=['country'])],
              metrics_specs=[tfma.MetricsSpec(metrics=[tfma.MetricConfig(
                  class_name='SparseCategoricalAccuracy',
                  threshold=tfma.MetricThreshold(
                      value_threshold=tfma.GenericValueThreshold(lower_bound={'value': 0.9}),
                      change_threshold=tfma.GenericChangeThreshold(
                          direction=tfma.MetricDirection.HIGHER_IS_BETTER,
                          absolute={'value': -0.015})))])]),
          edge=proto.EdgeEvaluation(
              max_zip_bytes=200_000,
              devices=[{'name': 'ethos-u55-128', 'max_cycles': 2_000_000, 'max_cpu_operators': 2}],
              max_metric_drop=[{'metric': 'SparseCategoricalAccuracy', 'margin': 0.01}]))
      pusher = Pusher(model=quantizer.outputs['model'], model_blessing=evaluator.outputs['blessing'], ...)
      ```

    Component `outputs` contains:
      - `evaluation`: ModelEvaluation; `tfma.load_eval_result` loads it.
      - `blessing`: ModelBlessing, which TFX's Pusher takes.
      - `edge_evaluation`: `tfx_edge.EdgeEvaluation` with `report.json` (its schema:
        `core/evaluation/report/report.schema.json`): verdict, reasons, limits with what was measured, metrics by slice,
        confusion, sizes, peak memory of activations, share of integer ops, float islands, how well the calibrated
        ranges fit the examples, and against the baseline agreement, differences of outputs, flips, every test by
        slice, the error of each tensor and histograms of weights (of the file made of a SavedModel). Beside it
        `flips.tfrecord`, where there are labels and a baseline: examples that the baseline answers right and the
        model wrong, at most `max_flips_listed`, each with both answers. `report.html` shows all of it on one page,
        flips as pictures where an input is an image; it needs no network.
    """

    SPEC_CLASS = EdgeEvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        *,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        baseline_model: types.BaseChannel | None = None,
        schema: types.BaseChannel | None = None,
        transform_graph: types.BaseChannel | None = None,
        eval_config: tfma.EvalConfig | str | data_types.RuntimeParameter | None = None,
        edge: proto.EdgeEvaluation | str | data_types.RuntimeParameter | None = None,
        example_splits: Sequence[str] | None = None,
    ) -> None:
        """Constructs the component.

        Args:
          model: Channel of Model, the output of TFLiteQuantizer.
          examples: Channel of Examples, raw or transformed tf.Examples.
          baseline_model: Channel of Model with a SavedModel or a `.tflite` file, to compare with. Where the
            channel is empty when the step runs (a first run), thresholds on a change are not checked.
          schema: Channel of Schema, for types, defaults and variable lengths of the examples' features.
          transform_graph: Channel of TransformGraph, applied to raw examples (those of an ExampleGen are raw, those of
            Transform are not; for others the step decides by features, or an error asks); labels and slices may use
            its outputs.
          eval_config: TFMA's configuration, as Evaluator takes it; required. Its
            `preprocessing_function_names` are not called; `transform_graph` is applied instead.
          edge: limits on file size, latency, agreement, devices and more; None for the defaults.
          example_splits: names of the splits to evaluate on; ['eval'] if None.

        Raises:
          EdgeError: the configuration is out of range, or asks for what this version cannot do.
        """
        has_baseline = baseline_model is not None

        def check(config: proto.EdgeEvaluation) -> None:
            options.check_edge(config, has_baseline=has_baseline)

        parameters: dict[str, Any] = {
            keys.EVAL_CONFIG: eval_config_property.encode_eval_config(
                eval_config, has_baseline=has_baseline, has_transform_graph=transform_graph is not None
            ),
            keys.EDGE: exec_properties.encode(edge, proto.EdgeEvaluation, check),
            keys.EXAMPLE_SPLITS: options.encode_splits(example_splits),
            exec_properties.VERSION: tfx_edge.__version__,
        }
        configs = parameters[keys.EVAL_CONFIG], parameters[keys.EDGE]
        if all(isinstance(config, str) for config in configs):  # else checked when the step runs
            eval_config_property.check_tested_metrics(*configs)
        inputs = {
            artifacts.MODEL: model,
            artifacts.EXAMPLES: examples,
            keys.BASELINE_MODEL: baseline_model,
            artifacts.SCHEMA: schema,
            artifacts.TRANSFORM_GRAPH: transform_graph,
        }
        outputs = {
            keys.EVALUATION: types.Channel(type=standard_artifacts.ModelEvaluation),
            keys.BLESSING: types.Channel(type=standard_artifacts.ModelBlessing),
            keys.EDGE_EVALUATION: types.Channel(type=EdgeEvaluation),
        }
        super().__init__(spec=EdgeEvaluatorSpec(**parameters, **inputs, **outputs))
