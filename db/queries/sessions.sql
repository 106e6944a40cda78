-- name: InsertSession :one
-- Begin a session of a locked user.
INSERT INTO sessions (id, user_id, user_agent, client_address, idle_expire_time, expire_time)
VALUES (
    @id,
    @user_id,
    @user_agent,
    @client_address,
    now() + make_interval(secs => least(@idle_ttl_s::float8, @ttl_s::float8)),
    now() + make_interval(secs => @ttl_s::float8)
)
RETURNING *;

-- name: GetSession :one
SELECT * FROM sessions WHERE id = @id;

-- name: GetSessionState :one
-- Whether a session and its user are in force, and what the user may do.
SELECT
    (
        sessions.revoke_time IS NULL
        AND sessions.expire_time > clock_timestamp()
        AND sessions.idle_expire_time > clock_timestamp()
    )::boolean AS live,
    users.disabled,
    users.roles
FROM sessions
INNER JOIN users ON sessions.user_id = users.id
WHERE sessions.id = @id AND sessions.user_id = @user_id;

-- name: ListLiveSessionStates :many
-- Of many sessions those that are in force, with what their users may do; a disabled user has none.
SELECT sessions.id, users.roles
FROM sessions
INNER JOIN users ON sessions.user_id = users.id
WHERE
    sessions.id = ANY(@ids::uuid [])
    AND sessions.revoke_time IS NULL
    AND sessions.expire_time > clock_timestamp()
    AND sessions.idle_expire_time > clock_timestamp()
    AND NOT users.disabled;

-- name: ListLiveSessionsOfUser :many
-- Newest first, after the session named by the page token.
SELECT * FROM sessions
WHERE
    user_id = @user_id AND id < @before_id AND revoke_time IS NULL
    AND expire_time > clock_timestamp() AND idle_expire_time > clock_timestamp()
ORDER BY id DESC
LIMIT @page_size;

-- name: UpdateSessionRefreshed :one
UPDATE sessions
SET
    last_refresh_time = clock_timestamp(),
    idle_expire_time = least(clock_timestamp() + make_interval(secs => @idle_ttl_s::float8), expire_time)
WHERE id = @id
RETURNING *;

-- name: MarkSessionRevoked :one
-- End a session; no row if it was revoked before.
UPDATE sessions SET revoke_time = clock_timestamp() WHERE id = @id AND revoke_time IS NULL RETURNING id;

-- name: ListSurplusSessionsOfUser :many
-- Live sessions beyond so many, by when their tokens were last exchanged.
SELECT id FROM sessions
WHERE
    user_id = @user_id AND revoke_time IS NULL
    AND expire_time > clock_timestamp() AND idle_expire_time > clock_timestamp()
ORDER BY last_refresh_time DESC, id DESC
OFFSET @kept_count;

-- name: MarkSessionsOfUserRevoked :execrows
-- End all live sessions of a user but the one that is kept, the nil id for none; how many they were.
UPDATE sessions SET revoke_time = clock_timestamp()
WHERE
    user_id = @user_id AND id <> @kept_id AND revoke_time IS NULL
    AND expire_time > clock_timestamp() AND idle_expire_time > clock_timestamp();

-- name: GetDeviceKnown :one
-- Whether the user has signed in from this address with this program before, or never at all. Sessions
-- are deleted when they have ended long ago; that there was one is told by the audit log, which is kept.
SELECT
    (
        NOT EXISTS (
            SELECT FROM audit_events
            WHERE audit_events.user_id = @user_id::uuid AND audit_events.type = 'SIGNED_IN'
        )
        OR EXISTS (
            SELECT FROM sessions AS same
            WHERE
                same.user_id = @user_id AND same.client_address = @client_address
                AND same.user_agent = @user_agent
        )
    )::boolean AS known;
