"""Entries in SQL, pictures as blobs, and the spool of what is being paid."""
