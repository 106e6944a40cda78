-- name: InsertAuditEvent :exec
-- Record what happened in the transaction in which it happened.
INSERT INTO audit_events (
    id, type, user_id, actor_user_id, session_id, account_id, client_address, user_agent, trace_id, details
)
VALUES (
    @id, @type, @user_id, @actor_user_id, @session_id, @account_id, @client_address, @user_agent, @trace_id, @details
);

-- name: ListAuditEvents :many
-- Those of the given types, newest first: a page of each type by the index, and the newest of all
-- these. So a rare type is found at once among however many others. Whole rows are compared, not
-- column by column, so that the order leads to that index and to no other. The ids come from the
-- clocks of the servers, the times from that of the database: first_id and before_id leave room
-- for that.
SELECT page.*
FROM (SELECT unnest(@types::text []) AS type) AS listed
CROSS JOIN LATERAL (
    SELECT audit_events.*
    FROM audit_events
    WHERE
        (audit_events.type, audit_events.id) < (listed.type, @before_id::uuid)
        AND (audit_events.type, audit_events.id) >= (listed.type, @first_id::uuid)
        AND audit_events.create_time >= @start_time AND audit_events.create_time < @end_time
    ORDER BY audit_events.type DESC, audit_events.id DESC
    LIMIT @page_size
) AS page
ORDER BY page.id DESC
LIMIT @page_size;

-- name: ListAuditEventsByUser :many
-- What happened to a user, as above.
SELECT page.*
FROM (SELECT unnest(@types::text []) AS type) AS listed
CROSS JOIN LATERAL (
    SELECT audit_events.*
    FROM audit_events
    WHERE
        (audit_events.user_id, audit_events.type, audit_events.id)
        < (@user_id::uuid, listed.type, @before_id::uuid)
        AND (audit_events.user_id, audit_events.type, audit_events.id)
        >= (@user_id::uuid, listed.type, @first_id::uuid)
        AND audit_events.create_time >= @start_time AND audit_events.create_time < @end_time
    ORDER BY audit_events.user_id DESC, audit_events.type DESC, audit_events.id DESC
    LIMIT @page_size
) AS page
ORDER BY page.id DESC
LIMIT @page_size;

-- name: ListAuditEventsByActor :many
-- What a user did, as above.
SELECT page.*
FROM (SELECT unnest(@types::text []) AS type) AS listed
CROSS JOIN LATERAL (
    SELECT audit_events.*
    FROM audit_events
    WHERE
        (audit_events.actor_user_id, audit_events.type, audit_events.id)
        < (@actor_user_id::uuid, listed.type, @before_id::uuid)
        AND (audit_events.actor_user_id, audit_events.type, audit_events.id)
        >= (@actor_user_id::uuid, listed.type, @first_id::uuid)
        AND audit_events.create_time >= @start_time AND audit_events.create_time < @end_time
    ORDER BY audit_events.actor_user_id DESC, audit_events.type DESC, audit_events.id DESC
    LIMIT @page_size
) AS page
ORDER BY page.id DESC
LIMIT @page_size;

-- name: ListAuditEventsByUserAndActor :many
-- What one user did to another, as above.
SELECT page.*
FROM (SELECT unnest(@types::text []) AS type) AS listed
CROSS JOIN LATERAL (
    SELECT audit_events.*
    FROM audit_events
    WHERE
        audit_events.user_id = @user_id::uuid
        AND (audit_events.actor_user_id, audit_events.type, audit_events.id)
        < (@actor_user_id::uuid, listed.type, @before_id::uuid)
        AND (audit_events.actor_user_id, audit_events.type, audit_events.id)
        >= (@actor_user_id::uuid, listed.type, @first_id::uuid)
        AND audit_events.create_time >= @start_time AND audit_events.create_time < @end_time
    ORDER BY audit_events.actor_user_id DESC, audit_events.type DESC, audit_events.id DESC
    LIMIT @page_size
) AS page
ORDER BY page.id DESC
LIMIT @page_size;

-- name: GetSecurityNotice :one
-- What a notice tells and to whom: the address that the event names as the old one, otherwise the
-- user's present one. No row while nobody has proven that address.
SELECT
    audit_events.type,
    audit_events.client_address,
    audit_events.user_agent,
    audit_events.create_time,
    users.username,
    coalesce(audit_events.details ->> 'old_email', users.email)::text AS email
FROM audit_events
INNER JOIN users ON audit_events.user_id = users.id
WHERE audit_events.id = @id AND (users.email_verified OR audit_events.details ? 'old_email');

-- name: GetAuditEventRecent :one
-- Whether this happened to the user in the last `age_s` seconds.
SELECT
    EXISTS (
        SELECT FROM audit_events
        WHERE
            user_id = @user_id AND type = @type
            AND create_time > clock_timestamp() - make_interval(secs => @age_s::float8)
    )::boolean AS recent;
