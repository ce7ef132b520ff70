"""Jobs: what identifies one, how it is executed, and the folder that keeps its result.

``identity`` hashes everything that determines a result; ``store`` knows where runs lie and whether
they are whole; ``execute`` loads, fits, scores and records, with ``evaluation`` (both views),
``scores`` and ``machine``; ``record`` is what is written, ``describe`` what each record says of its
data; ``outside`` records a system that ran elsewhere. ``benchmark.run`` is the command that plans
jobs and has them executed.
"""
