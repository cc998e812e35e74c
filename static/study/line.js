// @ts-check
/**
 * The talk's WebSocket. It is opened again when it is lost; the server counts on where it was.
 */

/** Seconds to wait before each further attempt; the last one repeats. */
const RETRY_SECONDS = [0.5, 1, 2, 4, 8];
/** Without a word for so long, though the server pings every 15, the line is dead. */
const SILENCE_SECONDS = 40;
/** Close codes of the server: the step is over, it was refused, it goes on in another window. */
const OVER = 1000;
const REFUSED = 4403;
const ELSEWHERE = 4409;

/**
 * @typedef {object} Listeners
 * @property {(event: any) => void} onEvent
 * @property {() => void} onLost  it will be tried again
 * @property {(why: "refused" | "elsewhere" | "over", error: {code: string, message: string} | null) => void} onEnded  it will not
 */

export class Line {
  /** @param {URL} url @param {Listeners} listeners @param {typeof WebSocket} [Socket] */
  constructor(url, listeners, Socket = WebSocket) {
    this.url = url;
    this.listeners = listeners;
    this.Socket = Socket;
    this.attempt = 0;
    this.socket = /** @type {WebSocket | null} */ (null);
    this.error = /** @type {{code: string, message: string} | null} */ (null);
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.watch = undefined;
  }

  open() {
    this.close();
    const socket = new this.Socket(this.url);
    this.socket = socket;
    this.error = null;
    socket.addEventListener("open", () => {
      if (socket !== this.socket) return;
      this.#alive();
      this.send({ type: "session.update", session: {} });
    });
    socket.addEventListener("message", ({ data }) => {
      if (socket !== this.socket) return;
      this.#alive();
      const event = JSON.parse(data);
      if (event.type === "session.created") this.attempt = 0;
      if (event.type === "error") this.error = event.error;
      this.listeners.onEvent(event);
    });
    socket.addEventListener("close", ({ code }) => {
      if (socket === this.socket) this.#closed(code);
    });
  }

  close() {
    clearTimeout(this.timer);
    clearTimeout(this.watch);
    const { socket } = this;
    this.socket = null;
    socket?.close(1000);
  }

  /** @param {any} event @returns {boolean} whether it was handed over */
  send(event) {
    if (this.socket?.readyState !== 1) return false;
    this.socket.send(JSON.stringify(event));
    return true;
  }

  /** @param {number} code */
  #closed(code) {
    clearTimeout(this.watch);
    this.socket = null;
    if (code === REFUSED) this.listeners.onEnded("refused", this.error);
    else if (code === ELSEWHERE) this.listeners.onEnded("elsewhere", this.error);
    else if (code === OVER) this.listeners.onEnded("over", this.error);
    else this.#again();
  }

  #again() {
    const seconds = RETRY_SECONDS[Math.min(this.attempt, RETRY_SECONDS.length - 1)];
    this.attempt += 1;
    this.timer = setTimeout(() => this.open(), 1000 * seconds);
    this.listeners.onLost();
  }

  #alive() {
    clearTimeout(this.watch);
    this.watch = setTimeout(() => {
      const { socket } = this;
      this.socket = null;
      socket?.close();
      this.#again();
    }, 1000 * SILENCE_SECONDS);
  }
}
