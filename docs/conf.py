"""How Sphinx builds the documentation: ``make docs``."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

project = "Skyloom"
author = "the Skyloom developers"
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "Skyloom"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"sidebar_hide_name": False}
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
nitpicky = True


def setup(app: Sphinx) -> None:
    """Write the pages that are generated from the code before any page is read."""
    import reference_pages  # beside this file

    app.connect("config-inited", lambda _app, _config: reference_pages.write(HERE / "reference"))
