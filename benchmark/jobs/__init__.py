"""Jobs: what identifies one, how it is executed, and the folder that keeps its result.

``identity`` hashes everything that determines a result; ``store`` knows where runs lie and whether
they are whole; ``execute`` is a job from its start to its end: ``context`` (data, log, artifacts),
``fitting``, ``evaluation`` (both views), ``failure`` and ``publish``, with ``ranks``, ``scores``
and ``machine``. ``record`` is what is written, ``describe`` what each record says of its data;
``outside`` records a system that ran elsewhere. ``benchmark.run`` is the command that plans jobs
and has them executed.
"""
