-- name: InsertEvent :exec
-- Record a fact in the transaction of the fact.
INSERT INTO events (type, subject_id, user_id, data) VALUES (@type, @subject_id, @user_id, @data);

-- name: LockSequencing :one
-- Become the one sequencer of the database for as long as this connection lasts.
SELECT pg_try_advisory_lock(@key::bigint) AS locked;

-- name: UpdateEventPositions :one
-- Give the next positions to committed events without one, in id order. The limit is written out:
-- as a parameter it would hide from the planner how few rows are joined.
WITH numbered AS (
    SELECT
        unsequenced.id,
        (SELECT coalesce(max(events.position), 0) FROM events)
        + row_number() OVER (ORDER BY unsequenced.id) AS position
    FROM (
        SELECT waiting.id FROM events AS waiting
        WHERE waiting.position IS NULL AND waiting.id > @after_id
        ORDER BY waiting.id
        LIMIT 1000
    ) AS unsequenced
),

sequenced AS (
    UPDATE events SET position = numbered.position
    FROM numbered
    WHERE events.id = numbered.id
    RETURNING events.id, events.create_time
)

SELECT
    count(*)::integer AS event_count,
    coalesce(max(id), 0)::bigint AS last_id,
    coalesce(extract(EPOCH FROM clock_timestamp() - min(create_time)), 0)::float8 AS lag_s
FROM sequenced;

-- name: GetLastPosition :one
-- Everything up to this position can be read: positions become visible in their order.
SELECT coalesce(max(position), 0)::bigint AS position FROM events;

-- name: ListEvents :many
-- Everybody's, in the order of positions.
SELECT id, position::bigint AS position, type, subject_id, user_id, counterparty_user_id, data, create_time
FROM events
WHERE position > @after_position
ORDER BY position
LIMIT @most;

-- name: ListEventsOfUser :many
-- Those of one user on either side, in the order of positions; one with both sides is listed once.
-- Pairs are compared, because only the index that begins with the user is in their order: told
-- "of this user", the planner may walk through everybody's events instead and filter.
SELECT
    page.id,
    page.position::bigint AS position,
    page.type,
    page.subject_id,
    page.user_id,
    page.counterparty_user_id,
    page.data,
    page.create_time
FROM (
    (
        SELECT * FROM events
        WHERE
            (events.user_id, events.position) > (@user_id::uuid, @after_position::bigint)
            AND (events.user_id, events.position) <= (@user_id::uuid, 9223372036854775807)
            AND events.position IS NOT NULL
        ORDER BY events.user_id, events.position
        LIMIT @most
    )
    UNION ALL
    (
        SELECT * FROM events
        WHERE
            (events.counterparty_user_id, events.position) > (@user_id::uuid, @after_position::bigint)
            AND (events.counterparty_user_id, events.position) <= (@user_id::uuid, 9223372036854775807)
            AND events.position IS NOT NULL
            AND events.counterparty_user_id IS NOT NULL
            AND events.user_id IS DISTINCT FROM @user_id::uuid
        ORDER BY events.counterparty_user_id, events.position
        LIMIT @most
    )
) AS page
ORDER BY page.position
LIMIT @most;
