"""The site and the manual pages: `tox -e docs` makes them of these documents and of the code."""

import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

project = "Kwapi"
smartquotes = False
release = version = metadata.version("kwapi")
extensions = ["myst_parser", "sphinx.ext.autodoc", "from_code"]
exclude_patterns = ["_build"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types of Python and of libraries have no page here

myst_heading_anchors = 4
myst_enable_extensions = ["deflist", "html_image"]
suppress_warnings = ["myst.header"]  # a part of a document that is made of the code may begin at its own level

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = f"Kwapi {release}"
html_show_copyright = False

man_pages = [
    ("commands/kwapi", "kwapi", "look after an installation of Kwapi", [], 1),
    ("commands/kwapi-simulator", "kwapi-simulator", "a farm of simulated wattmeters", [], 1),
    ("commands/kwapi-drivers", "kwapi-drivers", "measure wattmeters and publish what they say", [], 8),
    ("commands/kwapi-forwarder", "kwapi-forwarder", "carry measurements across a network", [], 8),
    ("commands/kwapi-api", "kwapi-api", "the energy of every probe over REST", [], 8),
    ("commands/kwapi-rrd", "kwapi-rrd", "graphs of every probe, with energy and cost", [], 8),
    ("options/drivers", "kwapi-drivers.conf", "configuration of kwapi-drivers", [], 5),
    ("options/forwarder", "kwapi-forwarder.conf", "configuration of kwapi-forwarder", [], 5),
    ("options/api", "kwapi-api.conf", "configuration of kwapi-api", [], 5),
    ("options/rrd", "kwapi-rrd.conf", "configuration of kwapi-rrd", [], 5),
]
