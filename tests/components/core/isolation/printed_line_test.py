"""What native code printed is quoted in whole words."""

from __future__ import annotations

from tfx_edge.components.core.isolation.printed_line import shortened_line


def test_short_lines_stay_and_long_ones_start_with_a_whole_word() -> None:
    assert shortened_line('  failed:\tno  kernel\n') == 'failed: no kernel'
    words = [f'word{number}' for number in range(100)]
    shown = shortened_line(' '.join(words))
    assert shown.startswith('... ')
    assert shown.endswith(words[-1])
    assert set(shown.split()[1:]) <= set(words)
    assert 250 < len(shown) <= 304
