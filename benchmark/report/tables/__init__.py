"""Tables, the third room of the report: grids of printed entries.

``metrics`` makes the tables of metrics: ``rows`` is what they are as values, ``printed`` how they
look, with ``headings``, ``marks``, ``footnotes``, ``captions`` and the ``remarks`` on lists, rows,
``effort`` and ``machines``, and what is ``unbeaten``; ``summary`` is their short form. Beside them
stand ``differences``, ``ablations``, ``agreement`` of views, ``expected`` figures, the ``ceiling``,
``identifiers``, ``effort_table``, ``overviews``, the ``audit``, ``published`` figures and the
``leaderboard``. ``grid`` is what all of them are, and its forms Markdown and CSV; ``latex_layout``
cuts them to pages.
"""
