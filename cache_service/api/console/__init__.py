"""The console at `/`: a page of our own files that reads `/admin`, charts drawn on the server, and nothing from anywhere else."""
