"""Tables, the third room of the report: grids of printed entries.

``metrics`` makes the tables of metrics (``rows`` is what they are as values, ``printed`` how they
look, with ``marks``, ``footnotes``, ``captions``, ``remarks``); each other module is one more kind
of table. ``grid`` is what all of them are, and its forms Markdown and CSV; ``latex_layout`` cuts
them to pages.
"""
