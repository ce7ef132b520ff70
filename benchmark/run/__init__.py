"""The command that runs suites: configuration, plan, execution, tables.

``suite`` is read from YAML, ``plan`` makes jobs of it, ``parts`` finds the pretrained models that
they need, ``graph`` what several share; ``options`` and ``listing`` are of the command line.
``backend`` says where jobs run. On one machine: ``workers`` hands them to processes (``child``),
each a ``worker`` that forks one for each job, and ``progress`` tells how far they are. On a Dask
cluster: ``scheduler`` is reached, ``membership`` lets workers in, ``company`` is those that are in,
``cluster`` gives them jobs, each of which is an ``errand``, and ``board`` shows them all.
"""
