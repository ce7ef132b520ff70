"""Published models: ``model_folder`` reads one safely, ``finding`` gets it by path, hub or package.

``choice`` is how a system's configuration names one.
"""
