"""Decides whether a close prompt is really the same request."""
