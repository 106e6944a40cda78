-- name: InsertRefreshToken :exec
INSERT INTO refresh_tokens (token_hash, session_id) VALUES (@token_hash, @session_id);

-- name: LockUserOfRefreshToken :one
-- Whoever changes sessions locks their user first: two changes at once never wait for each other.
SELECT sessions.id AS session_id, users.id AS user_id, users.disabled
FROM refresh_tokens
INNER JOIN sessions ON refresh_tokens.session_id = sessions.id
INNER JOIN users ON sessions.user_id = users.id
WHERE refresh_tokens.token_hash = @token_hash
FOR NO KEY UPDATE OF users;

-- name: GetRefreshToken :one
-- A token as it is under the lock of its session.
SELECT
    (use_time IS NOT NULL)::boolean AS used,
    coalesce(use_time > clock_timestamp() - make_interval(secs => @grace_s::float8), false)::boolean AS within_grace,
    successor_ciphertext
FROM refresh_tokens
WHERE token_hash = @token_hash;

-- name: MarkRefreshTokenUsed :exec
UPDATE refresh_tokens SET use_time = clock_timestamp(), successor_ciphertext = @successor_ciphertext::bytea
WHERE token_hash = @token_hash;
