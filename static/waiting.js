// @ts-check
/**
 * Before and after a talk: the queue with a recorded talk to watch, the end that comes near,
 * the end, and a server that lets nobody in.
 *
 *   const waiting = new Waiting(root, actions);
 *   if (waiting.receive(event, localTime())) return;              // each event of the server
 *   if (waiting.draw(localTime(), timeline, panels)) return;      // each frame: it drew the recording
 *   waiting.lost();                                               // the connection is gone
 *
 * `Lobby` knows what is to be said and needs no DOM; `Waiting` shows it in a bar below the page's head.
 *
 * @typedef {import("./wire.js").Why} Why
 * @typedef {import("./wire.js").Queued} Queued
 *
 * @typedef {"again" | "here" | "now"} Act  what the button does
 * @typedef {{text: string, said: string, urgent: boolean, button: {label: string, act: Act} | null}} Shown
 *   `said`: for a screen reader, without what ticks
 *
 * @typedef {object} Actions
 * @property {() => void} begin  a new session, in place of what is on the page
 * @property {() => void} open  connect again
 * @property {() => void} close  connect no more
 * @property {() => void} here  tell the server that somebody is here
 * @property {() => boolean} empty  whether the page has no talk of its own to look at
 * @property {() => void} restore  draw the page's own session again
 */
import { Replay } from "./replay.js";

/** Seconds until the next attempt, least and most, by why the server lets nobody in. Others wait for the button. */
const RETRY_SECONDS = /** @type {Record<string, [number, number]>} */ ({ full: [30, 60], draining: [15, 30] });
const REFUSALS = new Set(["full", "too_many", "draining"]);

const ENDING = /** @type {Record<Why, string>} */ ({
  time: "Your time is nearly over. This conversation ends",
  idle: "Are you still here? Without a key or a word this conversation ends",
  shutdown: "The server is about to be restarted. This conversation ends",
});
const ENDED = /** @type {Record<Why, string>} */ ({
  time: "Your time is over: this conversation has ended.",
  idle: "Nothing came from you for a while, so this conversation has ended.",
  shutdown: "The server is being restarted, so this conversation has ended.",
});
const RATE = "You can still read and rate it.";

/** Seconds as people say them. @param {number} seconds @returns {string} */
export function about(seconds) {
  if (seconds < 8) return "a few seconds";
  if (seconds < 55) return `about ${5 * Math.round(seconds / 5)} s`;
  if (seconds < 90) return "about 1 min";
  return `about ${Math.round(seconds / 60)} min`;
}

/** @param {Queued} event @returns {string} */
export function placeText({ position, waiting }) {
  return `You are number ${position} of ${waiting}`;
}

/** @param {number} until @param {number} local */
const left = (until, local) => Math.max(0, Math.ceil(until - local));

/** What is to be said now. Pure: the local time and the dice are passed in. */
export class Lobby {
  constructor() {
    this.kind = /** @type {"talking" | "queue" | "ending" | "ended" | "refused"} */ ("talking");
    this.queued = /** @type {Queued | null} */ (null);
    this.why = /** @type {Why} */ ("time");
    /** Of a refusal: what the server said. */
    this.message = "";
    /** Local seconds of the end, of the next attempt, or of the turn; null if nobody knows. */
    this.until = /** @type {number | null} */ (null);
    this.said = "";
  }

  /**
   * @param {import("./wire.js").ServerEvent} event @param {number} local seconds
   * @param {number} [dice] from 0 to 1: not everybody tries again in the same second
   * @returns {boolean} whether it was about this, and about nothing else
   */
  receive(event, local, dice = Math.random()) {
    switch (event.type) {
      case "duplex.queue":
        this.#queue(event, local);
        return true;
      case "duplex.ending":
        this.kind = "ending";
        this.why = event.why;
        this.until = local + event.seconds;
        this.said = `${ENDING[this.why]} in ${about(event.seconds)}.`;
        return true;
      case "duplex.stays":
        if (this.kind === "ending") this.reset();
        return true;
      case "duplex.ended":
        this.kind = "ended";
        this.why = event.why;
        this.said = `${ENDED[this.why]} ${RATE}`;
        return true;
      case "error":
        return this.#refused(event.error, local, dice);
      case "session.created":
        this.reset();
        return false;
      default:
        return false;
    }
  }

