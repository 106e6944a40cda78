/** A call that was refused, or whose outcome nobody knows. */
export class ApiError extends Error {
  /**
   * @param {object} facts
   * @param {number} facts.status Of HTTP; 0 when no answer came.
   * @param {string} facts.reason Of docs/errors.md; UNREACHABLE when no answer came.
   * @param {string} facts.message A sentence for developers.
   * @param {Record<string, string>} [facts.metadata] The facts of the refusal.
   * @param {{field: string, description: string}[]} [facts.violations] Every wrong field.
   * @param {number} [facts.retryDelay_ms] How long to wait before the same call; 0 if nobody said.
   */
  constructor({ status, reason, message, metadata = {}, violations = [], retryDelay_ms = 0 }) {
    super(message);
    Object.assign(this, { status, reason, metadata, violations, retryDelay_ms });
  }

  /** Whether the call may have happened: it is settled by sending it again with the same request id. */
  get outcomeUnknown() {
    return this.status === 0 || this.status === 408 || this.status >= 500;
  }
}

/**
 * Call the JSON API of the origin this page came from.
 *
 * @param {string} method
 * @param {string} path Beginning with /v1/.
 * @param {object} [options]
 * @param {object} [options.query] Parameters; empty ones are left out.
 * @param {object} [options.body] Sent as JSON.
 * @param {string} [options.token] Access token.
 * @param {AbortSignal} [options.signal]
 * @returns {Promise<object>} The answer.
 * @throws {ApiError} Refused, or no answer. An aborted call rejects with the signal's reason.
 */
export async function callApi(method, path, options = {}) {
  let response;
  let answer;
  try {
    response = await send(method, path, options);
    answer = await response.json();
  } catch (error) {
    options.signal?.throwIfAborted();
    throw unreachable(response, error);
  }
  if (!response.ok) {
    throw refusal(response.status, answer);
  }
  return answer;
}

/**
 * Open a stream of server-sent events.
 *
 * @param {string} path
 * @param {{token: string, lastEventId: string, signal: AbortSignal}} options
 * @returns {Promise<ReadableStream<Uint8Array>>}
 * @throws {ApiError} As callApi.
 */
export async function openStream(path, { token, lastEventId, signal }) {
  let response;
  try {
    response = await send("GET", path, { token, signal, headers: { "last-event-id": lastEventId } });
    if (response.ok) {
      return response.body;
    }
    throw refusal(response.status, await response.json());
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof ApiError ? error : unreachable(response, error);
  }
}

/** A random UUID, also where a page without TLS has no crypto.randomUUID. */
export function newRequestId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/**
 * Keeps the requests of what somebody means to do once. Who means the same again is given the very
 * same request, however often the call failed, until `done` says what became of it.
 *
 * @returns {{request: (meant: object, body?: object) => object, done: (meant: object) => void}}
 *   body: What is sent for it beside a request id, if that is more.
 */
export function createIntent() {
  const requests = new Map();
  const keyOf = (meant) => JSON.stringify(meant);
  return {
    request(meant, body = meant) {
      const key = keyOf(meant);
      if (!requests.has(key)) {
        requests.set(key, { ...body, request_id: newRequestId() });
      }
      return requests.get(key);
    },
    done(meant) {
      requests.delete(keyOf(meant));
    },
  };
}

function send(method, path, { query = {}, body, token, signal, headers = {} }) {
  const url = new URL(path, location.origin);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== "") {
      url.searchParams.set(name, value);
    }
  }
  return fetch(url, {
    method,
    signal,
    credentials: "omit",
    cache: "no-store",
    headers: {
      ...headers,
      ...(body ? { "content-type": "application/json" } : {}),
      ...(token ? { authorization: `Bearer ${token}` } : {}),
    },
    body: body && JSON.stringify(body),
  });
}

function unreachable(response, error) {
  // A refusal that is no JSON came from something between here and the service; a good answer that is none broke off.
  const status = !response || response.ok ? 0 : response.status;
  return new ApiError({ status, reason: "UNREACHABLE", message: String(error) });
}

function refusal(status, answer) {
  const detail = (name) => answer.details?.find((each) => each["@type"].endsWith(`/google.rpc.${name}`)) ?? {};
  const { reason = "UNKNOWN", metadata = {} } = detail("ErrorInfo");
  return new ApiError({
    status,
    reason,
    metadata,
    message: answer.message ?? "",
    violations: detail("BadRequest").field_violations,
    retryDelay_ms: Math.ceil(parseFloat(detail("RetryInfo").retry_delay ?? "0") * 1000),
  });
}
