"""The shape of the published tables, on nets that train in a minute: `make bench-tables`.

The data and the net of `compression_bench.py`, by tfx-edge at its defaults; pruning, clustering and quantization-aware
training take the same steps each. A row for each file of the deployment tree, then a line for each published figure:
ours, theirs, and whether it is reproduced. Without a published figure the line says whether it holds. Sizes are
compared as ratios, accuracies as differences in points, both the mean over the seeds. Accuracy is that of the file,
run by LiteRT on examples that nothing was trained or calibrated on.

The bounds were set before the first whole run. «The same» and «not worse» allow what one test example makes in each
seed; «about» allows a tenth to either side. All else has to be as published or better. The nets are small: an int8 file
has 8 kB beside its 40 kB of weights, so that the constants in the files are compared too.

The rows `outliers` are of another net, whose activations int8 cannot hold; it was found on a part of the training set
(`--validation`). Nothing of its files is kept float (`repair_fidelity` false).
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from compression_bench import (
    Data,
    activation_ranges,
    common_arguments,
    export,
    load_data,
    rows_of_seed,
    train_base,
)
from devices_bench import compress
from qat_bench import float_file, measure, quantized, trained_file

INT8, QAT = 'INT8', 'QAT'
_CALIBRATED = 200
_OUTLIERS_EVERY, _OUTLIER = 8, 300.0
# What Pruner and Clusterer are asked for.
TECHNIQUES: Mapping[str, Mapping[str, Any]] = {
    'zeros': {'target_sparsity': 0.5},
    'clusters': {'number_of_clusters': 16},
    'clusters per tensor': {'number_of_clusters': 16, 'granularity': 'TENSOR'},
    'clusters per channel': {'number_of_clusters': 16, 'granularity': 'CHANNEL'},
}


@dataclasses.dataclass(frozen=True)
class Course:
    """A model, and the files that are made of it.

    Attributes:
      rows: names in the table, by what makes the file: a mode of TFLiteQuantizer, or QAT.
      techniques: what comes before.
      net: that they start from.
    """

    rows: Mapping[str, str]
    techniques: tuple[str, ...] = ()
    net: str = 'base'


COURSES: Mapping[str, Course] = {
    'plain': Course(
        {'FLOAT32': 'float', 'FLOAT16': 'float16', 'DYNAMIC_INT8': 'dynamic int8', INT8: 'int8', QAT: 'QAT'}
    ),
    'zeros': Course({INT8: 'pruned', QAT: 'PQAT'}, ('zeros',)),
    'clusters': Course({INT8: 'clustered', QAT: 'CQAT'}, ('clusters',)),
    'clusters per tensor': Course(
        {INT8: 'clustered per tensor', QAT: 'CQAT per tensor'}, ('clusters per tensor',)
    ),
    'clusters per channel': Course(
        {INT8: 'clustered per channel', QAT: 'CQAT per channel'}, ('clusters per channel',)
    ),
    'zeros and clusters': Course({INT8: 'pruned and clustered', QAT: 'PCQAT'}, ('zeros', 'clusters')),
    'outliers': Course(
        {
            'FLOAT32': 'outliers float',
            'DYNAMIC_INT8': 'outliers dynamic int8',
            INT8: 'outliers int8',
            'INT16X8': 'outliers int16x8',
            QAT: 'outliers QAT',
        },
        net='outliers',
    ),
}


class Found:
    """The figures of all files of a data set: by seed, row and name."""

    def __init__(self, of_seeds: Sequence[Mapping[str, Mapping[str, float]]]) -> None:
        self._of_seeds = of_seeds
        self.rows = [*of_seeds[0]]

    def each(self, row: str, figure: str) -> list[float]:
        """A figure in each seed."""
        return [results[row][figure] for results in self._of_seeds]

    def mean(self, row: str, figure: str) -> float:
        """Its mean."""
        return float(np.mean(self.each(row, figure)))

    def points(self, row: str, beside: str) -> float:
        """How much more accurate a row is than another, in points, without what adding up rounds."""
        return round(100 * (self.mean(row, 'accuracy') - self.mean(beside, 'accuracy')), 9)

    def ratio(self, row: str, beside: str, figure: str) -> float:
        """A size as a part of that of another row."""
        return float(np.mean(np.divide(self.each(row, figure), self.each(beside, figure))))

    def won_back(self, row: str) -> float:
        """The part that a row has of the accuracy that `outliers int8` loses; 0 where it loses none."""
        lost = self.points('outliers float', 'outliers int8')
        return self.points(row, 'outliers int8') / lost if lost > 0 else 0.0

    @property
    def example(self) -> float:
        """What one test example makes in each seed, in points."""
        return round(100 / self.mean(self.rows[0], 'examples'), 9)


@dataclasses.dataclass(frozen=True)
class Claim:
    """A published figure, what the published ones have in common, or what is to hold beside them.

    Attributes:
      text: what is said.
      rows: that are compared.
      ours: the figure of these rows.
      holds: whether it is as published.
      published: theirs, as it is printed; '' where there is none.
      form: how ours is printed.
    """

    text: str
    rows: tuple[str, ...]
    ours: Callable[[Found], float]
    holds: Callable[[float, Found], bool]
    published: str
    form: str = '{:+.2f} points'


def _zip(row: str, size: float, beside: float, model: str) -> Claim:
    published = size / beside
    return Claim(
        f'zip of {row} to int8, at most',
        (row, 'int8'),
        lambda found: found.ratio(row, 'int8', 'zip'),
        lambda ours, _: ours <= published,
        f'{published:.3f} ({model})',
        '{:.3f}',
    )


def _gain(row: str, beside: str, accuracy: float, others: float, model: str) -> Claim:
    published = accuracy - others
    return Claim(
        f'accuracy of {row} less that of {beside}, at least',
        (row, beside),
        lambda found: found.points(row, beside),
        lambda ours, _: ours >= published,
        f'{published:+.2f} ({model})',
    )


def _part(row: str, part: float, published: str, figure: str = 'bytes') -> Claim:
    return Claim(
        f'{figure} of {row} to float, about {part:g}',
        (row, 'float'),
        lambda found: found.ratio(row, 'float', figure),
        lambda ours, _: abs(ours - part) <= part / 10,
        published,
        '{:.3f}',
    )


def _same(row: str) -> Claim:
    return Claim(
        f'accuracy of {row} the same as that of float',
        (row, 'float'),
        lambda found: found.points(row, 'float'),
        lambda ours, found: ours >= -found.example,
        'the same',
    )


def _not_worse(row: str, beside: str, published: str) -> Claim:
    return Claim(
        f'accuracy of {row} not worse than that of {beside}',
        (row, beside),
        lambda found: found.points(row, beside),
        lambda ours, found: ours >= -found.example,
        published,
    )


def _smaller(row: str, other: str) -> Claim:
    return Claim(
        f'zip of {row} less that of {other}, as parts of int8, below 0',
        (row, other, 'int8'),
        lambda found: found.ratio(row, 'int8', 'zip') - found.ratio(other, 'int8', 'zip'),
        lambda ours, _: ours < 0,
        'below both, without a figure',
        '{:+.3f}',
    )


def _rescue(float_: float, int8: float, int16: float, model: str) -> Claim:
    published = (int16 - int8) / (float_ - int8)
    return Claim(
        'part of what int8 loses that int16x8 wins back, at least',
        ('outliers float', 'outliers int8', 'outliers int16x8'),
        lambda found: found.won_back('outliers int16x8'),
        lambda ours, _: ours >= published,
        f'{published:.3f} ({model})',
        '{:.3f}',
    )


_PER_CHANNEL = '+0.49 (DS-CNN-L), +1.10 (MobileNet v2), +0.45 (MobileNet v2, pruned)'
CLAIMS = (
    Claim(
        'accuracy of QAT less that of int8, at least 0',
        ('QAT', 'int8'),
        lambda found: found.points('QAT', 'int8'),
        lambda ours, _: ours >= 0,
        '+0.24 (DS-CNN-L), +1.66 to +5.36 (MobileNet v1), -1.25 to +6.31 (MobileNet v2), +0.30 (Inception v3)',
    ),
    _part('int8', 0.25, '0.254, 0.257, 0.250, 0.252 (four nets of 14 MB and more)'),
    _part('int8', 0.25, '', 'constants'),
    _zip('PQAT', 303_997, 434_879, 'DS-CNN-L'),
    _zip('PQAT', 2_869_600, 3_880_331, 'MobileNet v1'),
    _zip('pruned', 334_154, 434_879, 'DS-CNN-L'),
    _zip('pruned', 2_939_734, 3_880_331, 'MobileNet v1'),
    _gain('PQAT', 'QAT', 94.13, 94.72, 'DS-CNN-L'),
    _gain('PQAT', 'QAT', 70.29, 70.67, 'MobileNet v1'),
    _gain('pruned', 'int8', 93.80, 94.48, 'DS-CNN-L'),
    _gain('pruned', 'int8', 67.82, 69.37, 'MobileNet v1'),
    _zip('CQAT', 1.94, 3.00, 'MobileNet v1, CIFAR-10'),
    _zip('CQAT', 2_912_655, 3_886_277, 'MobileNet v1, ImageNet'),
    _zip('clustered', 2.00, 3.00, 'MobileNet v1, CIFAR-10'),
    _zip('clustered', 3_035_752, 3_886_277, 'MobileNet v1, ImageNet'),
    _gain('CQAT', 'QAT', 94.52, 94.77, 'MobileNet v1, CIFAR-10'),
    _gain('CQAT', 'QAT', 65.42, 70.35, 'MobileNet v1, ImageNet'),
    _gain('clustered', 'int8', 94.41, 94.65, 'MobileNet v1, CIFAR-10'),
    _gain('clustered', 'int8', 60.60, 69.34, 'MobileNet v1, ImageNet'),
    _not_worse('CQAT per channel', 'CQAT per tensor', _PER_CHANNEL),
    _not_worse('CQAT', 'CQAT per tensor', ''),
    _smaller('PCQAT', 'PQAT'),
    _smaller('PCQAT', 'CQAT'),
    _not_worse('outliers float', 'float', ''),
    Claim(
        'accuracy that int8 loses, at least 1 point',
        ('outliers float', 'outliers int8'),
        lambda found: found.points('outliers float', 'outliers int8'),
        lambda ours, _: ours >= 1,
        '+37.54 (DeepSpeech), +86.73 (MobileBERT), +1.00 (wav2letter), +1.40 (YOLOv3)',
    ),
    # Error rates, which fall where accuracy rises, have the same parts.
    _rescue(6.13, 43.67, 6.52, 'DeepSpeech'),
    _rescue(88.81, 2.08, 88.73, 'MobileBERT'),
    _rescue(6.7, 7.7, 7.2, 'wav2letter'),
    _rescue(0.577, 0.563, 0.574, 'YOLOv3'),
    Claim(
        'part of what int8 loses that QAT wins back in int8, above 0',
        ('outliers float', 'outliers int8', 'outliers QAT'),
        lambda found: found.won_back('outliers QAT'),
        lambda ours, _: ours > 0,
        '',
        '{:.3f}',
    ),
    _part('float16', 0.5, '1/2'),
    _part('float16', 0.5, '', 'constants'),
    _same('float16'),
    _part('dynamic int8', 0.25, '1/4'),
    _part('dynamic int8', 0.25, '', 'constants'),
    _same('dynamic int8'),
)


def make_outliers(shape: tuple[int, ...]) -> Any:
    """A CNN of 41 thousand weights, one in eight of whose channels carries values 300 times as large as the others.

    Transformers have such outliers in a few channels (Bondarenko et al., 2021, arXiv:2109.12948). With one scale for
    all channels int8 has no step left for the others; int16 has a hundred. The kernel behind is depthwise and has a
    scale for each channel, so that eight bits are enough for the weights.
    """
    import tf_keras
    from tf_keras import Sequential, layers

    parts = [layers.Input(shape, name='image')]
    for filters in (16, 32, 64):
        gammas = np.where(np.arange(filters) % _OUTLIERS_EVERY, 1.0, _OUTLIER)
        parts += [
            layers.Conv2D(filters, 3, padding='same', use_bias=False),
            layers.BatchNormalization(gamma_initializer=tf_keras.initializers.Constant(gammas)),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, padding='same', use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
        ]
    head = [layers.Dropout(0.3), layers.Dense(16, activation='relu'), layers.Dense(10, activation='softmax')]
    return Sequential([*parts, layers.Flatten(), *head])


def keras_2_stage(arguments: argparse.Namespace) -> None:
    """Trains what all start from, in a process of Keras 2."""
    data = load_data(arguments.data, arguments.dataset, validation=arguments.validation)
    nets = {COURSES[course].net for course in arguments.courses}
    if 'base' in nets:
        export(train_base(data, arguments.seed), arguments.work / 'base')
    if 'outliers' in nets:
        export(train_base(data, arguments.seed, make_outliers), arguments.work / 'outliers')


def tfx_edge_stage(arguments: argparse.Namespace) -> None:
    """Makes the files of each course, and measures them."""
    from tfx_edge.components.core.litert.file.inspect import inspect_model

    data = load_data(arguments.data, arguments.dataset, validation=arguments.validation)
    for course in map(COURSES.__getitem__, arguments.courses):
        folder = arguments.work / course.net
        for technique in course.techniques:
            # Courses that begin alike share what they have in common.
            target = folder.with_name(f'{folder.name}, {technique}')
            if not target.exists():
                compress(arguments, folder, target, data, TECHNIQUES[technique])
            folder = target
        for kind, row in course.rows.items():
            file = _file(arguments, folder, data, kind)
            constants = sum(inspect_model(file).bytes_by_type.values())
            figures = {**measure(file, data), 'constants': constants, 'examples': len(data.y_test)}
            print(json.dumps({'row': row, **figures}), flush=True)


def _file(arguments: argparse.Namespace, folder: pathlib.Path, data: Data, kind: str) -> bytes:
    """The file of a SavedModel that QATTrainer trains, or that is made without training."""
    if kind == QAT:
        return trained_file(arguments, folder, data)[0]
    return quantized(folder, data) if kind == INT8 else _of_other_mode(folder, data, kind)


def _of_other_mode(folder: pathlib.Path, data: Data, mode: str) -> bytes:
    """A file in another mode than int8, over the same ranges of the same examples where it needs any."""
    from tfx_edge.components.core.litert.file.inspect import inspect_model
    from tfx_edge.components.core.litert.quantization.quantization_options import QuantizationOptions
    from tfx_edge.components.core.litert.quantization.quantize import quantize_model

    model, options = float_file(folder), QuantizationOptions(mode)
    if not options.needs_ranges:
        return quantize_model(model, options)
    (name,) = inspect_model(model).inputs
    chosen = np.random.default_rng(0).permutation(len(data.x_train))[:_CALIBRATED]
    return quantize_model(model, options, activation_ranges(model, name, data.x_train[chosen]))


def main() -> None:
    """Runs all seeds, and prints a table and the claims for each data set."""
    arguments = _arguments()
    if arguments.stage:
        {'keras 2': keras_2_stage, 'tfx-edge': tfx_edge_stage}[arguments.stage](arguments)
        return
    print(f'{arguments.steps} steps each; accuracy: mean (each seed); ratios: the mean over the seeds')
    for dataset in arguments.datasets:
        with concurrent.futures.ThreadPoolExecutor(arguments.processes) as pool:
            of_seeds = list(
                pool.map(
                    lambda seed, name=dataset: rows_of_seed(__file__, arguments, name, seed), arguments.seeds
                )
            )
        found = Found(of_seeds)
        _print_table(dataset, found)
        print('\n'.join(['', *_judged(dataset, found)]), flush=True)


def _print_table(dataset: str, found: Found) -> None:
    print(
        f'\n{dataset:22} accuracy                        file bytes  to float  zip bytes  to int8   zeros  distinct'
        '  integer'
    )
    for row in found.rows:
        each = ' '.join(f'{100 * accuracy:.2f}' for accuracy in found.each(row, 'accuracy'))
        own = 'outliers ' if row.startswith('outliers') else ''
        print(
            f'{row:22} {100 * found.mean(row, "accuracy"):6.2f} ({each:23}) {found.mean(row, "bytes"):10,.0f}'
            f'  {_ratio(found, row, f"{own}float", "bytes")}  {found.mean(row, "zip"):9,.0f}'
            f'  {_ratio(found, row, f"{own}int8", "zip")}  {found.mean(row, "zeros"):6.1%}'
            f'  {max(found.each(row, "distinct")):8.0f}  {found.mean(row, "integer"):7.1%}',
            flush=True,
        )


def _ratio(found: Found, row: str, beside: str, figure: str) -> str:
    """Empty where the other row was not asked for."""
    return f'{found.ratio(row, beside, figure):7.3f}' if beside in found.rows else f'{"":7}'


def _judged(dataset: str, found: Found) -> Iterator[str]:
    """A line for each claim whose rows are there, and how many hold."""
    claims = [claim for claim in CLAIMS if {*claim.rows} <= {*found.rows}]
    reproduced = 0
    for claim in claims:
        ours = claim.ours(found)
        holds = claim.holds(ours, found)
        verdict, beside = 'holds' if holds else 'DOES NOT HOLD', ''
        if claim.published:
            reproduced += holds
            verdict = 'reproduced' if holds else 'NOT reproduced'
            beside = f'  published: {claim.published}'
        yield f'{dataset:8} {verdict:14}  {claim.text:69} {claim.form.format(ours):13}{beside}'.rstrip()
    published = sum(bool(claim.published) for claim in claims)
    yield f'{dataset:8} {reproduced} of {published} reproduced; one test example a seed: {found.example:.2f} points'


def _arguments() -> argparse.Namespace:
    parser = common_arguments(__doc__)
    parser.add_argument('--courses', nargs='+', choices=list(COURSES), default=list(COURSES))
    parser.add_argument('--steps', type=int, default=1000, help='of each training')
    return parser.parse_args()


if __name__ == '__main__':
    main()
