"""Migrations of the database, one runner at a time: `python -m migrate` applies what is missing, also in an image."""
