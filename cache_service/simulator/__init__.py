"""A faithful upstream that costs nothing. Imports nothing of the rest."""
