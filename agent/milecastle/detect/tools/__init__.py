"""Tool calls: what a model asks an agent to run, told in one plain form and held against rules."""

from milecastle.detect.tools.calls import ToolCalls

__all__ = ["ToolCalls"]
