"""TFX's InteractiveContext shows EdgeEvaluator's page."""

from __future__ import annotations

import html.parser
import pathlib

import pytest

pytestmark = pytest.mark.slow

PAGE = '<!DOCTYPE html>\n<html><body><p title="a &amp; b">BLESSED</p></body></html>\n'


def test_interactive_context_shows_the_page(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(
        'nbformat', reason="TFX's InteractiveContext needs nbformat, which TFX 1.21 does not install"
    )
    import IPython.display
    from tfx.orchestration.experimental.interactive import interactive_context
    from tfx.types import channel_utils

    from tfx_edge.components import EdgeEvaluator
    from tfx_edge.components.tfx_interface.artifact_types import EdgeEvaluation

    assert EdgeEvaluator.__name__  # TFX knows the view once the component is imported
    shown: list[IPython.display.HTML] = []
    monkeypatch.setattr(IPython.display, 'display', shown.append)
    # Only in a notebook does TFX run the methods of a context.
    monkeypatch.setitem(vars(__import__('builtins')), '__IPYTHON__', True)
    context = interactive_context.InteractiveContext(pipeline_root=str(tmp_path / 'root'))
    artifact = EdgeEvaluation()
    artifact.uri = str(tmp_path)
    (tmp_path / 'report.html').write_text(PAGE)
    context.show(channel_utils.as_channel([artifact]))
    frames: list[dict[str, str | None]] = []

    class Frames(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            frames.extend([dict(attrs)] if tag == 'iframe' else [])

    pages = [item for item in shown if isinstance(item, IPython.display.HTML) and 'iframe' in str(item.data)]
    Frames().feed(pages[-1].data)
    (frame,) = frames
    assert frame['srcdoc'] == PAGE
    assert frame['sandbox'] == '' or frame['sandbox'] is None
