"""`selection.html`: shows every candidate, runs no script but its own, and takes whatever strings and gaps come in."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import math
import pathlib
import re
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.components.core.selection.selection_reports import CYCLES, ZIP, candidate, kernel, report
from tfx_edge.components.core.devices import chromium
from tfx_edge.components.core.devices.absent_tool import AbsentTool
from tfx_edge.components.core.selection.selection_page import render_page

_HOSTILE = {
    'script': '"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;',
    'attribute': '" onmouseover="alert(1)" x=\'',
    'end of a script': '</script></style></title></svg>',
    'template': '{{ 7 * 7 }}{% include "selection_page.js" %}{# #}',
    'comment': '--><!-- ]]>',
    'NUL': 'a\x00<scr\x00ipt>b',
    'long': 'a' * 10_000,
    'newlines': 'one\ntwo\u2028three',
}
# Elements that have no end.
_VOID = {'meta', 'link', 'br', 'img'}


class _Page(html.parser.HTMLParser):
    """Tags with their attributes, the text of each kind of element, and whether every element ends where it should."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        assert len({name for name, _ in attrs}) == len(attrs)
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self._open), data))

    def text(self, element: str) -> str:
        """All text inside of elements of a kind."""
        return ''.join(text for inside, text in self.texts if element in inside)

    def of_class(self, name: str) -> list[tuple[str, dict[str, str | None]]]:
        return [(tag, attributes) for tag, attributes in self.tags if name in _classes(attributes)]


def _classes(attributes: dict[str, str | None]) -> list[str]:
    return (attributes.get('class') or '').split()


def _whole(text: str = 'name') -> dict[str, Any]:
    """A report in which every part is there and every string is the text."""
    reasons = [f'{text}{number}' for number in range(5)]
    rows = [
        candidate(
            text,
            steps=[text],
            recipe=text,
            outcome=text,
            report=text,
            weights=[kernel(text)] * 13,
            metric=None,
        ),
        candidate(text + '2', verdict='NOT_BLESSED', reasons=reasons, on_front=False, report=text),
        candidate(text + '3', verdict='NO_EVALUATION', reasons=[text], on_front=False),
    ]
    rows[0]['metric'] = {'value': 0.97, 'low': 0.96, 'high': 0.98}
    rows.append(candidate(text + '4', None, None))
    of = report(*rows, reason=text, notes=[text])
    of['metric'] |= {'name': text, 'output': text, 'interval': text}
    of['axes'] = [{'key': 'zip_bytes', 'title': text, 'is_objective': True}]
    return of


@pytest.mark.parametrize('text', _HOSTILE.values(), ids=_HOSTILE)
def test_strings_are_only_text(text: str) -> None:
    plain, page = _Page(render_page(_whole())), _Page(render_page(_whole(text)))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(attributes) for _, attributes in page.tags] == [
        sorted(attributes) for _, attributes in plain.tags
    ]
    assert page.text('script') == plain.text('script')
    assert page.text('style') == plain.text('style')
    assert text in page.text('main')


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40))
def test_no_string_becomes_markup(text: str) -> None:
    plain, page = _Page(render_page(_whole())), _Page(render_page(_whole(text + 'x')))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]


def _policy(page: _Page) -> dict[str, list[str]]:
    (content,) = [
        attributes['content'] or ''
        for tag, attributes in page.tags
        if attributes.get('http-equiv') == 'Content-Security-Policy'
    ]
    return {words[0]: words[1:] for words in (part.split() for part in content.split(';'))}


def test_the_policy_allows_the_pages_own_script_and_nothing_else() -> None:
    text = render_page(_whole())
    (script,) = re.findall(r'<script>(.*?)</script>', text, re.DOTALL)
    policy = _policy(_Page(text))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy['script-src'] == [f"'sha256-{digest}'"]
    assert policy['default-src'] == ["'none'"]
    assert policy['style-src'] == ["'unsafe-inline'"]
    # A parser would read these, or a return, as something else than the text that was counted.
    assert not re.search(r'<!--|<script|\r', script)


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = _Page(render_page(_whole()))
    links = [value for _, tag in page.tags for name, value in tag.items() if name in ('src', 'href')]
    assert links == ['data:,']
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith('on')]
    assert 'url(' not in page.text('style')
    assert '@import' not in page.text('style')


def test_the_same_report_gives_the_same_text() -> None:
    assert render_page(_whole()) == render_page(json.loads(json.dumps(_whole(), sort_keys=True)))


@pytest.mark.parametrize(('verdict', 'look'), [('BLESSED', 'good'), ('NOT_BLESSED', 'bad')])
def test_the_verdict_and_the_choice_come_first(verdict: str, look: str) -> None:
    page = _Page(render_page(report(candidate('zeros50-int8'), verdict=verdict, notes=['a note'])))
    header = page.text('header')
    assert header.split()[:2] == [verdict, 'zeros50-int8']
    for part in ('zip bytes 7,000, the lowest of 2', '2,000 examples', '1 candidate,', 'a note'):
        assert part in header
    assert page.of_class(look)[0][0] == 'span'


