"""Names that come from models, examples and configurations: data on the page and in the JSON, whatever they hold."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.components.core.evaluation.report.report_page_test import _Page, _report
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.model_files.first_run import try_model
from tfx_edge.components.core.evaluation.model_files.range_probe import RangeProbe, integer_tensors
from tfx_edge.components.core.evaluation.report import evaluation_report as reporting
from tfx_edge.components.core.evaluation.report.report_page import render_page
from tfx_edge.components.core.litert.file import flatbuffer
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel

_NAMES = {
    'script': '<script>alert(1)</script>',
    'attribute': '" onmouseover="alert(1)" x=\'',
    'end of a cell': '</td></tr></table></style><style>*{display:none}</style>',
    'comment': '--><!-- ]]>',
    'template': '{{ 7 * 7 }}{% include "report_page.html.jinja" %}{# #}',
    'entities': '&lt;script&gt;&amp;amp;&#60;img src=x&#62;',
    'address': 'javascript:alert(1)',
    'newlines': 'one\ntwo\rthree\u2028four\x0bfive',
    'right to left': '\u202egnp.exe\u2066\u200f',
    'long': 'a' * 10_000,
    'long and marked up': '<b>' * 3_000,
    'NUL': 'a\x00<scr\x00ipt>b',
    'bytes that were no text': b'\xff\xfe<b>\x80'.decode('utf-8', 'replace'),
    'path': '../../../etc/passwd\\..\\x',
    'spreadsheet': '=HYPERLINK("http://elsewhere")',
}
_HOSTILE = pytest.mark.parametrize('name', _NAMES.values(), ids=_NAMES)


@_HOSTILE
def test_names_are_only_text_on_the_page(name: str) -> None:
    plain = _Page(render_page(_report('name'), {}))
    page = _Page(render_page(_report(name), {}))
    assert page.tags == plain.tags
    assert ''.join(page.text).count(name) >= ''.join(plain.text).split().count('name')
    render_page(_report(name), {}).encode()


@_HOSTILE
def test_names_are_only_strings_in_the_json(name: str) -> None:
    text = reporting.to_json(_report(name))
    assert json.loads(text) == _report(name)
    assert text.isascii()
    assert '\x00' not in text


def _renamed(model: bytes, name: bytes) -> bytes:
    """The file with another name of its signature, input, outputs and all tensors."""
    content = flatbuffer.read(model)
    (signature,) = content.signatureDefs
    signature.signatureKey = name
    for number, entry in enumerate([*signature.inputs, *signature.outputs]):
        entry.name = name + b'%d' % number
    for number, tensor in enumerate(content.subgraphs[0].tensors):
        tensor.name = name + b'/%d' % number
    return flatbuffer.write(content)


@_HOSTILE
def test_a_file_may_have_such_names(quantized, images: np.ndarray, name: str) -> None:
    text = name.replace('\x00', '')  # it would end the name in the runtime
    model = _renamed(quantized(images[:8]), text.encode())
    try_model(model)
    runnable = LiteRTModel(model)
    assert (runnable.signature_name, [*runnable.inputs], [*runnable.outputs]) == (
        text,
        [f'{text}0'],
        [f'{text}1'],
    )
    probe = RangeProbe(model)
    probe({f'{text}0': images[:1]})
    assert all(tensor.name.startswith(text) or ';' in text for tensor in probe.tensors)
    summary = inspect_model(model)
    assert summary.inputs == {f'{text}0': 'float32'}
    report = _report()
    report['models']['candidate']['signature_name'] = runnable.signature_name
    report['file'] |= {'inputs': dict(summary.inputs), 'outputs': dict(summary.outputs)}
    report['file']['float_operators'] = [f'{op.name} {op.output}' for op in summary.operators]
    report['calibration_fit']['worst_tensors'] = [
        {'name': tensor.name, 'low': 0.0, 'high': 1.0, 'clipping': 0.5, 'range_used': 0.5}
        for tensor in integer_tensors(model)
    ]
    plain = json.loads(json.dumps(report).replace(json.dumps(text)[1:-1], 'name'))
    page = _Page(render_page(report, {}))
    assert page.tags == _Page(render_page(plain, {})).tags
    assert ''.join(page.text).count(text) > len(summary.tensors) / 2
    assert json.loads(reporting.to_json(report)) == report


def test_a_file_with_names_that_are_no_text_is_refused(quantized, images: np.ndarray) -> None:
    with pytest.raises(EdgeError, match='damaged') as caught:
        try_model(_renamed(quantized(images[:8]), b'\xff\xfe\x80<script>'))
    assert '\n' not in str(caught.value)
