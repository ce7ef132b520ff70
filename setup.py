"""What pyproject.toml cannot say: the recipes of ``datasets/`` ship as ``benchmark/recipes``.

The folder ``datasets/`` must never be installed under its own name, which is that of a package of
Hugging Face's; and a list of packages with a folder of another name cannot be found by a pattern.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["benchmark*", "baselines*", "gensar*"]), "benchmark.recipes"],
    package_dir={"benchmark.recipes": "datasets"},
)