def test_every_candidate_is_in_the_table_with_all_that_was_measured() -> None:
    rows = [candidate(f'route{number}', 1000.5 + number, 0.5 + number / 200) for number in range(64)]
    for number, row in enumerate(rows):
        row['metric'] |= {'low': 0.25, 'high': 0.875 + number / 1000}
        row['figures'][CYCLES['key']] = 12345678 + number
    page = _Page(render_page(report(*rows, axes=[ZIP, CYCLES])))
    table = page.text('tbody')
    for number in range(64):
        found = re.search(rf'route{number}\D.*?outcome of route{number}(?!\d)', table, re.DOTALL)
        assert found
        for part in ('BLESSED', f'{0.5 + number / 200:.6g}', f'0.25 to {0.875 + number / 1000:.6g}'):
            assert part in found[0]
        assert f'{12345678 + number:,}' in found[0]
        assert f'{1000.5 + number:.6g}' in found[0]
    assert len(page.of_class('chosen')) == 1
    assert '0.98' in page.text('tfoot')


def test_every_column_can_be_sorted_by_its_header() -> None:
    page = _Page(render_page(report(candidate('a'), candidate('b'), axes=[ZIP, CYCLES])))
    headers = [attributes for tag, attributes in page.tags if tag == 'th' and 'aria-sort' in attributes]
    assert [attributes['aria-sort'] for attributes in headers] == ['none'] * 6
    buttons = [text for inside, text in page.texts if inside[-2:] == ('th', 'button')]
    assert buttons == ['route', 'verdict', 'accuracy', 'zip bytes', 'ethos-u55-128: cycles', 'outcome']
    assert {attributes['type'] for tag, attributes in page.tags if tag == 'button'} == {'button'}


def test_cells_are_sorted_by_all_digits() -> None:
    rows = [candidate('a', 123456789, 0.12345678901), candidate('b', None, None)]
    page = _Page(render_page(report(*rows, chosen='a')))
    keys = [attributes['data-value'] for _, attributes in page.tags if 'data-value' in attributes]
    assert keys == ['0.12345678901', '123456789.0', '', '', '0.98']


def test_marks_differ_in_shape_and_filling_and_can_be_reached() -> None:
    rows = [
        candidate('a'),
        candidate('b', 8000, on_front=False),
        candidate('c', verdict='NOT_BLESSED', on_front=False),
    ]
    page = _Page(render_page(report(*rows)))
    marks = [(tag, 'front' in _classes(attributes)) for tag, attributes in page.of_class('mark')]
    legend = [('circle', True), ('circle', False), ('rect', True), ('rect', False)]
    assert marks == [*legend, ('circle', False), ('rect', False), ('circle', True)]
    points = page.of_class('point')
    assert [attributes['tabindex'] for _, attributes in points] == ['0'] * 3
    # One in the legend, one around the chosen candidate.
    assert len(page.of_class('ring')) == 2
    titles = [text for inside, text in page.texts if inside[-2:] == ('g', 'title')]
    assert titles[-1] == 'a (chosen); accuracy: 0.97; zip bytes: 9,000; BLESSED'
    assert '.point:focus-visible .focus { stroke' in page.text('style')


def test_candidates_without_a_place_in_the_plot_are_named_below_it() -> None:
    page = _Page(render_page(report(candidate('a'), candidate('b'), candidate('lost', metric=None))))
    assert 'Not in the plot: lost (no metric)' in ' '.join(page.text('section').split())


def test_the_recipe_is_shown_as_it_is_written() -> None:
    recipe = "pruner = Pruner(\n    model=trainer.outputs['model'],\n)\n"
    page = _Page(render_page(report(candidate('a', recipe=recipe), candidate('b', recipe='other'))))
    assert page.text('pre') == recipe


@pytest.mark.parametrize(('count', 'folded'), [(0, 0), (3, 0), (4, 1), (9, 6)])
def test_all_reasons_of_rejected_routes_are_told(count: int, folded: int) -> None:
    reasons = [f'limit {number} is missed' for number in range(count)]
    bad = candidate('bad-one', verdict='NOT_BLESSED', reasons=reasons)
    page = _Page(render_page(report(candidate('good-one'), bad)))
    assert [text for _, text in page.texts if text in reasons] == reasons
    assert [text for inside, text in page.texts if text in reasons and 'details' in inside] == reasons[
        count - folded :
    ]
    headings = [text.strip() for inside, text in page.texts if inside[-1:] == ('h3',)]
    assert 'bad-one' in headings
    assert 'good-one' not in headings


def _with_weights(count: int) -> dict[str, Any]:
    kernels = [kernel(f'kernel{number}') for number in range(count)]
    routes = ('int8', 'qat-int8', 'zeros50-qat-int8', 'int4')
    rows = [candidate(route, weights=kernels) for route in routes]
    return report(*rows, chosen='zeros50-qat-int8')


