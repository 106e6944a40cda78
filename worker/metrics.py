"""What the worker measures, by its Prometheus name; times in seconds."""

from prometheus_client import Counter, Gauge, Histogram

JOBS = Counter(
    "worker_jobs", "Tries of jobs by what came of them: done, retried, dead or obsolete.", ["job_name", "result"]
)
JOB_AGE = Histogram(
    "worker_job_age_seconds",
    "Time from when a job was asked for until it was done.",
    ["job_name"],
    buckets=(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 10800.0),
)
DEAD_LETTERS = Gauge("worker_dead_letters", "Jobs that were given up and wait for an operator.")
OUTBOX_OPEN = Gauge("worker_outbox_open_jobs", "Jobs that are not done and not given up.")
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
for _end in ("posted", "failed"):
    SCHEDULES_EXECUTED.labels(_end)
LEDGER_HEAD_POSITION = Gauge("worker_ledger_head_position", "The last position in the hash chain.")
ROWS_REMOVED = Counter("worker_rows_removed", "What the retention removed, by what it was.", ["kind"])
