-- name: InsertRefreshToken :exec
INSERT INTO refresh_tokens (token_hash, session_id) VALUES (@token_hash, @session_id);

-- name: GetRefreshTokenSessionId :one
SELECT session_id FROM refresh_tokens WHERE token_hash = @token_hash;

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
