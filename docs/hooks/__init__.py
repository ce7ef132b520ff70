"""What MkDocs calls while it builds the site: pages made from the sources.

:mod:`docs.hooks.site` is the hook of ``mkdocs.yml``; the others make one kind of page each.
"""
