import { ApiError, callApi } from "./api.js";

const LONGEST_MARGIN_MS = 60_000;
const SHARE_OF_LIFETIME = 0.25;
const REFRESH_TRIES = 4;
// A second less than the service allows, for the way there.
const PRESENTABLE_MS = 9_000;

/**
 * Somebody who has signed in. The tokens live in this object and nowhere else: they are gone with
 * the page, and another tab has its own.
 */
export class Session {
  #id;
  #accessToken;
  #refreshToken;
  /** When the refresh token was first shown and its answer lost; 0 if that has not happened. */
  #shownAt_ms = 0;
  #renewAt_ms;
  #timer;
  #renewal = null;
  #ended = false;
  #onEnd = () => {};

  /**
   * @param {string} username
   * @param {string} password
   * @returns {Promise<Session>}
   * @throws {ApiError} BAD_CREDENTIALS, LOGIN_THROTTLED, or no answer.
   */
  static async signIn(username, password) {
    const session = new Session();
    session.#keep(await callApi("POST", "/v1/sessions", { body: { username, password } }));
    return session;
  }

  /** @param {(why: string) => void} listener Told once when the session has ended by itself. */
  set onEnd(listener) {
    this.#onEnd = listener;
  }

  /** Whether calls are still possible. */
  get ended() {
    return this.#ended;
  }

  /**
   * Make a call as this user; see callApi. Expired tokens are exchanged on the way.
   *
   * @throws {ApiError} A session that is over is UNAUTHENTICATED or SESSION_REVOKED, after `onEnd`.
   */
  async call(method, path, options = {}) {
    const token = await this.accessToken();
    try {
      return await callApi(method, path, { ...options, token });
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) {
        throw error;
      }
      return await this.#callAgain(error, token, method, path, options);
    }
  }

  /**
   * A token that is good for a while yet.
   *
   * @param {string} [refused] A token that the service no longer takes.
   * @returns {Promise<string>}
   * @throws {ApiError} The session is over, or the service cannot be reached.
   */
  async accessToken(refused = "") {
    if (this.#ended) {
      throw new ApiError({ status: 401, reason: "SESSION_REVOKED", message: "signed out" });
    }
    if (this.#accessToken === refused || Date.now() >= this.#renewAt_ms) {
      await this.#renew();
    }
    return this.#accessToken;
  }

  /** Forget the tokens because the session is over. */
  endedByService(why) {
    if (!this.#ended) {
      this.#forget();
      this.#onEnd(why);
    }
  }

  /** Sign out: the service revokes the session; the tokens are forgotten whether it answers or not. */
  async signOut() {
    const token = this.#accessToken;
    const path = `/v1/sessions/${this.#id}`;
    this.#forget();
    try {
      await callApi("DELETE", path, { token, signal: AbortSignal.timeout(5_000) });
    } catch {
      // Nothing to be done about it here: the session ends by itself when it is not refreshed.
    }
  }

  async #callAgain(error, token, method, path, options) {
    if (error.reason === "SESSION_REVOKED") {
      this.endedByService("revoked");
      throw error;
    }
    try {
      return await callApi(method, path, { ...options, token: await this.accessToken(token) });
    } catch (second) {
      if (second instanceof ApiError && second.status === 401) {
        this.endedByService("revoked");
      }
      throw second;
    }
  }

  #renew() {
    this.#renewal ??= this.#exchange().finally(() => {
      this.#renewal = null;
    });
    return this.#renewal;
  }

  /**
   * The same refresh token may be shown again within ten seconds, so a lost answer costs nothing.
   * Shown later it counts as stolen; by the clock, since a timer stands still while the machine sleeps.
   */
  async #exchange() {
    for (let attempt = 1; ; attempt += 1) {
      if (this.#shownAt_ms && Date.now() - this.#shownAt_ms >= PRESENTABLE_MS) {
        this.endedByService("expired");
        throw new ApiError({ status: 401, reason: "UNAUTHENTICATED", message: "the refresh token is used up" });
      }
      if (!navigator.onLine) {
        // Nothing would be sent, so the token stays as good as it was.
        throw new ApiError({ status: 0, reason: "UNREACHABLE", message: "offline" });
      }
      const sentAt_ms = Date.now();
      try {
        const body = { refresh_token: this.#refreshToken };
        const answer = await callApi("POST", "/v1/sessions:refresh", { body, signal: AbortSignal.timeout(5_000) });
        if (!this.#ended) {
          this.#keep(answer);
        }
        return;
      } catch (error) {
        if (error instanceof ApiError && error.status === 401) {
          this.endedByService(error.reason === "SESSION_REVOKED" ? "revoked" : "expired");
          throw error;
        }
        if (!(error instanceof ApiError) || error.outcomeUnknown) {
          this.#shownAt_ms ||= sentAt_ms;
        }
        if (attempt === REFRESH_TRIES) {
          throw error instanceof ApiError
            ? error
            : new ApiError({ status: 0, reason: "UNREACHABLE", message: String(error) });
        }
        await new Promise((resolve) => setTimeout(resolve, 250 * 2 ** attempt));
      }
    }
  }

  #keep(answer) {
    this.#id = answer.session.id;
    this.#accessToken = answer.access_token;
    this.#refreshToken = answer.refresh_token;
    this.#shownAt_ms = 0;
    // Both instants are the service's, so a wrong clock on this machine does no harm.
    const lifetime_ms = Date.parse(answer.access_token_expire_time) - Date.parse(answer.session.last_refresh_time);
    const wait_ms = lifetime_ms - Math.min(LONGEST_MARGIN_MS, lifetime_ms * SHARE_OF_LIFETIME);
    this.#renewAt_ms = Date.now() + wait_ms;
    clearTimeout(this.#timer);
    // A failure here is met again, and shown, by the next call.
    this.#timer = setTimeout(() => this.#renew().catch(() => {}), wait_ms);
  }

  #forget() {
    this.#ended = true;
    this.#accessToken = "";
    this.#refreshToken = "";
    clearTimeout(this.#timer);
  }
}
