"""How things look in a notebook: small HTML without resources from elsewhere, for light and dark themes.

Objects show themselves; this is what they call. :func:`chart` draws what a watch gives, while it gives it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from ._bars import bar_chart as bar_chart
from ._bars import sparkline as sparkline
from ._machine import heat_map as heat_map
from ._numbers import amount as amount
from ._numbers import compact as compact
from ._numbers import rate as rate
from ._numbers import span as span
from ._show import bundle, html

if TYPE_CHECKING:
    from ._chart import Chart

__all__ = ["bundle", "chart", "html"]


def chart(watch: Any, *, title: Optional[str] = None) -> Chart:
    """A live chart of what ``mi.watch([...])`` or ``host.watch_interrupts()`` gives; it does not hold up the kernel.

    Shown by itself when a watch is the last thing in a cell. With anywidget (``pip install 'sipmi[notebook]'``) it has
    a button to pause; without, its picture is renewed in place. When it ends, its last picture stays in the notebook.

    :param title: shown above it; the address by default.

    >>> import sipmi
    >>> server = sipmi.Server("billing")
    >>> server.listen("udp:127.0.0.1:0")
    >>> with server, sipmi.connect(server.addresses[0]) as mi:
    ...     drawn = chart(mi.watch(["core:"], count=1)).run()
    >>> drawn
    <Chart of udp:...: 1 sample>
    """
    from ._chart import Chart

    return Chart(watch, title=title)
