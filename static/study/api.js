// @ts-check
/**
 * The participant's actions over HTTP. Each answer is sent until it is acknowledged, always
 * with the same request id: the server takes it once, however often it comes.
 *
 * @typedef {{key: string, kind: string, text: string, required: boolean, low: number, high: number,
 *   options: string[], longest: number, only_if: string[]}} Item
 * @typedef {{key: string, kind: string, position: number, session: number, sessions: number,
 *   task: {title: string, text: string} | null, items: Item[]}} Step
 * @typedef {{seconds: number, turns: number, needed_seconds: number, needed_turns: number}} Talked
 * @typedef {{participant: string, step: Step, progress: {at: number, of: number}, label: string | null,
 *   labels: string[], sides: number[], language: string, languages: Record<string, string>,
 *   texts: Record<string, string>, way: "keys" | "speech", title: string, talk: Talked | null,
 *   completion: {code: string, url: string} | null, revealed: Record<string, string> | null}} State
 */

/** Seconds to wait before each further try; the last one repeats. */
const RETRY_SECONDS = [0.5, 1, 2, 4, 8];

/** The server said no: `message` is for people, in their language. */
export class Refused extends Error {
  /** @param {number} status @param {{code?: string, message?: string, items?: Record<string, string>}} error @param {State | null} state */
  constructor(status, error, state) {
    super(error.message ?? `${status}`);
    this.status = status;
    this.code = error.code ?? "unexpected";
    this.items = error.items ?? {};
    this.state = state;
  }

  /** It may go well later. */
  get passing() {
    return this.status === 503 || this.status === 429 || this.status === 502 || this.status === 504;
  }
}

export class Api {
  /**
   * @param {URL} base the study's address
   * @param {() => string | null} token
   * @param {(trying: boolean) => void} onTrying  the server cannot be reached, or it can again
   * @param {(seconds: number) => Promise<void>} [wait]
   */
  constructor(base, token, onTrying, wait = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds))) {
    this.base = base;
    this.token = token;
    this.onTrying = onTrying;
    this.wait = wait;
  }

  /** @param {string | null} language null: the browser's @param {Record<string, string>} recruit @returns {Promise<{token: string, state: State}>} */
  begin(language, recruit) {
    return this.#until("POST", "begin", { language, recruit });
  }

  /** @returns {Promise<State>} */
  state() {
    return this.#until("GET", "state");
  }

  /** @param {string} step @param {Record<string, unknown>} answers @returns {Promise<State>} */
  async answer(step, answers) {
    const { state } = await this.#until("POST", "answer", { request: crypto.randomUUID(), step, answers });
    return state;
  }

  /** @returns {Promise<{deleted: boolean, message: string}>} */
  withdraw() {
    return this.#until("POST", "withdraw", {});
  }

  /** What the page saw; nobody waits for it. @param {string} kind @param {unknown} detail */
  note(kind, detail) {
    const request = this.#request("POST", { kind, detail });
    void fetch(new URL("note", this.base), { ...request, keepalive: true }).catch(() => {});
  }

  /**
   * @param {string} method @param {string} path @param {unknown} [body] @returns {Promise<any>}
   * @throws {Refused} for good
   */
  async #until(method, path, body) {
    for (let tries = 0; ; tries += 1) {
      try {
        const value = await this.#once(method, path, body);
        if (tries) this.onTrying(false);
        return value;
      } catch (error) {
        if (error instanceof Refused && !error.passing) {
          if (tries) this.onTrying(false);
          throw error;
        }
        this.onTrying(true);
        await this.wait(RETRY_SECONDS[Math.min(tries, RETRY_SECONDS.length - 1)]);
      }
    }
  }

  /** @param {string} method @param {string} path @param {unknown} body @returns {Promise<any>} */
  async #once(method, path, body) {
    const response = await fetch(new URL(path, this.base), this.#request(method, body));
    const value = await response.json().catch(() => ({}));
    if (!response.ok) throw new Refused(response.status, value.error ?? {}, value.state ?? null);
    return value;
  }

  /** @param {string} method @param {unknown} body @returns {RequestInit} */
  #request(method, body) {
    const token = this.token();
    /** @type {Record<string, string>} */
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    if (body !== undefined) headers["Content-Type"] = "application/json";
    return { method, headers, body: body === undefined ? undefined : JSON.stringify(body) };
  }
}
