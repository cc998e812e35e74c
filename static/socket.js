// @ts-check
/**
 * The connection: one WebSocket that is opened again when it is lost.
 */
import { parseServerEvent } from "./wire.js";

/** Seconds to wait before each further attempt; the last one repeats. */
const RETRY_SECONDS = [0.5, 1, 2, 4, 8, 15];

/**
 * @typedef {object} Listeners
 * @property {() => void} onOpen
 * @property {(event: import("./wire.js").ServerEvent) => void} onEvent
 * @property {(loss: {attempt: number, seconds: number, reason: string}) => void} onLost
 * @property {(problem: string) => void} onProblem  a frame that could not be understood
 */

export class Connection {
  /** @param {URL} url @param {Listeners} listeners */
  constructor(url, listeners) {
    this.url = url;
    this.listeners = listeners;
    this.attempt = 0;
    this.socket = /** @type {WebSocket | null} */ (null);
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  /** Opens, after closing what was open. */
  open() {
    this.close();
    const socket = new WebSocket(this.url);
    this.socket = socket;
    socket.addEventListener("open", () => {
      if (socket === this.socket) this.listeners.onOpen();
    });
    socket.addEventListener("message", ({ data }) => {
      if (socket !== this.socket || typeof data !== "string") return;
      let event = null;
      try {
        event = parseServerEvent(data);
      } catch (error) {
        this.listeners.onProblem(/** @type {Error} */ (error).message);
      }
      if (event?.type === "session.created") this.attempt = 0;
      if (event) this.listeners.onEvent(event);
    });
    socket.addEventListener("close", ({ code, reason }) => {
      if (socket !== this.socket) return;
      this.socket = null;
      const seconds = RETRY_SECONDS[Math.min(this.attempt, RETRY_SECONDS.length - 1)];
      this.attempt += 1;
      this.timer = setTimeout(() => this.open(), seconds * 1000);
      this.listeners.onLost({ attempt: this.attempt, seconds, reason: reason || reasonOf(code) });
    });
  }

  /** Closes for good, or until `open`. */
  close() {
    clearTimeout(this.timer);
    const { socket } = this;
    this.socket = null;
    socket?.close(1000);
  }

  /** @param {import("./wire.js").ClientEvent} event @returns {boolean} whether it was handed over */
  send(event) {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(event));
    return true;
  }
}

/** @param {number} code of the close frame @returns {string} */
function reasonOf(code) {
  if (code === 1008) return "the server did not allow this page";
  if (code === 1009) return "the message was too long";
  if (code === 1011) return "the server met an error";
  if (code === 1012 || code === 1001) return "the server is restarting";
  if (code === 1013) return "all places are taken";
  return "";
}
