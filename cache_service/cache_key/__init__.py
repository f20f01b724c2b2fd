"""From a request to its partition and exact key."""
