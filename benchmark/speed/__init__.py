"""Speed, as ratios measured side by side in one run: ``python -m benchmark.speed <topic>``.

A topic is a function that returns measurements. Seconds depend on the machine; the ratio against a
named peer in the same run is what can be compared. No test asserts on time.
"""
