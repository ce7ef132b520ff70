"""What a protocol gives away on a data set, in figures.

``audit`` is all of it: ``diagnostics`` that need no system, ``searches`` and ``training`` that look
at leaks, ``rankers`` that learn nothing, ``simple`` rules against chance, ``draws`` of negatives,
and of ``trained`` systems what their runs show; with ``intervals``. ``verdicts`` end it and
``advice`` says which setting mends a finding; ``record`` keeps it, ``command`` prints it.
"""
