"""From run folders to values, the first room of the report.

``collect`` makes groups of runs that may stand in one table; ``ranks``, ``top`` and ``events`` read
the ranks of single test events (``rank_tables``) in both views, which ``views`` names, and
``collected_events`` those of a group; ``curves`` reads training, ``papers`` the bibliography;
``text`` makes what records hold safe for where it is shown.
"""
