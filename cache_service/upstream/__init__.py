"""Calls the API that generates, right at its limits and never over them."""