  reset() {
    this.kind = "talking";
    this.queued = null;
    this.until = null;
    this.said = "";
  }

  /** The connection is gone: whoever waited has lost the position. */
  lost() {
    if (this.kind === "queue") this.reset();
  }

  /** Is it time to try again? Once. @param {number} local seconds @returns {boolean} */
  due(local) {
    if (this.kind !== "refused" || this.until === null || local < this.until) return false;
    this.until = null;
    return true;
  }

  /** @param {Queued} event @param {number} local */
  #queue(event, local) {
    const moved = this.queued?.position !== event.position;
    this.kind = "queue";
    this.queued = event;
    this.until = event.estimate_seconds === null ? null : local + event.estimate_seconds;
    // A screen reader hears of a move, not of every estimate.
    if (moved) this.said = `${placeText(event)}${event.estimate_seconds === null ? "" : `; ${about(event.estimate_seconds)}`}.`;
  }

  /** @param {{code: string, message: string}} error @param {number} local @param {number} dice */
  #refused({ code, message }, local, dice) {
    if (!REFUSALS.has(code) || this.kind === "ending" || this.kind === "ended") return false;
    const [least, most] = RETRY_SECONDS[code] ?? [0, 0];
    this.kind = "refused";
    this.message = sentence(message);
    this.until = most ? local + least + dice * (most - least) : null;
    this.said = this.message;
    return true;
  }

  /** @param {number} local seconds @returns {Shown | null} */
  shown(local) {
    const { said, until } = this;
    switch (this.kind) {
      case "queue": {
        const wait = until === null ? "" : `; ${about(until - local)}`;
        return { text: `${placeText(/** @type {Queued} */ (this.queued))}${wait}.`, said, urgent: false, button: null };
      }
      case "ending": {
        const text = `${ENDING[this.why]} in ${left(until ?? local, local)} s.`;
        return { text, said, urgent: true, button: this.why === "idle" ? { label: "I am still here", act: "here" } : null };
      }
      case "ended":
        return { text: said, said, urgent: false, button: { label: "begin again", act: "again" } };
      case "refused": {
        const again = until === null ? "" : ` Trying again in ${left(until, local)} s.`;
        return { text: `${this.message}${again}`, said, urgent: false, button: { label: "try now", act: "now" } };
      }
      default:
        return null;
    }
  }
}

/** @param {string} text */
function sentence(text) {
  const trimmed = text.trim();
  return `${trimmed.charAt(0).toUpperCase()}${trimmed.slice(1)}${/[.?!]$/.test(trimmed) ? "" : "."}`;
}

