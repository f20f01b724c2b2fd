"""Work beside the requests: following changes, warming up, checking, evaluating."""
