"""Jobs: what identifies one, how it is executed, and the folder that keeps its result.

``identity`` hashes everything that determines a result; ``store`` knows where runs lie and whether
they are whole; ``execute`` runs one: ``context`` is what it is handed, ``fitting`` trains or loads,
``evaluation`` ranks in both views, ``ranks`` and ``scores`` keep what came out, ``publish`` writes
the run and ``failure`` one that failed; ``machine`` is what it ran on, ``precision`` what a lower
one changes. ``record`` is what is written, ``describe`` what each record says of its data;
``outside`` records a system that ran elsewhere. ``benchmark.run`` is the command that plans jobs
and has them executed.
"""