def test_weights_are_shown_at_each_station() -> None:
    page = _Page(render_page(_with_weights(2)))
    heads = [text.strip() for inside, text in page.texts if inside[-2:] == ('tr', 'th')]
    assert [text for text in heads if text in ('float', 'int8', 'qat-int8', 'zeros50-qat-int8', 'int4')][
        -4:
    ] == ['float', 'int8', 'qat-int8', 'zeros50-qat-int8']
    assert len(page.of_class('histogram')) == 2 * 4
    assert page.text('section').count('90 % zeros, 16 values') == 2 * 3


def test_of_many_kernels_twelve_are_shown_and_the_others_folded() -> None:
    page = _Page(render_page(_with_weights(40)))
    folded = {text for inside, text in page.texts if 'details' in inside and text.startswith('kernel')}
    shown = {text for inside, text in page.texts if 'details' not in inside and re.match(r'kernel\d', text)}
    assert shown == {f'kernel{number}' for number in range(12)}
    assert folded - {'kernel'} == {f'kernel{number}' for number in range(12, 40)}
    assert '<details>' not in render_page(_with_weights(12))


def test_bars_of_a_narrower_histogram_are_in_the_middle() -> None:
    rows = [
        candidate('int8', weights=[kernel(limit=2.0, after=[1, 1, 1])]),
        candidate('a-int8', weights=[kernel(limit=1.0)]),
    ]
    page = _Page(render_page(report(*rows, chosen='a-int8')))
    bars = [
        (float(attributes['x'] or 0), float(attributes['width'] or 0), float(attributes['height'] or 0))
        for tag, attributes in page.tags
        if tag == 'rect' and 'class' not in attributes
    ]
    # Of the float file, of int8, of the chosen one, which has no weights in its last bin.
    assert [bar[:2] for bar in bars] == [
        *[(30, 20), (50, 20), (70, 20)],
        *[(0, 40), (40, 40), (80, 40)],
        *[(30, 20), (50, 20)],
    ]
    assert bars[-1][2] == 30


@pytest.mark.parametrize('bad', [None, math.nan, math.inf, -math.inf, 'nan'])
def test_gaps_and_broken_numbers_are_empty(bad: Any) -> None:
    row = candidate('b', bad) | {'metric': {'value': bad, 'low': bad, 'high': bad}}
    of = report(candidate('a', bad), row, candidate('c'))
    of['metric']['baseline'] = {'value': bad, 'low': bad, 'high': bad}
    page = _Page(render_page(of))
    assert 'nan' not in page.text('table')
    assert 'inf' not in page.text('table')


@pytest.mark.parametrize(
    'of',
    [
        report(candidate('a')),
        report(candidate('a', None, None), metric=None, axes=[]),
        report(candidate('a', figures={})),
        report(candidate('a'), chosen='gone'),
        report(
            *(candidate(f'r{n}', verdict='NOT_BLESSED', reasons=['no'], on_front=False) for n in range(64)),
            verdict='NOT_BLESSED',
        ),
        report(candidate('a'), candidate('a', 1), candidate('', 0, 0.0)),
    ],
    ids=['one', 'nothing measured', 'no figures', 'chosen is not there', 'none is blessed', 'same names'],
)
def test_unusual_selections_have_a_page(of: dict[str, Any]) -> None:
    page = _Page(render_page(of))
    assert page.text('tbody').count('outcome of') == len(of['candidates'])


def _dom_after(page: str, script: str, folder: pathlib.Path) -> str:
    """What a browser makes of the page, and of a script that presses its buttons; the page's policy holds for both."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = page.replace("script-src '", f"script-src 'sha256-{digest}' '")
    path = folder / 'selection.html'
    path.write_text(page.replace('</body>', f'<script>{script}</script></body>'), 'utf-8')
    try:
        browser = chromium.find()
    except AbsentTool as absent:
        pytest.skip(str(absent))
    options = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--dump-dom']
    command = [browser.command, *options, f'--user-data-dir={folder / "profile"}', path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.slow
def test_pressing_a_header_sorts_by_its_column(tmp_path: pathlib.Path) -> None:
    rows = [
        candidate('r2', 900, 0.5),
        candidate('r10', None, None),
        candidate('r1', 10000, 0.25),
        candidate('r3', 900, 0.75),
    ]
    script = """
      const told = [];
      for (const column of [3, 3, 0, 2, 0, 0, 3]) {
        document.querySelectorAll('.candidates button')[column].click();
        const rows = [...document.querySelectorAll('.candidates tbody tr')];
        const sorted = [...document.querySelectorAll('th[aria-sort]')].map(th => th.getAttribute('aria-sort')[0]);
        told.push(rows.map(row => row.cells[0].textContent).join(' ') + ' ' + sorted.join(''));
      }
      document.title = told.join(', ');
    """
    dom = _dom_after(render_page(report(*rows)), script, tmp_path)
    found = re.search('<title>(.*?)</title>', dom)
    assert found
    assert found[1].split(', ') == [
        'r2 r3 r1 r10 nnnan',
        'r1 r2 r3 r10 nnndn',
        'r1 r2 r3 r10 annnn',
        'r1 r2 r3 r10 nnann',
        'r1 r2 r3 r10 annnn',
        'r10 r3 r2 r1 dnnnn',
        # Of the same size, r2 comes first in the report.
        'r2 r3 r1 r10 nnnan',
    ]
