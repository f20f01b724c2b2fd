"""Answers prompts from what was already generated, and pays an upstream only for what is new. Start in `semantic_cache.py`."""
