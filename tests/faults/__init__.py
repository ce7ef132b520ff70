"""What machines do to suites: kills, failed writes, damaged files, odd input, many at once."""
