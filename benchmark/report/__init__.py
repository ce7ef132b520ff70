"""The report: from run folders to the tables, plots and the page that people cite.

``collect`` reads run folders into groups that may stand in one table; ``ranks``, ``top`` and
``events`` read the ranks of single test events in both views, which ``views`` names. ``statistics``
says how far figures can be trusted, ``simultaneous`` tests many differences at once, and
``simulate`` shows how often such tests err. ``tables`` makes the tables of metrics (``rows`` is
what they are, ``printed`` how they look), ``differences``, ``expected``, ``agreement``,
``overviews``, ``identifiers`` and ``published`` the others; ``grid`` prints any of them, ``plots``
and ``charts`` draw; none of these writes a file. ``group`` puts together all that is said of one
group of runs. ``build`` writes everything, ``page`` puts it into one HTML file, ``terminal`` shows
the main tables. ``reference`` makes runs small enough to be committed, ``compare`` sets two folders
of runs against each other, ``trec`` exports ranks for outside evaluators. Everything is made anew
from the run folders; nothing is kept between two builds.
"""

from benchmark.report.build import ReportFiles, build_report
from benchmark.report.terminal import print_tables

__all__ = ["ReportFiles", "build_report", "print_tables"]
