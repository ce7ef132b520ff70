"""How far figures can be trusted, the second room of the report.

``inference`` has intervals of means (``bootstrap``) and tests of all pairs of a table,
``simultaneous`` and ``studentised`` the one error rate of all that is said, ``unpaired`` two
samples of users, ``agreement`` how alike two orders of systems are.
"""
