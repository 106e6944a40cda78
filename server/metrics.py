"""What is measured, by its Prometheus name; durations in seconds."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# Named after OpenTelemetry's semantic conventions for RPC, rpc.server.call.duration.
RPC_SECONDS = Histogram(
    "rpc_server_call_duration_seconds",
    "Time from the arrival of a call to its last byte.",
    ["rpc_method", "rpc_response_status_code"],
    buckets=_SECONDS,
)
RPC_REFUSALS = Counter(
    "rpc_server_refusals", "Calls that ended with an error, by the reason they were told.", ["reason"]
)
EVENT_WATCHES = Gauge("event_watches", "Watches that are open.")
EVENTS_TOLD = Counter("event_messages", "Events that were told to watches.")
EVENT_LAG = Gauge("event_lag_seconds", "Age of the newest event when it was last read for the watches.")
EVENT_OVERFLOWS = Counter("event_overflows", "Watches that were too slow and went back to reading the database.")
LEDGER_BATCH_SIZE = Histogram(
    "ledger_batch_size",
    "Movements that were posted in one transaction.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 256, 500, 1000),
)
LEDGER_COMMIT_SECONDS = Histogram(
    "ledger_commit_seconds", "Time of one transaction of the ledger, locks included.", buckets=_SECONDS
)
LEDGER_WAITING = Gauge("ledger_waiting_movements", "Movements that wait to be posted.")
LEDGER_RETRIES = Counter("ledger_retries", "Batches that were run again.", ["cause"])
# What an alert counts is there from the start: the step from nothing to 1 is no increase to Prometheus.
for _cause in ("UniqueViolationError", "SerializationError", "DeadlockDetectedError", "CommitUnknown"):
    LEDGER_RETRIES.labels(_cause)
LEDGER_REFUSALS = Counter("ledger_refusals", "Movements that a rule refused.", ["reason"])
LEDGER_DEFECTS = Counter("ledger_defects", "Movements that failed alone for no known reason.")
LEDGER_MONEY_MOVED = Counter(
    "ledger_money_moved_minor", "Money that was posted, in minor units of its currency.", ["currency", "kind"]
)
LEDGER_VERIFICATIONS = Counter(
    "ledger_verifications", "Checks of the whole ledger by what they found: consistent or different.", ["result"]
)
for _result in ("consistent", "different"):
    LEDGER_VERIFICATIONS.labels(_result)
POOL_CONNECTIONS = Gauge(
    "db_client_connection_count",
    "Connections to the database by pool: used or idle.",
    ["db_client_connection_pool_name", "db_client_connection_state"],
)
POOL_CONNECTIONS_MAX = Gauge(
    "db_client_connection_max", "Connections that a pool may open.", ["db_client_connection_pool_name"]
)
POOL_WAITING = Gauge(
    "db_client_connection_pending_requests", "Callers that wait for a connection.", ["db_client_connection_pool_name"]
)
POOL_TIMEOUTS = Counter(
    "db_client_connection_timeouts", "Callers that waited for a connection in vain.", ["db_client_connection_pool_name"]
)
CLOCK_SKEW = Gauge("clock_skew_seconds", "How far the clock of this machine is ahead of the clock of the database.")
LOOP_LAG = Histogram(
    "event_loop_lag_seconds",
    "How late the event loop comes to what is due.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
)
BUILD_INFO = Gauge("build_info", "Always 1; what this process is.", ["version", "python_version"])
