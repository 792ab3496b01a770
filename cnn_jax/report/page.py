"""Pages from templates."""

import math
from pathlib import Path

import jinja2

from cnn_jax import __version__
from cnn_jax.rundir import replacing


def write_page(template: str, path: Path, **content) -> None:
    """Fill a template and write the page, whole or not at all.

    Args:
        template: name of a file in `templates`.
        path: the HTML file.
        content: what the template speaks of. All text is escaped.
    """
    page = _environment().get_template(template).render(version=__version__, **content)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def count(value: float | None) -> str:
    """Write a whole number.

    >>> count(12345)
    '12,345'
    """
    return "–" if value is None else f"{value:,.0f}"


def percent(value: float | None, digits: int = 2) -> str:
    """Write a fraction as a percentage; a dash where there is none.

    >>> percent(0.25, 0), percent(None)
    ('25 %', '–')
    """
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def number(value: float | None) -> str:
    """Write a figure; a dash where there is none.

    >>> number(0.123456)
    '0.1235'
    """
    return "–" if value is None else f"{value:.4f}"


def metric(value: float | None, unit: str = "") -> str:
    """Write a large number with a prefix of the metric system.

    >>> metric(4_089_184_256), metric(205_000_000, "B"), metric(12), metric(999_600)
    ('4.09 G', '205 MB', '12', '1 M')
    """
    if value is None:
        return "–"
    value = float(f"{value:.3g}")  # before the prefix is chosen: 999.6 k are 1 M
    exponent = min(int(math.log10(value)) // 3, 5) if value >= 1 else 0
    prefix = ("", "k", "M", "G", "T", "P")[exponent]
    return f"{value / 1000**exponent:.3g} {prefix}{unit}".strip()


def duration(seconds: float) -> str:
    """Write a time.

    >>> duration(9.83), duration(125), duration(7384)
    ('9.8 s', '2 min 5 s', '2 h 3 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cnn_jax.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (count, percent, number, metric, duration):
        environment.filters[function.__name__] = function
    return environment
