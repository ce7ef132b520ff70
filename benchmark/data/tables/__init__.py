"""Tables of a log as files hold them, described column by column and read with every fault found.

``schema`` says what a table holds and ``columns`` what a column does; ``table`` reads it, in
``batches`` from ``parquet``, ``comma_separated``, ``json_lines`` or ``separated`` fields, and notes
``faults``. ``benchmark.data.sources`` has the loaders,
which say what their files hold in these words.
"""
