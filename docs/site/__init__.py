"""The documentation as a site: ``python -m docs.site OUTPUT`` builds pages and man pages, offline.

The Markdown pages of docs/ are written to be read where they are. What lives here makes a site of them.
`places` says where each file of the repository stands in the site, `sections` which page belongs to
which section. `staging` writes what Sphinx reads, with the pages that are made from the code:
`api_pages`, `command_pages`, `source_pages`. `building` runs Sphinx; `broken_links` and `screenshots`
look at what it has made. Prose for readers does not live here, it stands in docs/.
"""
