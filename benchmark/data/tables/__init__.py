"""Tables of a log as files hold them, described column by column and read with every fault found.

``schema`` says what a table holds and ``columns`` what a column does; ``table`` reads it in batches
(``batch``) of any of the forms, which ``batches`` chooses among: ``parquet`` (``exploded``: lists
that become rows), ``comma_separated``, ``separated`` and ``json_lines``, by ``lines``. ``cells``
are single values, ``instants`` times, ``listed`` lists, ``long_texts`` what is too long to be one.
``faults`` collects what is wrong. ``benchmark.data.sources`` has the loaders, which say what their
files hold in these words.
"""
