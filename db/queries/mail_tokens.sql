-- name: InsertMailToken :exec
INSERT INTO mail_tokens (id, user_id, purpose, email, token_hash, expire_time)
VALUES (@id, @user_id, @purpose, @email, @token_hash, now() + make_interval(secs => @ttl_s::float8));

-- name: GetMailTokenUserId :one
-- Whose token this is, whether or not it is still good.
SELECT user_id FROM mail_tokens WHERE token_hash = @token_hash AND purpose = @purpose;

-- name: MarkMailTokenUsed :one
-- Use a token up, under the lock of its user; the address it proves, if it is still good.
UPDATE mail_tokens SET use_time = clock_timestamp()
WHERE token_hash = @token_hash AND purpose = @purpose AND use_time IS NULL AND expire_time > clock_timestamp()
RETURNING email;

-- name: MarkMailTokensSuperseded :exec
-- A newer token replaces all older ones.
UPDATE mail_tokens SET use_time = clock_timestamp()
WHERE user_id = @user_id AND purpose = @purpose AND use_time IS NULL;

-- name: GetMailTokenRecent :one
-- Whether the user was sent one in the last `age_s` seconds.
SELECT
    EXISTS (
        SELECT FROM mail_tokens
        WHERE
            user_id = @user_id AND purpose = @purpose
            AND create_time > clock_timestamp() - make_interval(secs => @age_s::float8)
    )::boolean AS recent;
