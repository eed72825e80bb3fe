"""`report.html`: shows what `report.json` holds, and nothing else, whatever strings come in."""

from __future__ import annotations

import base64
import html.parser
import re
from typing import Any

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_edge.components.core.evaluation.report.flip_pictures import flip_pictures
from tfx_edge.components.core.evaluation.report.report_page import render_page

_HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;'


class _Page(html.parser.HTMLParser):
    """Tags with their attributes, and the text between."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._in_style = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_style = tag == 'style'

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if not self._in_style:
            self.text.append(data)


def _report(text: str = 'name', number: float = 0.123456789) -> dict[str, Any]:
    test = {'method': text, 'examples': 500, 'drop': number, 'lower': -number, 'upper': 2 * number}
    tests = [
        {'slice': [[text, text]], 'test': {**test, 'p_holds': number / 3}, 'outcome': 'holds', 'why': ''},
        {'slice': None, 'test': None, 'outcome': 'undecided', 'why': text},
    ]
    differences = [{'output': text, 'largest': number, 'mean': number / 7, 'mean_divergence': None}]
    return {
        'verdict': 'NOT_BLESSED',
        'reasons': [text],
        'notes': [text],
        'examples': 512,
        'gates': [{'name': text, 'measured': number, 'limit': 10, 'holds': False, 'detail': text}],
        'models': {'candidate': {'path': text, 'signature_name': text}},
        'metrics': [
            {
                'slice': [[text, 3]],
                'metrics': [
                    {
                        'name': text,
                        'model': 'candidate',
                        'output': text,
                        'sub_key': text,
                        'difference': False,
                        'value': 'nan',
                        'interval': [number, 17.25],
                    }
                ],
            }
        ],
        'comparison': {
            'not_compared': '',
            'slices': [{'slice': [], 'examples': 33, 'agreement': number, 'differences': differences}],
        },
        'non_inferiority': {
            'confidence': 0.95,
            'min_slice_examples': 100,
            'bless_undecided': False,
            'tests': [{'metric': text, 'output': text, 'margin': 0.01, **test} for test in tests],
        },
        'flips': {
            'not_told': '',
            'file': 'flips.tfrecord',
            'slices': [{'slice': [], 'examples': 33, 'labelled': 31, 'worse': 4, 'better': 1}],
            'listed': [
                {
                    'place': 0,
                    'slices': [text],
                    'outputs': [{'output': text, 'label': 7, 'candidate': 9, 'baseline': 7}],
                }
            ],
        },
        'file': {
            'file_bytes': 27904,
            'zip_bytes': 11718,
            'operators': 19,
            'float_operators': [text],
            'float_islands': [[text]],
            'integer_share': number,
            'inputs': {text: text},
            'outputs': {text: text},
            'kernel_zeros': 0.6,
            'kernel_max_distinct': 16,
        },
        'confusion': {
            'not_told': '',
            'outputs': [
                {'output': text, 'classes': 3, 'names': [text] * 3, 'models': [_confused([[5, 0, 2]] * 3)]},
                {'output': '', 'classes': 40, 'names': [], 'models': [_confused(None)]},
            ],
        },
        'figures': {text: {text: 4711, 'share': number, 'which': text, 'absent': None}},
        'outputs': [{'output': text, 'values': 330, 'at_lowest': 3, 'at_highest': 11, 'changes': True}],
        'runtime': {'package': text, 'kernels': text, 'threads': 1, 'largest_batch': 8},
        'layers': {
            'not_compared': '',
            'examples': 32,
            'tensors': [
                {'name': text, 'operator': text, 'dtype': text, 'rms': 2.5, 'error': number, 'share': number}
            ],
        },
        'weights': {
            'not_compared': '',
            'kernels': [
                {
                    'name': text,
                    'limit': number,
                    'before': [1, 5, 0],
                    'after': [0, 6, 0],
                    'distinct_before': 255,
                    'distinct_after': 16,
                    'zeros_before': 0,
                    'zeros_after': 63,
                }
            ],
        },
        'calibration_fit': {
            'not_judged': '',
            'examples': 300,
            'tensors': 8,
            'worst_tensors': [
                {'name': text, 'low': -number, 'high': number, 'clipping': 0.0, 'range_used': None}
            ],
        },
    }


def _confused(table: list[list[int]] | None) -> dict[str, Any]:
    pairs = [{'label': 23, 'answer': 37, 'examples': 9}]
    return {'model': 'candidate', 'table': table, 'without_answer': 4, 'most_confused': pairs}


def _numbers(value: Any) -> set[float]:
    """Every number of a report, and those in its strings."""
    if isinstance(value, bool) or value is None:
        return set()
    if isinstance(value, (int, float)):
        return {float(f'{value:.6g}'), float(value)}
    if isinstance(value, str):
        return {float(found) for found in re.findall(r'\d+', value)}
    parts = [*value, *value.values()] if isinstance(value, dict) else value
    return set().union(*(_numbers(part) for part in parts))


def test_every_number_shown_is_in_the_report() -> None:
    report = _report()
    text = ' '.join(_Page(render_page(report, {})).text)
    shown = {float(found.replace(',', '')) for found in re.findall(r'-?\d[\d,]*\.?\d*(?:e-?\d+)?', text)}
    assert shown <= _numbers(report)
    assert 4711 in shown
    assert len(shown) > 20


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40))
def test_no_string_becomes_markup(text: str) -> None:
    plain = _Page(render_page(_report('name'), {})).tags
    page = _Page(render_page(_report(text + _HOSTILE), {}))
    assert [tag for tag, _ in page.tags if tag != 'link'] == [tag for tag, _ in plain if tag != 'link']
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith('on')]


def test_page_needs_nothing_from_elsewhere() -> None:
    page = _Page(render_page(_report(), {0: ['data:image/png;base64,AAAA']}))
    links = [
        value for _, attributes in page.tags for name, value in attributes.items() if name in ('src', 'href')
    ]
    assert 'data:image/png;base64,AAAA' in links
    assert all(value is not None and value.startswith('data:') for value in links)
    assert 'script' not in {tag for tag, _ in page.tags}


def test_of_many_flips_a_few_are_shown_at_once_and_the_others_on_demand() -> None:
    report = _report()
    (flip,) = report['flips']['listed']
    report['flips']['listed'] = [{**flip, 'place': place} for place in range(100)]
    pictures = {place: [f'data:image/png;base64,{place:04}'] for place in range(100)}
    page = render_page(report, pictures)
    before, _, behind = page.partition('<details>')
    assert [text.count('data:image/png') for text in (before, behind)] == [12, 88]
    assert '<details>' not in render_page(_report(), {})


def test_a_report_without_a_baseline_has_no_parts_about_it() -> None:
    report = _report()
    for part in ('comparison', 'non_inferiority', 'flips', 'layers', 'weights'):
        del report[part]
    text = ' '.join(_Page(render_page(report, {})).text)
    assert 'Gates' in text
    assert 'Flips' not in text
    assert 'Non-inferiority' not in text
    assert 'before and after' not in text


def _record(**features: tf.train.Feature) -> bytes:
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _floats(values: np.ndarray) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values.ravel()))


def test_an_input_of_the_shape_of_an_image_is_shown() -> None:
    image = np.arange(16, dtype=np.float32).reshape(4, 4, 1) / 16
    records = [_record(image=_floats(image), other=_floats(image)), _record(other=_floats(image))]
    pictures = flip_pictures(records, {'image': (None, 4, 4, 1), 'other': (None, 16)})
    assert list(pictures) == [0]
    (uri,) = pictures[0]
    shown = tf.io.decode_png(base64.b64decode(uri.removeprefix('data:image/png;base64,'))).numpy()
    np.testing.assert_array_equal(shown, np.rint(image / image.max() * 255).astype(np.uint8))


def test_only_files_that_hold_pixels_are_shown() -> None:
    png = tf.io.encode_png(np.zeros((2, 2, 3), np.uint8)).numpy()
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    records = [
        _record(photo=tf.train.Feature(bytes_list=tf.train.BytesList(value=[content])))
        for content in (png, svg, png + bytes(200_000))
    ]
    assert list(flip_pictures(records, {})) == [0]


def test_values_that_are_no_finite_numbers_are_not_shown() -> None:
    values = np.full((2, 2, 1), np.nan, np.float32)
    assert flip_pictures([_record(image=_floats(values))], {'image': (None, 2, 2, 1)}) == {}
