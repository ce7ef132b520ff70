"""What a protocol gives away on a data set, in figures: see :mod:`benchmark.audit.audit`."""
