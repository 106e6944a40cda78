-- name: InsertUser :one
INSERT INTO users (id, username, password_hash, full_name, email)
VALUES (@id, @username, @password_hash, @full_name, @email)
RETURNING *;

-- name: GetUser :one
SELECT * FROM users WHERE id = @id;

-- name: GetUserByUsername :one
SELECT * FROM users WHERE username = @username;

-- name: ListUsers :many
-- Newest first, after the user named by the page token.
SELECT * FROM users WHERE id < @before_id ORDER BY id DESC LIMIT @page_size;

-- name: LockUser :one
-- Lock a user against other changes of them; their mail tokens are written under this lock only.
SELECT * FROM users WHERE id = @id FOR NO KEY UPDATE;

-- name: LockUserAndReferences :one
-- Lock a user so that nothing new can refer to them: no session or account appears meanwhile.
SELECT * FROM users WHERE id = @id FOR UPDATE;

-- name: LockUsersToVerifyByEmail :many
-- Users who may be sent a verification mail at this address, their own unproven or their pending
-- one: the newest few, as anyone may have asked for it. Locked in id order.
SELECT * FROM users
WHERE
    id IN (
        SELECT candidate.id FROM users AS candidate
        WHERE
            NOT candidate.disabled
            AND (
                (lower(candidate.email) = lower(@email) AND NOT candidate.email_verified)
                OR lower(candidate.pending_email) = lower(@email)
            )
        ORDER BY candidate.id DESC
        LIMIT @count_max
    )
    AND ((lower(email) = lower(@email) AND NOT email_verified) OR lower(pending_email) = lower(@email))
    AND NOT disabled
ORDER BY id
FOR NO KEY UPDATE;

-- name: UpdateUserProfile :one
-- What is not given stays as it is.
UPDATE users
SET
    full_name = coalesce(sqlc.narg('full_name')::text, full_name),
    payable_by_name = coalesce(sqlc.narg('payable_by_name')::boolean, payable_by_name),
    update_time = now()
WHERE id = @id
RETURNING *;

-- name: MarkUserEmailVerified :one
-- The address, the user's own or pending one, is proven. Fails on users_verified_email_key if
-- another user has proven it.
UPDATE users
SET email = @email, email_verified = true, pending_email = NULL, update_time = now()
WHERE id = @id AND @email IN (email, pending_email)
RETURNING *;

-- name: UpdateUserRoles :one
UPDATE users SET roles = @roles, update_time = now() WHERE id = @id RETURNING *;

-- name: UpdateUserDisabled :one
UPDATE users SET disabled = @disabled, update_time = now() WHERE id = @id RETURNING *;

-- name: UpdatePasswordHash :exec
-- Replace the hash that was just verified, unless the password changed in the meantime.
UPDATE users SET password_hash = @password_hash, update_time = now()
WHERE id = @id AND password_hash = @old_password_hash;

-- name: SetPasswordHash :exec
-- Replace the password. An address that was asked for under the old one is given up: whoever knew
-- the old password must not get the user by it.
UPDATE users SET password_hash = @password_hash, pending_email = NULL, update_time = now() WHERE id = @id;

-- name: UpdateUserEmail :one
-- Replace the address of a user who has not proven theirs.
UPDATE users SET email = @email, pending_email = NULL, update_time = now()
WHERE id = @id AND NOT email_verified
RETURNING *;

-- name: UpdateUserPendingEmail :one
UPDATE users SET pending_email = @pending_email, update_time = now() WHERE id = @id RETURNING *;

-- name: LockVerifiedUserByEmail :one
-- The one user who has proven this address.
SELECT * FROM users
WHERE lower(email) = lower(@email) AND email_verified AND NOT disabled
FOR NO KEY UPDATE;

-- name: ListUsernames :many
SELECT id, username FROM users WHERE id = ANY(@ids::uuid []);
