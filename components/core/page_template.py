"""What the pages of reports share: one look, and one way to write numbers."""

from __future__ import annotations

import functools
import math
import pathlib
from typing import Any

import jinja2

# Where `page_look.css` and `histogram.html.jinja` lie.
_PACKAGE, _FOLDER = 'tfx_edge.components', 'core'
_LOOK = pathlib.Path(__file__).with_name('page_look.css')


def page_environment(package: str, folder: str) -> jinja2.Environment:
    """What reads the templates of a page.

    Every value is escaped. What is missing is empty, and so is what it would hold. Templates have the filters `number`
    and `change`, `height`, the shared style sheet as `look` (ours, so `{{ look | safe }}`), and the macro of
    `histogram.html.jinja`.

    Args:
      package: that holds the folder, such as 'tfx_edge.components.core.evaluation'.
      folder: of the page's templates, such as 'report'.

    Returns:
      The environment; each call makes a new one, to which a page adds what only it needs.

    Example:
      >>> environment = page_environment('tfx_edge.components.core', 'selection')
      >>> environment.from_string('{{ name }}: {{ value | number }}').render(name='<b>', value=1234567)
      '&lt;b&gt;: 1,234,567'
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(package, folder), jinja2.PackageLoader(_PACKAGE, _FOLDER)]
        ),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
    )
    environment.filters.update(number=number, change=change)
    environment.globals.update(look=_look(), height=height)
    return environment


@functools.cache
def _look() -> str:
    return _LOOK.read_text('utf-8').rstrip('\n')


def number(value: Any) -> str:
    """Whole numbers whole, others with six digits; nothing for what was not measured.

    Args:
      value: of a report, of any type.

    Returns:
      The text; that of a string is the string.

    Example:
      >>> number(27904), number(0.123456789), number(None)
      ('27,904', '0.123457', '')
    """
    if value is None or isinstance(value, jinja2.Undefined):
        return ''
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f'{value:,}' if isinstance(value, int) else f'{value:.6g}'


def change(value: Any) -> str:
    """A number with its sign; 0 has none.

    Args:
      value: of a report, of any type.

    Returns:
      The text of `number`, with a plus sign before what is more than 0.

    Example:
      >>> change(0.25), change(-3), change(0)
      ('+0.25', '-3', '0')
    """
    return f'+{number(value)}' if isinstance(value, (int, float)) and value > 0 else number(value)


def height(count: float, most: float) -> float:
    """The height of a bar, 0 to 1: a square root, so that small counts stay visible beside large ones.

    Args:
      count: of what the bar stands for.
      most: the count of the highest bar.

    Returns:
      The share of the highest bar's height.

    Example:
      >>> height(1, 4)
      0.5
    """
    return math.sqrt(count / most) if most else 0.0
