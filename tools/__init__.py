"""Build-time programs: they write gen/ and check the contract; nothing here runs in the service."""