export class Waiting {
  /** @param {HTMLElement} root of the arena @param {Actions} actions */
  constructor(root, actions) {
    addStyles();
    this.root = root;
    this.actions = actions;
    this.lobby = new Lobby();
    this.replay = /** @type {Replay | null} */ (null);
    /** Shall the recording be played? */
    this.wanted = false;
    this.loading = false;
    this.drawn = "";
    const bar = make("div", "da-banner da-lobby");
    this.bar = bar;
    this.text = make("span", "da-lobby-text");
    this.text.setAttribute("aria-hidden", "true"); // it ticks: `live` is read instead
    this.live = make("span", "da-hide");
    this.live.setAttribute("role", "status");
    this.button = make("button", "da-button");
    this.toggle = make("button", "da-button");
    for (const button of [this.button, this.toggle]) button.setAttribute("type", "button");
    bar.hidden = this.button.hidden = this.toggle.hidden = true;
    bar.append(this.text, this.button, this.toggle);
    root.querySelector(".da-head")?.after(bar, this.live);
    this.label = make("span", "da-recording");
    this.label.textContent = "recording";
    this.label.hidden = true;
    root.querySelector(".da-lanes")?.append(this.label);
    this.button.addEventListener("click", () => this.#act());
    this.toggle.addEventListener("click", () => {
      this.wanted = !this.wanted;
      if (!this.wanted) this.#stop();
    });
  }

  /** @param {import("./wire.js").ServerEvent} event @param {number} local seconds @returns {boolean} whether it is dealt with */
  receive(event, local) {
    const before = this.lobby.kind;
    const taken = this.lobby.receive(event, local);
    const { kind } = this.lobby;
    if (kind !== before && (kind === "ended" || kind === "refused")) this.actions.close();
    // Whoever asked for less motion, or has a talk before them, starts it themselves.
    if (kind !== before && kind === "queue") this.wanted = !reducedMotion() && this.actions.empty();
    if (kind !== "queue") this.#stop();
    return taken;
  }

  /** The connection is gone, or a new session was asked for. */
  lost() {
    this.lobby.lost();
    if (this.lobby.kind !== "queue") this.#stop();
  }

  /** Forget the last session. */
  reset() {
    this.lobby.reset();
    this.#stop();
  }

  /**
   * @param {number} local seconds
   * @param {import("./timeline.js").Timeline} timeline @param {import("./answers.js").AnswerPanel[]} panels
   * @returns {boolean} whether the recording was drawn, in place of the page's session
   */
  draw(local, timeline, panels) {
    if (this.lobby.due(local)) this.actions.open();
    this.#drawBar(this.lobby.shown(local));
    if (this.lobby.kind !== "queue" || !this.wanted) return false;
    const { replay } = this;
    if (!replay) {
      void this.#load();
      return false;
    }
    if (replay.advance(local)) {
      this.#show(true);
      timeline.show(replay.state);
      for (const panel of panels) panel.clear();
    }
    timeline.draw(replay.now);
    for (const panel of panels) panel.draw(replay.state, replay.now);
    return true;
  }

  /** @param {Shown | null} shown */
  #drawBar(shown) {
    const waits = this.lobby.kind === "queue";
    const signature = JSON.stringify([shown, waits && this.wanted]);
    if (signature === this.drawn) return;
    this.drawn = signature;
    this.bar.hidden = !shown;
    this.bar.dataset.kind = shown?.urgent ? "warning" : "notice";
    this.text.textContent = shown?.text ?? "";
    if (this.live.textContent !== (shown?.said ?? "")) this.live.textContent = shown?.said ?? "";
    this.button.hidden = !shown?.button;
    this.button.textContent = shown?.button?.label ?? "";
    this.toggle.hidden = !waits;
    this.toggle.textContent = this.wanted ? "stop the recording" : "watch a recorded talk";
  }

  #act() {
    const act = this.lobby.shown(0)?.button?.act;
    if (act === "here") this.actions.here();
    if (act === "again") this.actions.begin();
    if (act === "now") this.actions.open();
  }

  async #load() {
    if (this.loading) return; // once: where it is not to be had, the position alone is shown
    this.loading = true;
    try {
      const answer = await fetch(new URL("replay.json", import.meta.url));
      if (answer.ok) this.replay = new Replay(await answer.json());
    } catch (error) {
      console.warn("no recorded talk to watch", error);
    }
  }

  #stop() {
    if (!this.replay || this.label.hidden) return;
    this.replay = new Replay(this.replay.recording);
    this.#show(false);
    this.actions.restore();
  }

  /** Marks the page as one of a recording, which no screen reader reads aloud. @param {boolean} on */
  #show(on) {
    this.label.hidden = !on;
    this.root.classList.toggle("da-is-recording", on);
    for (const log of this.root.querySelectorAll("[role=log]")) log.setAttribute("aria-live", on ? "off" : "polite");
    const timeline = this.root.querySelector("[data-part=timeline]");
    if (on) timeline?.classList.remove("da-is-empty");
    const empty = /** @type {HTMLElement | null} */ (this.root.querySelector("[data-part=timeline-empty]"));
    if (empty && on) empty.hidden = true;
  }
}

function reducedMotion() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

function addStyles() {
  const { href } = new URL("waiting.css", import.meta.url);
  if ([...document.querySelectorAll("link")].some((link) => link.href === href)) return;
  const link = make("link", "");
  link.rel = "stylesheet";
  link.href = href;
  document.head.append(link);
}

/** @template {keyof HTMLElementTagNameMap} K @param {K} tag @param {string} name @returns {HTMLElementTagNameMap[K]} */
function make(tag, name) {
  const element = document.createElement(tag);
  element.className = name;
  return element;
}
