"""What the worker measures, by its Prometheus name; times in seconds."""

from prometheus_client import Counter, Gauge

JOBS = Counter("worker_jobs", "Tries of jobs by what came of them: done, retried, dead or obsolete.", ["job", "result"])
MAILS = Counter("worker_mails_sent", "Mails that the mail server took over.")
OUTBOX_AGE = Gauge("worker_outbox_age_seconds", "How long the oldest open job has waited.")
OUTBOX_QUEUED = Counter("worker_outbox_queued", "Jobs handed from the outbox to Redis, again ones included.")
EVENTS_SEQUENCED = Counter("worker_events_sequenced", "Events that were given a position.")
SEQUENCER_LAG = Gauge("worker_sequencer_lag_seconds", "Age of the oldest event when it was last given a position.")
HOLDS_EXPIRED = Counter("worker_holds_expired", "Holds that the sweep let go because their time had run out.")
ORDERS_EXPIRED = Counter("worker_orders_expired", "Orders that ended because they were not shipped in time.")
SCHEDULES_EXECUTED = Counter(
    "worker_schedules_executed", "Scheduled transfers by their end: posted or failed.", ["end"]
)
LEDGER_HEAD_POSITION = Gauge("worker_ledger_head_position", "The last position in the hash chain.")
WEBHOOK_ATTEMPTS = Counter(
    "worker_webhook_attempts", "Requests to webhooks by their outcome: delivered, or why they failed.", ["outcome"]
)
WEBHOOK_PENDING = Gauge("worker_webhook_pending", "Deliveries that are to be tried, now or later.")
WEBHOOK_LAG = Gauge("worker_webhook_lag_seconds", "How long the webhook that is due for longest has waited.")
WEBHOOKS_DISABLED = Counter("worker_webhooks_disabled", "Webhooks that were disabled because nothing succeeded.")
ROWS_REMOVED = Counter("worker_rows_removed", "What the retention removed, by what it was.", ["kind"])
