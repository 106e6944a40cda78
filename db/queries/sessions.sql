-- name: InsertSession :one
-- Begin a session, unless the user was disabled in the meantime.
INSERT INTO sessions (id, user_id, user_agent, client_address, idle_expire_time, expire_time)
SELECT
    @id,
    users.id,
    @user_agent,
    @client_address,
    now() + make_interval(secs => least(@idle_ttl_s::float8, @ttl_s::float8)),
    now() + make_interval(secs => @ttl_s::float8)
FROM users
WHERE users.id = @user_id AND NOT users.disabled
FOR KEY SHARE
RETURNING *;

-- name: LockSession :one
SELECT * FROM sessions WHERE id = @id FOR NO KEY UPDATE;

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

-- name: MarkSessionRevoked :exec
UPDATE sessions SET revoke_time = clock_timestamp() WHERE id = @id AND revoke_time IS NULL;
