"""Everything about the distribution stands in setup.cfg."""

from setuptools import setup

setup()
