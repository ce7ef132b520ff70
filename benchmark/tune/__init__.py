"""Tuning: every system's settings chosen under one budget, by validation figures alone.

A study is one system on one data set from one preset (``studies``). Its trials (``trial``) stand in
a ``journal`` beside the results, so the same command (``campaign``) goes on after a kill, and
several processes (``crew``, each a ``worker``; or ``cluster`` and ``errand``) share the studies.
Test events are in nothing that a trial is handed. What comes out is a ``preset`` with its
provenance, and a ``report``.
"""
