-- name: GetRequest :one
SELECT * FROM requests WHERE user_id = @user_id AND request_id = @request_id;

-- name: AddRequest :execrows
-- Claim a request id: 1 if it was free. Waits for another transaction that is claiming it.
INSERT INTO requests (user_id, request_id, rpc, fingerprint, result_id)
VALUES (@user_id, @request_id, @rpc, @fingerprint, @result_id)
ON CONFLICT DO NOTHING;

-- name: GetClock :one
SELECT clock_timestamp()::timestamptz AS now;

-- name: ListMovementContexts :many
-- What the rules need to know of each movement beside its accounts, read after they are locked:
-- one row for each ordinal, in no order.
SELECT
    asked.ordinal::integer AS ordinal,
    coalesce(
        sessions.revoke_time IS NULL
        AND sessions.expire_time > clock.now
        AND sessions.idle_expire_time > clock.now,
        false
    )::boolean AS session_live,
    coalesce(users.disabled, true)::boolean AS user_disabled,
    coalesce(users.email_verified, false)::boolean AS email_verified,
    coalesce(users.roles, '{}')::text [] AS roles,
    requests.rpc AS request_rpc,
    requests.fingerprint AS request_fingerprint,
    requests.result_id AS request_result_id,
    (transfers.id IS NOT NULL)::boolean AS reference_taken,
    clock.now::timestamptz AS now
FROM (
    SELECT
        unnest(@ordinals::integer []) AS ordinal,
        unnest(@session_ids::uuid []) AS session_id,
        unnest(@user_ids::uuid []) AS user_id,
        unnest(@request_ids::uuid []) AS request_id,
        unnest(@refs::text []) AS reference
) AS asked
CROSS JOIN (SELECT clock_timestamp() AS now) AS clock
LEFT JOIN sessions ON sessions.id = asked.session_id AND sessions.user_id = asked.user_id
LEFT JOIN users ON users.id = asked.user_id
LEFT JOIN requests ON requests.user_id = asked.user_id AND requests.request_id = asked.request_id
LEFT JOIN transfers ON transfers.initiator_user_id = asked.user_id AND transfers.reference = asked.reference;
