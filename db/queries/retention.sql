-- name: UpdateRefreshTokensCleared :execrows
-- Forget the successors of tokens used longer ago than age_s: their grace is over.
UPDATE refresh_tokens SET successor_ciphertext = NULL
WHERE
    token_hash = ANY(
        ARRAY(
            SELECT old.token_hash FROM refresh_tokens AS old
            WHERE
                old.successor_ciphertext IS NOT NULL
                AND old.use_time < (SELECT clock_timestamp()) - make_interval(secs => @age_s::float8)
            ORDER BY old.use_time
            LIMIT @count_max
            FOR UPDATE SKIP LOCKED
        )
    );

-- name: DeleteExpiredMailTokens :execrows
-- One that was used has expired all the same. One whose mail was never sent stays: its life begins
-- when it is. OFFSET keeps the planner from reading the whole outbox for a join.
DELETE FROM mail_tokens
WHERE
    id = ANY(
        ARRAY(
            SELECT old.id FROM mail_tokens AS old
            WHERE
                old.expire_time < (SELECT clock_timestamp()) - make_interval(secs => @age_s::float8)
                AND NOT EXISTS (SELECT FROM outbox WHERE outbox.id = old.id AND outbox.done_time IS NULL OFFSET 0)
            ORDER BY old.expire_time
            LIMIT @count_max
            FOR UPDATE SKIP LOCKED
        )
    );

-- name: DeleteEndedRefreshTokens :execrows
-- Tokens of sessions that could not have lived longer ago than age_s.
DELETE FROM refresh_tokens
WHERE
    token_hash = ANY(
        ARRAY(
            SELECT old.token_hash
            FROM sessions
            INNER JOIN refresh_tokens AS old ON sessions.id = old.session_id
            WHERE sessions.expire_time < (SELECT clock_timestamp()) - make_interval(secs => @age_s::float8)
            ORDER BY sessions.expire_time
            LIMIT @count_max
            FOR UPDATE OF old SKIP LOCKED
        )
    );

-- name: DeleteEndedSessions :execrows
-- Of the longest ended those whose tokens are gone; these go in the same order.
DELETE FROM sessions
WHERE
    id = ANY(
        ARRAY(
            SELECT old.id FROM sessions AS old
            WHERE old.expire_time < (SELECT clock_timestamp()) - make_interval(secs => @age_s::float8)
            ORDER BY old.expire_time
            LIMIT @count_max
            FOR UPDATE SKIP LOCKED
        )
    )
    AND NOT EXISTS (SELECT FROM refresh_tokens WHERE refresh_tokens.session_id = sessions.id);

-- name: DeleteDoneOutboxJobs :execrows
-- Dead jobs stay until an operator has looked at them.
DELETE FROM outbox
WHERE
    id = ANY(
        ARRAY(
            SELECT old.id FROM outbox AS old
            WHERE old.done_time < (SELECT clock_timestamp()) - make_interval(secs => @age_s::float8)
            ORDER BY old.done_time
            LIMIT @count_max
            FOR UPDATE SKIP LOCKED
        )
    );

-- name: DeleteOldSignInThrottles :execrows
DELETE FROM sign_in_throttles
WHERE
    name_digest = ANY(
        ARRAY(
            SELECT old.name_digest FROM sign_in_throttles AS old
            WHERE old.last_failure_time < (SELECT clock_timestamp()) - make_interval(secs => @age_s::float8)
            ORDER BY old.last_failure_time
            LIMIT @count_max
            FOR UPDATE SKIP LOCKED
        )
    );

-- name: DeleteFullRateLimits :execrows
-- Nothing is lost: an absent row is a full allowance.
DELETE FROM rate_limits
WHERE
    ctid = ANY(
        ARRAY(
            SELECT old.ctid FROM rate_limits AS old
            WHERE old.full_time < (SELECT clock_timestamp()) - make_interval(secs => @age_s::float8)
            ORDER BY old.full_time
            LIMIT @count_max
            FOR UPDATE SKIP LOCKED
        )
    );

-- name: DeleteEndedWebhookDeliveries :execrows
DELETE FROM webhook_deliveries
WHERE
    id = ANY(
        ARRAY(
            SELECT old.id FROM webhook_deliveries AS old
            WHERE old.end_time < (SELECT clock_timestamp()) - make_interval(secs => @age_s::float8)
            ORDER BY old.end_time
            LIMIT @count_max
            FOR UPDATE SKIP LOCKED
        )
    );

-- name: DeleteDeliveriesOfDeletedWebhooks :execrows
-- Of those that are gone for longest.
DELETE FROM webhook_deliveries
WHERE
    id = ANY(
        ARRAY(
            SELECT old.id FROM webhook_deliveries AS old
            WHERE
                old.webhook_id = ANY(
                    ARRAY(
                        SELECT webhooks.id FROM webhooks
                        WHERE webhooks.delete_time < (SELECT clock_timestamp()) - make_interval(secs => @age_s::float8)
                        ORDER BY webhooks.delete_time
                        LIMIT 100
                    )
                )
            LIMIT @count_max
            FOR UPDATE SKIP LOCKED
        )
    );

-- name: DeleteDeletedWebhooks :execrows
-- Those that are gone for longest, without deliveries; their secrets went at once.
DELETE FROM webhooks
WHERE
    id = ANY(
        ARRAY(
            SELECT old.id FROM webhooks AS old
            WHERE old.delete_time < (SELECT clock_timestamp()) - make_interval(secs => @age_s::float8)
            ORDER BY old.delete_time
            LIMIT @count_max
            FOR UPDATE SKIP LOCKED
        )
    )
    AND NOT EXISTS (SELECT FROM webhook_deliveries WHERE webhook_deliveries.webhook_id = webhooks.id);

-- name: DeleteExpiredWebhookSecrets :execrows
DELETE FROM webhook_secrets
WHERE
    id = ANY(
        ARRAY(
            SELECT old.id FROM webhook_secrets AS old
            WHERE old.expire_time < (SELECT clock_timestamp()) - make_interval(secs => @age_s::float8)
            ORDER BY old.expire_time
            LIMIT @count_max
            FOR UPDATE SKIP LOCKED
        )
    );
