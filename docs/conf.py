"""Settings of Sphinx for the site that ``python -m docs.site OUTPUT`` builds; see `docs.site`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from docs.site.command_pages import MAN_PAGES  # after the path to it

project = "demyjpy"
copyright = "the authors of demyjpy"  # noqa: A001  # Sphinx's name for it
html_title = "demyjpy"
language = "en"
smartquotes = False  # two hyphens begin an option

extensions = ["myst_parser", "sphinx.ext.autodoc", "docs.site.sphinx_parts"]

# Markdown: anchors of headings as forges have them
myst_heading_anchors = 4
myst_links_external_new_tab = False

# names and types
default_role = "name"
add_module_names = False
toc_object_entries_show_parents = "hide"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 80
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False

# pages
html_theme = "furo"
html_static_path = ["site/static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "monokai"

# man pages
man_pages = MAN_PAGES
man_make_section_directory = False
man_show_urls = True
