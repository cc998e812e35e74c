// @ts-check
/**
 * The arena: joins the text box, the connection, the state and what is drawn of it.
 */
import { AnswerPanel } from "./answers.js";
import { SessionClock } from "./clock.js";
import { State, reduce } from "./model.js";
import { Rating } from "./rating.js";
import { Connection } from "./socket.js";
import { Timeline } from "./timeline.js";
import { TypingBox } from "./typing.js";
import { badge, earsOf, medianReaction } from "./view.js";
import { VoiceControls } from "./voice-controls.js";
import { Voice } from "./voice.js";
import { Waiting } from "./waiting.js";

/** @typedef {import("./wire.js").ServerEvent} ServerEvent */

/** Events sent at their own `at`; the others may speak of moments to come. */
const CLOCK_EVENTS = new Set(["session.created", "duplex.slice", "duplex.cut", "duplex.yield", "duplex.deaf"]);
const SYSTEMS = /** @type {const} */ (["duplex", "turns"]);
/** What is said when a connection is back, and for how long. */
const BACK = "Connected again: the conversation goes on, and nothing was lost.";
const BACK_MS = 3000;

/** @returns {number} seconds */
const localTime = () => performance.now() / 1000;

export class Arena {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.state = new State();
    this.clock = new SessionClock();
    this.drawnVersion = -1;
    this.ready = false;
    this.enterDue = false;
    this.lost = false;
    this.lastNow = 0;
    /** Sentences sealed since the hint was shown. */
    this.hintedFor = 0;
    /** A new session that begins with the next key: until then the lost one stays to be read and rated. */
    this.held = /** @type {{event: import("./wire.js").SessionCreated, local: number} | null} */ (null);
    this.running = false;
    /** Ends what listens outside of the fragment. */
    this.leaving = new AbortController();
    this.sliceSelect = /** @type {HTMLSelectElement} */ (this.part("slices"));
    this.baselineSelect = /** @type {HTMLSelectElement} */ (this.part("baseline"));
    this.panels = SYSTEMS.map((system) => new AnswerPanel(this.part(`panel-${system}`), system));
    this.ratings = SYSTEMS.map((system) => new Rating(
      /** @type {HTMLFormElement} */ (this.part(`rating-${system}`)), system, () => this.state.session?.id ?? null));
    this.timeline = new Timeline(this.part("timeline"), { onPause: (paused) => this.#showPause(paused) });
    this.box = new TypingBox(/** @type {HTMLTextAreaElement} */ (this.part("box")), {
      onEdit: (messages, text) => this.#edit(messages, text),
      onEnter: () => this.#enter(),
      onSaid: (text) => this.#said(text),
    });
    this.voice = new Voice({
      send: (event) => (this.ready || this.connection.kept) && this.connection.send(event),
      sessionTime: (local) => this.clock.at(local),
      tell: (event) => { if (!this.held) reduce(this.state, event); },
      note: (key, text) => this.#note(key, text),
      onChange: () => this.#showVoice(),
      onBegin: () => this.#begin(),
    });
    this.controls = new VoiceControls((name) => this.part(name), this.voice);
    this.waiting = new Waiting(root, {
      begin: () => this.#newSession(),
      open: () => this.connection.open(),
      close: () => this.#closed(),
      here: () => this.connection.send({ type: "session.update", session: {} }),
      empty: () => this.state.items.length === 0,
      restore: () => this.#restore(),
    });
    /** What is to be told about the voice; the newest is shown. */
    this.notes = /** @type {Map<string, string>} */ (new Map());
    const url = new URL("v1/realtime", document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.connection = new Connection(url, {
      onOpen: () => this.#opened(),
      onEvent: (event) => this.#receive(event),
      onLost: (loss) => this.#connectionLost(loss),
      onBack: () => this.#back(),
      onGone: () => this.voice.lost(),
      onEnded: (reason) => this.#ended(reason),
      onProblem: (problem) => this.#banner("error", `The server sent something this page does not understand (${problem}). Reload the page; if it stays, the page and the server are of different versions.`),
    });
    this.#listen();
  }

  /** @param {string} name @returns {HTMLElement} */
  part(name) {
    const found = this.root.querySelector(`[data-part="${name}"]`);
    if (!found) throw new Error(`arena.html has no element with data-part="${name}"`);
    return /** @type {HTMLElement} */ (found);
  }

  start() {
    this.running = true;
    this.timeline.show(this.state);
    this.#showHeader();
    this.connection.open();
    const frame = () => {
      if (!this.running) return;
      this.#draw();
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
    if (matchMedia("(pointer: fine)").matches) this.box.box.focus({ preventScroll: true });
  }

  stop() {
    this.running = false;
    this.leaving.abort();
    this.box.stopTyping();
    this.voice.stop();
    this.connection.close();
  }

  /** @param {{keepText: boolean}} options */
  #forget({ keepText }) {
    this.state = new State();
    this.clock = new SessionClock();
    this.ready = false;
    this.enterDue = false;
    this.held = null;
    this.box.reset({ keep: keepText });
    for (const panel of this.panels) panel.clear();
    for (const rating of this.ratings) rating.clear();
    this.#showSaid();
    this.timeline.show(this.state);
    this.#showHeader();
  }

  /** The page's own session, after a recording was shown in its place. */
  #restore() {
    for (const panel of this.panels) panel.clear();
    this.timeline.show(this.state);
    this.drawnVersion = -1;
  }

  /** The server has ended the session, or lets nobody in: the page connects again when the person or `waiting` says so. */
  #closed() {
    this.connection.close();
    this.voice.lost();
    this.ready = false;
    this.lost = true;
    this.#hideBanner();
    this.#showHeader();
  }

