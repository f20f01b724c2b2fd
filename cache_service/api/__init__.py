"""HTTP: routes, errors, access."""
