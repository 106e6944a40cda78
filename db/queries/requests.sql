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
-- What the rules need to know beside the accounts, read after they are locked: one row, without an
-- ordinal, for each session and user named, and one for each movement whose request id or reference
-- was used before.
WITH clock AS MATERIALIZED (
    SELECT clock_timestamp() AS now
)

SELECT
    null::integer AS ordinal,
    asked.session_id::uuid AS session_id,
    asked.user_id::uuid AS user_id,
    coalesce(
        sessions.revoke_time IS NULL
        AND sessions.expire_time > clock.now
        AND sessions.idle_expire_time > clock.now,
        false
    )::boolean AS session_live,
    coalesce(users.disabled, true)::boolean AS user_disabled,
    coalesce(users.email_verified, false)::boolean AS email_verified,
    coalesce(users.roles, '{}')::text [] AS roles,
    null::text AS request_rpc,
    null::bytea AS request_fingerprint,
    null::uuid AS request_result_id,
    false AS reference_taken,
    clock.now::timestamptz AS now
FROM (SELECT unnest(@session_ids::uuid []) AS session_id, unnest(@user_ids::uuid []) AS user_id) AS asked
CROSS JOIN clock
LEFT JOIN sessions ON sessions.id = asked.session_id AND sessions.user_id = asked.user_id
LEFT JOIN users ON users.id = asked.user_id
UNION ALL
SELECT
    asked.ordinal,
    null,
    asked.user_id,
    false,
    false,
    false,
    null,
    requests.rpc,
    requests.fingerprint,
    requests.result_id,
    transfers.id IS NOT NULL,
    null
FROM (
    SELECT
        unnest(@ordinals::integer []) AS ordinal,
        unnest(@request_user_ids::uuid []) AS user_id,
        unnest(@request_ids::uuid []) AS request_id,
        unnest(@refs::text []) AS reference
) AS asked
LEFT JOIN requests ON requests.user_id = asked.user_id AND requests.request_id = asked.request_id
LEFT JOIN transfers ON transfers.initiator_user_id = asked.user_id AND transfers.reference = asked.reference
WHERE requests.result_id IS NOT NULL OR transfers.id IS NOT NULL;
