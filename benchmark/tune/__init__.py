"""Tuning: every system's settings chosen under one budget, by validation figures alone.

A study is one system on one data set from one preset. Its trials stand in a journal beside the
results, so the same command goes on after a kill, and several processes share the studies. Test
events are in nothing that a trial is handed. What comes out is a preset with its provenance.
"""
