-- name: AddSignInThrottle :exec
INSERT INTO sign_in_throttles (name_digest, failure_count, last_failure_time, retry_time)
VALUES (@name_digest, 0, clock_timestamp(), clock_timestamp())
ON CONFLICT DO NOTHING;

-- name: CountSignInAttempt :one
-- Count one more failure before the password is checked, so that parallel guesses are all counted;
-- no row while the name is throttled. A row that nobody failed on for so long begins anew.
UPDATE sign_in_throttles
SET
    failure_count = CASE
        WHEN last_failure_time < clock_timestamp() - make_interval(secs => @forget_s::float8) THEN 1
        ELSE failure_count + 1
    END,
    last_failure_time = clock_timestamp()
WHERE name_digest = @name_digest AND retry_time <= clock_timestamp()
RETURNING failure_count;

-- name: SetSignInRetryTime :exec
UPDATE sign_in_throttles
SET retry_time = greatest(retry_time, clock_timestamp() + make_interval(secs => @delay_s::float8))
WHERE name_digest = @name_digest;

-- name: GetSignInDelay :one
-- Seconds until a throttled name is checked again.
SELECT greatest(extract(EPOCH FROM retry_time - clock_timestamp()), 0)::float8 AS delay_s
FROM sign_in_throttles
WHERE name_digest = @name_digest;

-- name: UndoSignInAttempt :exec
-- The attempt that was counted last was not made.
UPDATE sign_in_throttles SET failure_count = greatest(failure_count - 1, 0), retry_time = clock_timestamp()
WHERE name_digest = @name_digest;

-- name: DeleteSignInThrottle :exec
DELETE FROM sign_in_throttles WHERE name_digest = @name_digest;

-- name: AddRateLimit :exec
INSERT INTO rate_limits (action, subject, full_time) VALUES (@action, @subject, clock_timestamp())
ON CONFLICT DO NOTHING;

-- name: TakeRateLimit :one
-- Take one of an allowance of which one is refilled every interval_s seconds and that is used up
-- once full_time is more than window_s seconds away; no row if it is.
UPDATE rate_limits
SET full_time = greatest(full_time, clock_timestamp()) + make_interval(secs => @interval_s::float8)
WHERE
    action = @action AND subject = @subject
    AND full_time <= clock_timestamp() + make_interval(secs => @window_s::float8)
RETURNING full_time;

-- name: GetRateLimitDelay :one
-- Seconds until one of the allowance is there again.
SELECT
    greatest(extract(EPOCH FROM full_time - clock_timestamp()) - @window_s::float8, 0)::float8 AS delay_s
FROM rate_limits
WHERE action = @action AND subject = @subject;

-- name: GiveBackRateLimit :exec
-- Undo one take.
UPDATE rate_limits SET full_time = full_time - make_interval(secs => @interval_s::float8)
WHERE action = @action AND subject = @subject;
