"""Figures, the third room's neighbour: they draw the values of tables.

``style``, ``canvas``, ``panels``, ``labels``, ``headline`` and ``typeface`` are what all of them
share; ``tradeoff`` (with ``tradeoff_points``), ``bars``, ``curves``, ``ranks``, ``cost``,
``codebooks`` and ``agreement`` draw. All are of one style, of equal bytes from equal runs, and None
where there is nothing to draw. Lines of many systems are split into a panel a family, with the
rankers that learn nothing in grey behind them.
"""
