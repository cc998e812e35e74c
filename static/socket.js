// @ts-check
/**
 * The connection: one session, over one WebSocket after another.
 *
 *   const connection = new Connection(url, listeners);
 *   connection.open();             // a new session
 *   connection.send(event);        // false: nobody will hear it
 *   connection.close();            // a goodbye: the session ends
 *
 * What is sent is numbered and kept until the server has it; what comes is numbered, too. After a cut the next
 * WebSocket asks for the events after the last that came, and sends again what did not arrive. Sound of the microphone
 * is of the moment: it is neither numbered nor kept. The wire is described in webapp/realtime.py.
 */
import { understood } from "./wire.js";

/** Seconds to wait before each further attempt, at most; the last one repeats. */
const RETRY_SECONDS = [0.5, 1, 2, 4, 8, 15];
/** A socket that takes longer to open is given up. */
const OPEN_SECONDS = 15;
/** The server pings every 15 s: after so long without a word the connection is cut. */
const SILENT_SECONDS = 40;
/** The server is told so often what came, so that it need not keep it. */
const ACK_SECONDS = 1;
/** What is not said again after a cut. */
const OF_THE_MOMENT = new Set(["input_audio_buffer.append", "duplex.ack"]);
/** Close codes (see webapp/realtime.py). We close with CUT what has gone silent: it is no goodbye. */
const GOODBYE = 1000;
const CUT = 4000;
const ELSEWHERE = 4409;
/** After these the session is over, and a new one is opened. */
const OVER = new Set([1002, 1007, 1008, 1009, 4404]);
const OPEN = 1; // WebSocket.OPEN

/**
 * @typedef {import("./wire.js").ServerEvent} ServerEvent
 * @typedef {import("./wire.js").ClientEvent} ClientEvent
 *
 * @typedef {object} Listeners
 * @property {() => void} onOpen  a new session may be asked for
 * @property {(event: ServerEvent) => void} onEvent
 * @property {(loss: {attempt: number, seconds: number, reason: string, kept: boolean}) => void} onLost  `kept`: the
 *   session may go on
 * @property {() => void} onBack  it goes on: nothing was lost
 * @property {() => void} onGone  it is over: a new one is asked for
 * @property {(reason: string) => void} onEnded  the server ended it, and no new one is asked for
 * @property {(problem: string) => void} onProblem  a frame that could not be understood
 *
 * @typedef {Pick<WebSocket, "readyState" | "send" | "close"> & Pick<EventTarget, "addEventListener">} Socket
 *
 * @typedef {object} Surroundings  what a browser has, and a test brings along
 * @property {(url: string) => Socket} connect
 * @property {(act: () => void, milliseconds: number) => () => void} later  returns what calls it off
 * @property {() => number} dice  from 0 to 1
 * @property {Pick<EventTarget, "addEventListener">} events  that tells `online` and `offline`
 *
 * @typedef {{seq: number, text: string, sent: boolean, report: string | null}} Said  `report`: the answer it reports on
 */

/** @returns {Surroundings} */
function browser() {
  return {
    connect: (url) => new WebSocket(url),
    later: (act, milliseconds) => {
      const timer = setTimeout(act, milliseconds);
      return () => clearTimeout(timer);
    },
    dice: Math.random,
    events: globalThis,
  };
}

