"""A store whose totals a test writes itself."""

import rrdtool

from kwapi.plugins.rrd.archive import ALWAYS, create
from kwapi.plugins.rrd.store import Store


class GivenTotals(Store):
    """Totals are what ``write_total`` was given."""

    def total_path(self, site):
        return self.directory / ("total-all.rrd" if site is None else f"total-site-{site}.rrd")

    def flush_totals(self):
        pass


def write_total(store, rows, site=None):
    """Write (Unix second, watts or None, share of the probes) of the second that ends then."""
    path = store.total_path(site)
    if not path.exists():
        create(path, ALWAYS, rows[0][0] - 1, ("known", "complete"))
        rows = [(rows[0][0] - 1, None, 0), *rows]
    said = [f"{at:.0f}:U:0:0" if watts is None else f"{at:.0f}:{watts}:1:{share}" for at, watts, share in rows]
    for first in range(0, len(said), 500):
        rrdtool.update(str(path), said[first : first + 500])
