"""TFX's own examples and templates: their modules in the installed wheel, and data for them."""

from __future__ import annotations

import csv
import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

# Of the 15002 rides of the wheel's CSV file each fifth: some lack nearly everything, others nothing.
_EACH_RIDE = 5
# What stands in for the penguins, which the wheel has not: four measures of wines, three kinds.
_MEASURES = {
    'culmen_length_mm': 'alcohol',
    'culmen_depth_mm': 'flavanoids',
    'flipper_length_mm': 'color_intensity',
    'body_mass_g': 'proline',
}


@dataclasses.dataclass(frozen=True)
class TFXExample:
    """One of them.

    Attributes:
      preprocessing: the module with `preprocessing_fn`.
      trainer: the module with `run_fn`.
      write_data: writes the data into a folder.
      is_csv: whether the data is a CSV file, or tf.Examples.
      has_fixed_shapes: whether SchemaGen infers shapes, as in the example's own pipeline.
      metric: TFMA's name of the metric that its pipeline sets a threshold for.
      label: as its pipeline names it.
      signature: of serialized tf.Examples, which makes the label; '' where the label is a raw feature.
      inputs: what the model takes of Transform's outputs.
      legacy_keras: whether its modules need tf_keras for tf.keras, as do a model with inputs that it leaves unused and
        `model.save(save_format=...)`. Keras Tuner, on the other hand, takes models of Keras 3 alone.
      compared: whether its pipeline has stock Evaluator, and the Trainer's model as a float file to compare with it.
      tuned: whether its pipeline has a Tuner, and Resolvers for the models that were blessed last; it runs twice.
    """

    preprocessing: str
    trainer: str
    write_data: Callable[[pathlib.Path], None]
    metric: str
    label: str
    inputs: frozenset[str]
    is_csv: bool = True
    has_fixed_shapes: bool = True
    signature: str = 'transform_features'
    legacy_keras: bool = True
    compared: bool = False
    tuned: bool = False


def write_rides(folder: pathlib.Path) -> None:
    """Rides of Chicago's taxis, from the wheel."""
    from tfx.examples import chicago_taxi_pipeline

    source = pathlib.Path(chicago_taxi_pipeline.__file__).parent / 'data' / 'simple' / 'data.csv'
    header, *rides = source.read_text().splitlines()
    (folder / 'data.csv').write_text('\n'.join([header, *rides[::_EACH_RIDE]]) + '\n')


def write_penguins(folder: pathlib.Path) -> None:
    """178 wines with the columns of the penguins, each measure from 0 to 1 as in TFX's file."""
    from sklearn.datasets import load_wine

    wines = load_wine()
    columns = [wines.feature_names.index(name) for name in _MEASURES.values()]
    measures = wines.data[:, columns]
    scaled = (measures - measures.min(axis=0)) / np.ptp(measures, axis=0)
    with (folder / 'data.csv').open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow([*_MEASURES, 'species'])
        for row, kind in zip(scaled, wines.target, strict=True):
            writer.writerow([*(f'{value:.6f}' for value in row), kind])


def write_digits(folder: pathlib.Path) -> None:
    """scikit-learn's digits in the size and the range of MNIST's."""
    import tensorflow as tf
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = digits.images[..., np.newaxis].astype(np.float32) / 16 - 0.5
    images = tf.image.resize(small, (28, 28)).numpy().reshape(len(small), -1)
    with tf.io.TFRecordWriter(str(folder / 'digits.tfrecord.gz'), options='GZIP') as writer:
        for image, digit in zip(images, digits.target, strict=True):
            feature = {
                'image_floats': tf.train.Feature(float_list=tf.train.FloatList(value=image)),
                'image_class': tf.train.Feature(int64_list=tf.train.Int64List(value=[digit])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString(deterministic=True))


_EXAMPLES, _TEMPLATES = 'tfx.examples', 'tfx.experimental.templates'
_PENGUIN_INPUTS = frozenset(f'{name}_xf' for name in _MEASURES)
# The three census tracts and areas that the model takes, and leaves unused, are none of the file's inputs.
_TAXI_INPUTS = frozenset(
    f'{name}_xf'
    for name in (
        *('trip_miles', 'fare', 'trip_seconds', 'payment_type', 'company'),
        *('pickup_latitude', 'pickup_longitude', 'dropoff_latitude', 'dropoff_longitude'),
        *('trip_start_hour', 'trip_start_day', 'trip_start_month'),
    )
)

EXAMPLES = {
    'taxi': TFXExample(
        f'{_EXAMPLES}.chicago_taxi_pipeline.taxi_utils_native_keras',
        f'{_EXAMPLES}.chicago_taxi_pipeline.taxi_utils_native_keras',
        write_rides,
        'BinaryAccuracy',
        'tips_xf',
        _TAXI_INPUTS,
        has_fixed_shapes=False,
        compared=True,
    ),
    'penguin': TFXExample(
        f'{_EXAMPLES}.penguin.penguin_utils_keras',
        f'{_EXAMPLES}.penguin.penguin_utils_keras',
        write_penguins,
        'SparseCategoricalAccuracy',
        'species_xf',
        _PENGUIN_INPUTS,
        legacy_keras=False,
        compared=True,
        tuned=True,
    ),
    'mnist': TFXExample(
        f'{_EXAMPLES}.mnist.mnist_utils_native_keras',
        f'{_EXAMPLES}.mnist.mnist_utils_native_keras',
        write_digits,
        'SparseCategoricalAccuracy',
        'image_class',
        frozenset({'image_floats_xf'}),
        is_csv=False,
        signature='',
        legacy_keras=False,
    ),
    'penguin-template': TFXExample(
        f'{_TEMPLATES}.penguin.models.preprocessing',
        f'{_TEMPLATES}.penguin.models.model',
        write_penguins,
        'SparseCategoricalAccuracy',
        'species_xf',
        _PENGUIN_INPUTS,
    ),
    'taxi-template': TFXExample(
        f'{_TEMPLATES}.taxi.models.preprocessing',
        f'{_TEMPLATES}.taxi.models.keras_model.model',
        write_rides,
        'BinaryAccuracy',
        'tips_xf',
        frozenset({'trip_miles_xf', 'pickup_latitude_xf', 'trip_start_hour_xf'}),
    ),
}
