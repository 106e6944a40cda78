"""The embedded stack: PostgreSQL, Redis, a mail sink, server, worker and gateway on one machine."""
