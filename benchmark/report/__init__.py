"""The report: from run folders to the tables and plots that people cite.

``collect`` reads run folders into groups that may stand in one table, ``tables`` and ``plots`` turn
a group into text and figures without touching a file, ``build`` writes them, ``terminal`` shows
them. Everything is made anew from the run folders; nothing is kept between two builds.
"""

from benchmark.report.build import ReportFiles, build_report
from benchmark.report.terminal import print_tables

__all__ = ["ReportFiles", "build_report", "print_tables"]