export class Connection {
  /** @param {URL} url @param {Listeners} listeners @param {Surroundings} [surroundings] */
  constructor(url, listeners, surroundings = browser()) {
    this.url = url;
    this.listeners = listeners;
    this.surroundings = surroundings;
    this.attempt = 0;
    this.socket = /** @type {Socket | null} */ (null);
    /** The socket is open and, after a cut, the session has been taken up again. */
    this.joined = false;
    this.token = /** @type {string | null} */ (null);
    /** Number of the newest event that came. */
    this.last = 0;
    this.seq = 0;
    /** What the server may not have. */
    this.unconfirmed = /** @type {Said[]} */ ([]);
    this.stopRetry = () => {};
    this.stopWatch = () => {};
    this.stopAck = /** @type {(() => void) | null} */ (null);
    surroundings.events.addEventListener("online", () => this.retry());
    surroundings.events.addEventListener("offline", () => { if (this.kept && this.socket) this.#lost("you are offline"); });
  }

  /** Whether the session goes on after a cut. */
  get kept() {
    return this.token !== null;
  }

  /** Opens a new session, after a goodbye to the one before. */
  open() {
    this.close();
    this.attempt = 0;
    this.#connect();
  }

  /** Tries again now, if it is not connected. */
  retry() {
    if (!this.joined && this.attempt > 0) this.#connect();
  }

  /** Ends the session, and connects no more until `open`. */
  close() {
    this.#drop(GOODBYE);
    this.#forget();
    this.attempt = 0;
  }

  /** @param {ClientEvent} event @returns {boolean} whether the server hears it, now or when the connection is back */
  send(event) {
    const { socket, token } = this;
    const open = this.joined && socket?.readyState === OPEN;
    if (token === null || OF_THE_MOMENT.has(event.type)) {
      if (open) socket.send(JSON.stringify(event));
      return open;
    }
    this.seq += 1;
    const report = event.type === "duplex.audio.played" ? event.response_id : null;
    // Of reports that wait only the newest of each answer is worth telling.
    if (report !== null) this.unconfirmed = this.unconfirmed.filter((said) => said.sent || said.report !== report);
    const said = { seq: this.seq, text: JSON.stringify({ ...event, seq: this.seq }), sent: open, report };
    this.unconfirmed.push(said);
    if (open) socket.send(said.text);
    return true;
  }

  #connect() {
    this.#drop(CUT);
    if (this.token === null) this.#forget();
    const url = new URL(this.url);
    if (this.token !== null) {
      url.searchParams.set("resume", this.token);
      url.searchParams.set("after", String(this.last));
    }
    const socket = this.surroundings.connect(url.href);
    this.socket = socket;
    this.#watch(OPEN_SECONDS, "the server does not answer");
    const ours = (/** @type {(event: any) => void} */ act) => (/** @type {any} */ event) => {
      if (socket === this.socket) act(event);
    };
    socket.addEventListener("open", ours(() => this.#opened()));
    socket.addEventListener("message", ours(({ data }) => this.#heard(data)));
    socket.addEventListener("close", ours(({ code, reason }) => this.#closed(code, reason)));
  }

  #opened() {
    this.#watch(SILENT_SECONDS, "nothing came from the server");
    if (this.token !== null) return; // joined when the server has said so
    this.joined = true;
    this.listeners.onOpen();
  }

  /** @param {unknown} data of a frame */
  #heard(data) {
    if (typeof data !== "string") return;
    this.#watch(SILENT_SECONDS, "nothing came from the server");
    let event = null;
    try {
      const value = JSON.parse(data);
      const number = /^event_(\d+)$/.exec(value?.event_id)?.[1];
      if (number !== undefined) {
        if (Number(number) <= this.last) return;
        this.last = Number(number);
        this.#acknowledge();
      }
      event = understood(value);
    } catch (error) {
      this.listeners.onProblem(/** @type {Error} */ (error).message);
    }
    if (event) this.#take(event);
  }

  /** @param {ServerEvent | import("./wire.js").SessionResumed} event */
  #take(event) {
    if (event.type === "session.resumed") return this.#resumed(event.received);
    if (event.type === "error" && event.error.code === "cannot_resume") return this.#gone();
    if (event.type === "duplex.ping") this.#confirm(event.received ?? 0);
    if (event.type === "session.created") {
      this.attempt = 0;
      this.token = event.session.resume?.token ?? null;
    }
    this.listeners.onEvent(event);
  }

  /** @param {number} received highest seq that the server has */
  #resumed(received) {
    this.attempt = 0;
    this.joined = true;
    this.#confirm(received);
    for (const said of this.unconfirmed) {
      said.sent = true;
      this.socket?.send(said.text);
    }
    this.listeners.onBack();
  }

  #gone() {
    this.#drop(CUT);
    this.#forget();
    this.listeners.onGone();
    this.#connect();
  }

  /** @param {number} received */
  #confirm(received) {
    this.unconfirmed = this.unconfirmed.filter(({ seq }) => seq > received);
  }

  #acknowledge() {
    this.stopAck ??= this.surroundings.later(() => {
      this.stopAck = null;
      if (this.kept) this.send({ type: "duplex.ack", after: this.last });
    }, ACK_SECONDS * 1000);
  }

  /** @param {number} code @param {string} reason */
  #closed(code, reason) {
    if (code === GOODBYE || code === ELSEWHERE) {
      this.close();
      this.listeners.onEnded(code === ELSEWHERE ? "it goes on in another window" : reason);
      return;
    }
    if (OVER.has(code) && this.kept) {
      this.#forget();
      this.listeners.onGone();
    }
    this.#lost(reason || reasonOf(code));
  }

  /** @param {string} reason */
  #lost(reason) {
    this.#drop(CUT);
    const most = RETRY_SECONDS[Math.min(this.attempt, RETRY_SECONDS.length - 1)];
    // Not everybody comes back in the same moment.
    const seconds = most * (0.5 + 0.5 * this.surroundings.dice());
    this.attempt += 1;
    this.stopRetry = this.surroundings.later(() => this.#connect(), seconds * 1000);
    this.listeners.onLost({ attempt: this.attempt, seconds, reason, kept: this.kept });
  }

  /** @param {number} seconds @param {string} reason if nothing comes until then */
  #watch(seconds, reason) {
    this.stopWatch();
    this.stopWatch = this.surroundings.later(() => this.#lost(reason), seconds * 1000);
  }

  /** Nothing more is heard of the socket, and no timer runs. @param {number} code */
  #drop(code) {
    this.stopRetry();
    this.stopWatch();
    this.stopAck?.();
    this.stopAck = null;
    const { socket } = this;
    this.socket = null;
    this.joined = false;
    socket?.close(code);
  }

  /** Numbers begin anew. */
  #forget() {
    this.token = null;
    this.last = 0;
    this.seq = 0;
    this.unconfirmed = [];
  }
}

/** @param {number} code of the close frame @returns {string} */
function reasonOf(code) {
  if (code === 1008) return "the server did not allow this page, or too much came at once";
  if (code === 1009) return "the message was too long";
  if (code === 1011) return "the server met an error";
  if (code === 1012 || code === 1001) return "the server is restarting";
  if (code === 1013) return "this page could not keep up";
  return "";
}
