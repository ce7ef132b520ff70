"""The report: from run folders to the tables, plots and the page that people cite.

It goes through four rooms, each of which imports only those before it: ``reading`` (run folders as
values), ``statistics`` (how far figures can be trusted), ``tables`` and ``plots`` (which print and
draw, and write no file). Then ``group`` puts together all that is said of one group of comparable
runs, ``whole`` all that a folder of runs shows; ``build`` writes it, with ``latex``, ``page`` makes
one HTML file of it, ``shown`` is what a README shows of reference runs, and ``sentences`` what it
says of them.

Commands of their own: ``compare`` sets two folders of runs against each other, ``simulate`` and
``simulate_unpaired`` show how often the tests err, ``reference`` makes runs small enough to be
committed, ``trec`` exports ranks for outside evaluators, ``submissions`` is the leaderboard,
``claims`` looks at what a paper says, ``board`` and ``speed`` are of ``benchmark.speed``,
``terminal`` shows the main tables; ``arguments`` are their options. Everything is made anew from
the run folders; nothing is kept between two builds.
"""

from benchmark.report.build import ReportFiles, build_report
from benchmark.report.terminal import print_tables

__all__ = ["ReportFiles", "build_report", "print_tables"]