  #newSession() {
    this.waiting.reset();
    this.#hideBanner();
    this.lost = false;
    this.voice.leave();
    this.#forget({ keepText: false });
    this.part("hint").textContent = "";
    this.connection.open();
    this.box.box.focus();
  }

  #opened() {
    const chosen = this.sliceSelect.value;
    const slice_seconds = chosen === "adaptive" ? chosen : Number(chosen);
    const baseline = /** @type {import("./wire.js").Baseline} */ (this.baselineSelect.value);
    this.connection.send({ type: "session.update", session: { slice_seconds, baseline } });
  }

  /** @param {ServerEvent} event */
  #receive(event) {
    if (event.type === "duplex.ping") return;
    if (this.waiting.receive(event, localTime())) return;
    if (event.type === "error") return this.#banner("error", event.error.message);
    if (event.type === "session.created") return this.#created(event);
    if (this.held) return;
    // Slices of the one that waits tell when its words will be shown: they lie ahead of the clock.
    const ahead = event.type === "duplex.slice" && event.system === "turns";
    if ("at" in event && CLOCK_EVENTS.has(event.type) && !ahead) this.clock.observe(event.at, localTime());
    reduce(this.state, event);
    if (event.type === "duplex.pace" && event.system === "duplex") this.#paced(event.level);
    if (event.type === "conversation.item.input_audio_transcription.delta") this.#showSaid();
    this.voice.receive(event);
    if (event.type === "duplex.sealed") this.box.seal(event.characters, this.state.heard);
    if (event.type === "duplex.reaction") this.#showHeader();
  }

  /** @param {number} level how far the server has slowed down */
  #paced(level) {
    if (level === 0) return this.#hideBanner();
    const slower = level > 1 ? "slices last twice as long and speech is half as fast" : "slices last twice as long";
    this.#banner("notice", `Many people are talking just now: ${slower}.`);
  }

  /** @param {import("./wire.js").SessionCreated} event */
  #created(event) {
    const talked = this.state.talk.duplex.length + this.state.talk.turns.length > 0;
    this.held = { event, local: localTime() };
    this.ready = true;
    if (this.lost) this.#hideBanner();
    if (this.lost && talked) {
      this.box.reset({ keep: true });
      this.#banner("notice", "Connected again, but that conversation could not go on. Your next key begins a new one; the one you see can still be rated.");
    } else {
      this.#begin();
    }
    this.lost = false;
    this.#showHeader();
    this.voice.session(event.session.audio);
    this.box.flush();
    if (this.enterDue) this.#enter();
  }

  /** The held session takes the place of what is on the page. */
  #begin() {
    if (!this.held) return;
    this.#hideBanner();
    const { event, local } = this.held;
    const { enterDue } = this;
    this.#forget({ keepText: true });
    this.ready = true;
    this.enterDue = enterDue;
    this.clock.observe(event.at, local);
    reduce(this.state, event);
    this.#showHeader();
  }

  /** The session goes on: what happened meanwhile has come, and what was typed goes. */
  #back() {
    this.ready = true;
    this.lost = false;
    this.#showHeader();
    this.#banner("notice", BACK);
    setTimeout(() => { if (this.part("banner-text").textContent === BACK) this.#hideBanner(); }, BACK_MS);
    this.box.flush();
    if (this.enterDue) this.#enter();
  }

  /** The page was left and is here again: what it shows stays to be read and rated. */
  #returned() {
    this.voice.lost();
    this.ready = false;
    this.lost = true;
    this.connection.open();
  }

  /** The server ended the session. @param {string} reason */
  #ended(reason) {
    this.voice.lost();
    this.ready = false;
    this.lost = true;
    this.#showHeader();
    this.#banner("lost", `This conversation has ended here${reason ? `: ${reason}` : ""}. You can still read and rate it.`, {
      label: "begin again",
      act: () => this.#newSession(),
    });
  }

  /** @param {{attempt: number, seconds: number, reason: string, kept: boolean}} loss */
  #connectionLost({ attempt, seconds, reason, kept }) {
    this.waiting.lost();
    if (!kept) this.voice.lost();
    this.ready = false;
    this.lost = true;
    this.#showHeader();
    const why = reason ? ` (${reason})` : "";
    const wait = seconds < 1 ? "" : ` in ${Math.ceil(seconds)} s`;
    const advice = attempt < 3
      ? "What you type is kept and sent when it is back."
      : "Check that the server is running and that you are online, then try again.";
    this.#banner("lost", `${this.state.session ? "Connection lost" : "No connection"}${why}. Connecting again${wait} … ${advice}`, {
      label: "try now",
      act: () => this.connection.retry(),
    });
  }

  /** @param {import("./wire.js").InputEdit[]} messages @param {string} text in the box @returns {boolean} */
  #edit(messages, text) {
    if (!this.ready) return false;
    this.#begin();
    for (const message of messages) {
      if (!this.connection.send(message)) return false;
      reduce(this.state, { type: "client.edit", at: this.#now(), delete: message.delete, insert: message.insert, text });
    }
    return true;
  }

  #enter() {
    if (this.ready) this.#begin();
    this.enterDue = !this.ready || !this.connection.send({ type: "duplex.input.enter" });
    if (!this.enterDue) reduce(this.state, { type: "client.enter", at: this.#now() });
  }

  /** @param {string} text */
  #said(text) {
    reduce(this.state, { type: "client.said", text });
    this.#showSaid();
    // A hint has done its work once something was said after what it hinted at.
    this.hintedFor += 1;
    if (this.hintedFor >= 2) this.part("hint").textContent = "";
  }

  #showVoice() {
    const { audio, voice, system } = this.voice;
    this.controls.show();
    this.part("timeline").dataset.audible = audio && voice ? system : "";
    this.box.box.placeholder = audio?.ears ? "Type or speak: it is heard at once …" : "Type: every key is sent at once …";
  }

  #showSaid() {
    const said = this.state.said.slice(-6).join(" ");
    this.part("said-text").textContent = said;
    this.part("said-label").hidden = !said;
  }

  #now() {
    return this.clock.at(localTime());
  }

  #draw() {
    if (document.hidden) return;
    this.controls.draw();
    if (this.waiting.draw(localTime(), this.timeline, this.panels)) return;
    const { state } = this;
    // A lost connection stops the clock: nothing can happen until it is back.
    const now = this.lost || this.held ? this.lastNow : this.#now();
    this.lastNow = now;
    const asleep = state.version === this.drawnVersion && !this.timeline.dirty && state.scale.resting(now - 1);
    if (asleep) return;
    this.drawnVersion = state.version;
    this.timeline.draw(now);
    for (const panel of this.panels) panel.draw(state, now);
    this.part("timeline-empty").hidden = state.items.length > 0;
    this.part("timeline").classList.toggle("da-is-empty", state.items.length === 0);
  }

  #showHeader() {
    const { session } = this.state;
    const set = (/** @type {string} */ name, /** @type {string} */ text) => { this.part(name).textContent = text; };
    set("model", session ? modelName(session) : this.lost ? "not connected" : "connecting …");
    set("badge", badge(session));
    set("mode", session ? (session.slice_seconds === "adaptive" ? "adaptive slices" : `${session.slice_seconds} s slices`) : "");
    const median = medianReaction(this.state, "duplex");
    set("median", median === null ? "" : `answers after ${median.toFixed(2)} s`);
    const ears = earsOf(session);
    set("ears", ears.text);
    this.part("ears").title = ears.note;
    this.part("timeline").classList.toggle("da-voiced", Boolean(session?.audio));
    this.part("dot").dataset.state = this.lost ? "lost" : session ? "open" : "opening";
    this.part("connection").textContent = this.lost ? "not connected" : session ? "connected" : "connecting";
  }

  /** @param {boolean} paused */
  #showPause(paused) {
    const button = this.part("pause");
    this.part("pause-text").textContent = paused ? "Follow" : "Pause";
    button.setAttribute("aria-pressed", String(paused));
  }

  /** @param {"error" | "notice" | "lost"} kind @param {string} text @param {{label: string, act: () => void}} [action] */
  #banner(kind, text, action) {
    const banner = this.part("banner");
    const button = /** @type {HTMLButtonElement} */ (this.part("banner-action"));
    banner.dataset.kind = kind;
    banner.hidden = false;
    banner.setAttribute("role", kind === "error" ? "alert" : "status");
    this.part("banner-text").textContent = text;
    button.hidden = !action;
    button.textContent = action?.label ?? "";
    button.onclick = action?.act ?? null;
  }

  #hideBanner() {
    this.part("banner").hidden = true;
  }

  /** @param {string} key what it is about @param {string} text "" takes it away */
  #note(key, text) {
    this.notes.delete(key);
    if (text) this.notes.set(key, text);
    const newest = [...this.notes.values()].at(-1) ?? "";
    this.part("note").hidden = !newest;
    this.part("note-text").textContent = newest;
  }

  #listen() {
    this.part("banner-close").addEventListener("click", () => this.#hideBanner());
    this.part("note-close").addEventListener("click", () => this.#note([...this.notes.keys()].at(-1) ?? "", ""));
    this.part("new").addEventListener("click", () => this.#newSession());
    this.part("enter").addEventListener("click", () => {
      this.box.enter();
      this.box.box.focus();
    });
    this.part("pause").addEventListener("click", () => this.timeline.pause(!this.timeline.paused));
    this.part("zoom-in").addEventListener("click", () => this.timeline.zoomBy(1));
    this.part("zoom-out").addEventListener("click", () => this.timeline.zoomBy(-1));
    for (const select of [this.sliceSelect, this.baselineSelect]) {
      select.addEventListener("change", () => {
        // A talk under way stays as it is: it would be lost with its timeline.
        if (this.state.items.length === 0) this.#newSession();
        else this.part("hint").textContent = "That begins with a new session: press “new”.";
      });
    }
    this.root.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.isComposing) return;
      event.preventDefault();
      this.timeline.pause(!this.timeline.paused);
    });
    for (const chip of /** @type {NodeListOf<HTMLElement>} */ (this.root.querySelectorAll("[data-say]"))) {
      chip.addEventListener("click", () => {
        this.part("hint").textContent = chip.dataset.hint ?? "";
        this.hintedFor = 0;
        this.box.box.focus();
        this.box.type(chip.dataset.say ?? "");
      });
    }
    // Wherever the focus is: who speaks may have left the box.
    document.addEventListener("keydown", (event) => {
      if (!event.altKey || event.code !== "KeyM" || event.repeat || !this.voice.audio) return;
      event.preventDefault();
      void this.voice.toggleMicrophone();
    }, { signal: this.leaving.signal });
    // Who leaves the page ends the session; who comes back to it (the browser may have kept it) begins another.
    addEventListener("pagehide", () => this.connection.close(), { signal: this.leaving.signal });
    addEventListener("pageshow", ({ persisted }) => { if (persisted) this.#returned(); }, { signal: this.leaving.signal });
    new ResizeObserver(() => { this.timeline.dirty = true; }).observe(this.root);
  }
}

/** @param {import("./wire.js").Session} session */
function modelName({ model, parameters }) {
  const size = parameters >= 1e9 ? `${(parameters / 1e9).toFixed(1)} B` : parameters >= 1e6 ? `${(parameters / 1e6).toFixed(1)} M` : "";
  return `${model} model${size ? `, ${size}` : ""}`;
}
