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

-- name: LockUnverifiedUsersByEmail :many
-- Users who may be sent a verification mail at this address: the newest few, as anyone may have
-- signed up with it. Locked in id order.
SELECT * FROM users
WHERE
    id IN (
        SELECT candidate.id FROM users AS candidate
        WHERE lower(candidate.email) = lower(@email) AND NOT candidate.email_verified AND NOT candidate.disabled
        ORDER BY candidate.id DESC
        LIMIT @count_max
    )
    AND lower(email) = lower(@email) AND NOT email_verified AND NOT disabled
ORDER BY id
FOR NO KEY UPDATE;

-- name: UpdateUserProfile :one
-- Another address has to be proven again.
UPDATE users
SET
    full_name = @full_name,
    email_verified = email_verified AND email = @email,
    email = @email,
    update_time = now()
WHERE id = @id
RETURNING *;

-- name: MarkUserEmailVerified :one
-- Fails on users_verified_email_key if another user has proven this address.
UPDATE users SET email_verified = true, update_time = now()
WHERE id = @id AND email = @email
RETURNING *;

-- name: UpdateUserRoles :one
UPDATE users SET roles = @roles, update_time = now() WHERE id = @id RETURNING *;

-- name: UpdateUserDisabled :one
UPDATE users SET disabled = @disabled, update_time = now() WHERE id = @id RETURNING *;

-- name: UpdatePasswordHash :exec
-- Replace the hash that was just verified, unless the password changed in the meantime.
UPDATE users SET password_hash = @password_hash, update_time = now()
WHERE id = @id AND password_hash = @old_password_hash;
