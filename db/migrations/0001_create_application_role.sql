-- migrate:up

SET LOCAL lock_timeout = '2s';

-- The service signs in as bank_app, or as a role that may become it; the owner of the tables
-- only migrates. A role belongs to the whole server, so it may exist already.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bank_app') THEN
        CREATE ROLE bank_app NOLOGIN;
    END IF;
END
$$;

GRANT USAGE ON SCHEMA public TO bank_app;
-- Readiness compares the schema's version with the one the code was built for.
GRANT SELECT ON schema_migrations TO bank_app;

-- migrate:down

SET LOCAL lock_timeout = '2s';

REVOKE SELECT ON schema_migrations FROM bank_app;
REVOKE USAGE ON SCHEMA public FROM bank_app;
