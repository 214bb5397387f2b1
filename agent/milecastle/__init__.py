"""Milecastle: attribute, decrypt, inspect and enforce the traffic of one host to AI services."""

__version__ = "0.1.0"
