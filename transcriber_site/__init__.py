"""The site: settings, wiring, and the command that runs the service. No business logic."""

__version__ = "0.1.0"
