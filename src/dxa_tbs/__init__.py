"""Can a CNN tell degraded from normal trabecular bone in a spine DXA image? An experiment runner."""

__version__ = "0.1.0"
