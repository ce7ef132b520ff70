"""The reference: runs that can be cited, made from a file that says what they consist of.

A programme names data sets, protocols, systems, the budget of their tuning and the seeds. Its work
is cut into units, a trial of a system's tuning or the run of a system with a seed, which are done
one after another over as many sittings as it takes. What is done stands in files that are committed
as they come: the tuned presets, and each run in its compact form. So a command that is killed, or
that begins from a fresh checkout, goes on with the first unit that is not there.
"""
