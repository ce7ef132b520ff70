"""Figures, the third room's neighbour: they draw the values of tables.

``style``, ``canvas``, ``panels``, ``labels`` and ``typeface`` are what all of them share;
``tradeoff``, ``charts``, ``codebooks`` and ``agreement`` draw.
"""
