-- name: InsertMailToken :exec
INSERT INTO mail_tokens (id, user_id, purpose, email, token_hash, expire_time)
VALUES (@id, @user_id, @purpose, @email, @token_hash, now() + make_interval(secs => @ttl_s::float8));

-- name: GetUserByMailToken :one
-- Who was sent this token, if it is still good. It may be used up before the user is locked.
SELECT users.*
FROM mail_tokens
INNER JOIN users ON mail_tokens.user_id = users.id
WHERE
    mail_tokens.token_hash = @token_hash AND mail_tokens.purpose = @purpose
    AND mail_tokens.use_time IS NULL AND mail_tokens.expire_time > clock_timestamp()
    AND NOT users.disabled;

-- name: GetMailTokenEmail :one
-- The address a token was mailed to, whether or not it is still good.
SELECT email FROM mail_tokens WHERE token_hash = @token_hash AND purpose = @purpose;

-- name: MarkMailTokenUsed :one
-- Use a token up, under the lock of its user; the address it was mailed to, if it is still good.
UPDATE mail_tokens SET use_time = clock_timestamp()
WHERE token_hash = @token_hash AND purpose = @purpose AND use_time IS NULL AND expire_time > clock_timestamp()
RETURNING email;

-- name: MarkMailTokensSuperseded :exec
-- End all tokens of a user for one purpose: a newer one replaces them, or they are of no use any more.
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

-- name: CountMailTokensOfAddress :one
-- How many were made for this address and purpose in the last `age_s` seconds.
SELECT count(*)::integer AS token_count
FROM mail_tokens
WHERE
    lower(email) = lower(@email) AND purpose = @purpose
    AND create_time > clock_timestamp() - make_interval(secs => @age_s::float8);

-- name: StartMailToken :one
-- What the mail with a token says. The life of the token begins anew, however late the mail is; but
-- for a few minutes it keeps its times, so that a mail that must be repeated is the same. No row
-- once it is used or superseded. Whose address changes is asked for a new token, so a token that is
-- still good was made for the right address.
UPDATE mail_tokens
SET
    expire_time = CASE
        WHEN mail_tokens.expire_time < clock_timestamp() + make_interval(secs => @renewed_below_s::float8)
            THEN clock_timestamp() + make_interval(secs => @ttl_s::float8)
        ELSE mail_tokens.expire_time
    END
FROM users
WHERE
    mail_tokens.id = @id AND mail_tokens.purpose = @purpose AND mail_tokens.use_time IS NULL
    AND mail_tokens.user_id = users.id AND NOT users.disabled
RETURNING
    users.id AS user_id,
    users.username,
    mail_tokens.email,
    mail_tokens.expire_time;
