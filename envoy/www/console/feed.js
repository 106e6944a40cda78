import { ApiError, openStream } from "./api.js";

const SILENCE_MS = 40_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
const STEADY_MS = 5_000;

/**
 * Read server-sent events from a stream of bytes, however it is cut into pieces.
 *
 * @param {ReadableStream<Uint8Array>} stream
 * @yields {{id: string, data: string}}
 */
export async function* serverSentEvents(stream) {
  let pending = "";
  for await (const text of chunksOf(stream.pipeThrough(new TextDecoderStream()))) {
    pending += text;
    const blocks = pending.split("\n\n");
    pending = blocks.pop();
    for (const block of blocks) {
      yield parseBlock(block);
    }
  }
}

/**
 * Follow what happens to the user of a session, without loss or repeat: whatever breaks, the stream
 * is opened again after the last cursor. A hidden page holds no stream and catches up when
 * it is seen again, because browsers allow few connections to one host.
 *
 * @param {object} options
 * @param {import("./session.js").Session} options.session Followed until it ends.
 * @param {string} options.cursor Where to begin.
 * @param {(event: object) => void} options.onEvent Told of each event once, in order.
 * @param {(state: "connecting" | "live" | "paused") => void} options.onState
 */
export async function followFeed({ session, cursor, onEvent, onState }) {
  let pause_ms = FIRST_PAUSE_MS;
  while (!session.ended) {
    await untilVisible(onState);
    let liveSince_ms = Infinity;
    let end;
    let retryDelay_ms = 0;
    try {
      for await (const message of watch(session, cursor)) {
        onState("live");
        liveSince_ms = Math.min(liveSince_ms, Date.now());
        cursor = (message.event ?? message.heartbeat ?? message.end).cursor;
        end = message.end?.reason;
        if (message.event) {
          onEvent(message.event);
        } else if (end === "END_REASON_SESSION_ENDED") {
          session.endedByService("revoked");
        }
      }
    } catch (error) {
      retryDelay_ms = error.retryDelay_ms ?? 0;
    }
    if (session.ended || document.hidden || end === "END_REASON_TOKEN_EXPIRED") {
      continue;
    }
    // Also after an answer that ends without a word: what stands between may give one at once, again and again.
    onState("connecting");
    if (Date.now() - liveSince_ms >= STEADY_MS) {
      pause_ms = FIRST_PAUSE_MS;
    }
    await sleep(Math.max(pause_ms, retryDelay_ms));
    pause_ms = Math.min(pause_ms * 2, LONGEST_PAUSE_MS);
  }
}

/** The messages of one stream, until it ends, breaks, goes silent, or the page is hidden. */
async function* watch(session, cursor) {
  const aborting = new AbortController();
  const onHidden = () => document.hidden && aborting.abort();
  document.addEventListener("visibilitychange", onHidden);
  let silence;
  const expectMore = () => {
    clearTimeout(silence);
    silence = setTimeout(() => aborting.abort(), SILENCE_MS);
  };
  try {
    expectMore();
    const stream = await openAsUser(session, cursor, aborting.signal);
    for await (const { data } of serverSentEvents(stream)) {
      expectMore();
      // Signing out closes the stream; it does not wait for the service to do it.
      if (session.ended) {
        return;
      }
      yield JSON.parse(data);
    }
  } finally {
    clearTimeout(silence);
    document.removeEventListener("visibilitychange", onHidden);
    aborting.abort();
  }
}

async function openAsUser(session, lastEventId, signal) {
  const token = await session.accessToken();
  try {
    return await openStream("/v1/events:watch", { token, lastEventId, signal });
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 401) {
      throw error;
    }
    // A session that is over shows when the token is exchanged.
    return openStream("/v1/events:watch", { token: await session.accessToken(token), lastEventId, signal });
  }
}

async function* chunksOf(stream) {
  const reader = stream.getReader();
  try {
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      yield chunk.value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parseBlock(block) {
  const message = { id: "", data: "" };
  for (const line of block.split("\n")) {
    const [, name, value] = /^(id|data): ?(.*)$/.exec(line) ?? [];
    if (name) {
      message[name] += value;
    }
  }
  return message;
}

function untilVisible(onState) {
  if (!document.hidden) {
    return Promise.resolve();
  }
  onState("paused");
  return new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

function sleep(duration_ms) {
  return new Promise((resolve) => setTimeout(resolve, duration_ms));
}
