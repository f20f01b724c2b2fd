"""Finds close vectors inside one partition."""
