// @ts-check
/**
 * The timeline: three lanes on which everything stands where it happened.
 *
 * Behind the marks of a lane stands the loudness of its voice, as one path for what is in
 * sight. Draws `model.view` as positioned elements, only those in sight; elements are kept by key
 * and touched only when what they show changes. Follows the present until it is paused or
 * scrolled back. Keys: ← → go from mark to mark, Home End, space pauses, + and − zoom.
 */
import { describe } from "./details.js";
import { view } from "./view.js";
import { envelope } from "./waves.js";

/** @typedef {import("./model.js").State} SessionState @typedef {import("./view.js").Drawn} Drawn */
/** @typedef {{element: HTMLElement, body: HTMLElement, signature: string, item: Drawn}} Mark */

/** Pixels a second: 130 lets five tokens a second stand in full. */
const ZOOMS = [26, 44, 72, 100, 130, 180, 260];
/** Marks of a moment: they have no width in time. */
const POINTS = new Set(["idle", "stop", "enter", "struck", "hush", "heardend"]);
/** Pixels under which a block has one line only. */
const NARROW = 84;
/** Pixels that a lane's wave may fill. */
const WAVE_HEIGHTS = /** @type {Record<string, number>} */ ({ you: 44, duplex: 40, turns: 40 });
/** Where on the view the present stands. */
const PRESENT = 0.87;

export class Timeline {
  /** @param {HTMLElement} root @param {{onPause: (paused: boolean) => void}} listeners */
  constructor(root, { onPause }) {
    /** @param {string} name @returns {HTMLElement} */
    const part = (name) => /** @type {HTMLElement} */ (root.querySelector(`[data-part="${name}"]`));
    this.root = root;
    this.view = part("view");
    this.track = part("track");
    this.axis = part("axis");
    this.present = part("now");
    this.detail = part("detail");
    this.legend = part("legend");
    /** @type {Record<string, HTMLElement>} */
    this.lanes = { you: part("lane-you"), duplex: part("lane-duplex"), turns: part("lane-turns") };
    /** @type {Record<string, {svg: SVGSVGElement, path: SVGPathElement, drawn: string}>} */
    this.waves = {};
    for (const [name, lane] of Object.entries(this.lanes)) this.waves[name] = addWave(lane);
    this.onPause = onPause;
    this.paused = false;
    this.zoom = this.view.clientWidth && this.view.clientWidth < 560 ? 3 : 4;
    /** @type {Map<string, Mark>} */
    this.marks = new Map();
    /** @type {Map<string, HTMLElement>} */
    this.ticks = new Map();
    this.wanted = 0;
    this.dirty = true;
    this.state = /** @type {SessionState | null} */ (null);
    this.#listen();
  }

  get pixelsPerSecond() {
    return ZOOMS[this.zoom];
  }

  /** @param {SessionState} state a new session */
  show(state) {
    this.state = state;
    for (const mark of this.marks.values()) mark.element.remove();
    for (const tick of this.ticks.values()) tick.remove();
    this.marks.clear();
    this.ticks.clear();
    this.#tell(null);
    this.pause(false);
  }

  /** @param {boolean} paused */
  pause(paused) {
    this.dirty = true;
    if (paused === this.paused) return;
    this.paused = paused;
    this.root.classList.toggle("da-paused", paused);
    this.onPause(paused);
  }

  /** @param {number} step of the zoom; the middle of the view stays where it is */
  zoomBy(step) {
    const before = this.pixelsPerSecond;
    this.zoom = Math.max(0, Math.min(ZOOMS.length - 1, this.zoom + step));
    const middle = (this.view.scrollLeft + this.view.clientWidth / 2) / before;
    this.dirty = true;
    if (!this.paused) return;
    this.track.style.width = `${this.track.offsetWidth * (this.pixelsPerSecond / before)}px`;
    this.view.scrollLeft = middle * this.pixelsPerSecond - this.view.clientWidth / 2;
    this.wanted = this.view.scrollLeft;
  }

  /** @param {number} now session seconds */
  draw(now) {
    const { state } = this;
    if (!state) return;
    const scale = state.scale;
    const width = this.view.clientWidth;
    const x = scale.place(scale.now(now)) * this.pixelsPerSecond;
    this.present.style.transform = `translateX(${x.toFixed(1)}px)`;
    this.present.classList.toggle("da-resting", scale.resting(now));
    this.track.style.width = `${Math.ceil(Math.max(width, x + width * (1 - PRESENT)))}px`;
    if (!this.paused) {
      this.view.scrollLeft = Math.max(0, x - width * PRESENT);
      this.wanted = this.view.scrollLeft;
    }
    const left = this.view.scrollLeft;
    const from = scale.time(left / this.pixelsPerSecond - 0.5);
    const to = scale.time((left + width) / this.pixelsPerSecond);
    this.#drawWaves(from, Math.min(to, now), left);
    this.#drawMarks(view(state, from, to, now));
    this.#drawAxis(from, to);
    this.dirty = false;
  }

  /** @param {number} from @param {number} to seconds @param {number} left pixels */
  #drawWaves(from, to, left) {
    const { scale, sound } = /** @type {SessionState} */ (this.state);
    const edge = Math.floor(left);
    for (const [name, wave] of Object.entries(sound.waves)) {
      const { svg, path } = this.waves[name];
      const columns = wave.columns(from, to, (at) => scale.place(at) * this.pixelsPerSecond);
      const drawn = columns.size ? `${edge} ${envelope(columns, edge, WAVE_HEIGHTS[name])}` : "";
      if (drawn === this.waves[name].drawn) continue;
      this.waves[name].drawn = drawn;
      svg.style.transform = `translateX(${edge}px)`;
      path.setAttribute("d", drawn.slice(drawn.indexOf(" ") + 1));
    }
  }

  /** @param {Drawn[]} items */
  #drawMarks(items) {
    const state = /** @type {SessionState} */ (this.state);
    const speech = items.filter((item) => item.kind === "speech");
    const stops = items.filter((item) => item.kind === "stop");
    const gone = new Set(this.marks.keys());
    for (const item of items) {
      gone.delete(item.key);
      const x = state.scale.place(item.from) * this.pixelsPerSecond;
      const width = state.scale.place(item.end) * this.pixelsPerSecond - x;
      const beside = item.kind === "idle" && stops.some((s) => s.lane === item.lane && Math.abs(s.from - item.from) < 0.1);
      const below = item.kind === "idle" && !beside
        && speech.some((s) => s.lane === item.lane && s.from < item.from + 0.05 && s.end > item.from + 0.02);
      const flags = [item.to === null && "open", item.rewound && "rewound", item.resaid && "resaid", item.cut && "cut", item.spoken && "spoken",
        item.yielded && "yielded", below && "below", beside && "beside", item.kind === "idle" && item.p_idle === null && "silent",
        (item.kind === "heard" || item.kind === "speech") && width < NARROW && "narrow"];
      const classes = ["da-mark", `da-${item.kind}`, ...flags.filter(Boolean).map((f) => `da-is-${f}`)].join(" ");
      const signature = `${x.toFixed(1)} ${width.toFixed(1)} ${classes} ${item.shown}`;
      const mark = this.marks.get(item.key) ?? this.#addMark(item);
      mark.item = item;
      if (mark.signature === signature) continue;
      mark.signature = signature;
      fill(mark, item, x, width, classes);
      mark.element.setAttribute("aria-label", describe(state, item));
      if (this.told === item.key) this.detail.textContent = describe(state, item);
    }
    for (const key of gone) {
      this.marks.get(key)?.element.remove();
      this.marks.delete(key);
      if (this.told === key) this.#tell(null);
    }
  }

  /** @param {Drawn} item @returns {Mark} */
  #addMark(item) {
    const element = document.createElement("div");
    const body = document.createElement("span");
    element.append(body);
    element.tabIndex = -1;
    element.setAttribute("role", "img");
    element.dataset.key = item.key;
    this.lanes[item.lane].append(element);
    const mark = { element, body, signature: "", item };
    this.marks.set(item.key, mark);
    return mark;
  }

  /** @param {number} from @param {number} to */
  #drawAxis(from, to) {
    const state = /** @type {SessionState} */ (this.state);
    const { pixelsPerSecond } = this;
    const step = pixelsPerSecond >= 72 ? 1 : pixelsPerSecond >= 44 ? 2 : 5;
    const gone = new Set(this.ticks.keys());
    /** @param {string} key @param {number} at @param {string} text @param {string} kind @param {number} [width] */
    const tick = (key, at, text, kind, width) => {
      gone.delete(key);
      let element = this.ticks.get(key);
      if (!element) {
        element = document.createElement("div");
        element.className = kind;
        element.textContent = text;
        this.axis.append(element);
        this.ticks.set(key, element);
      }
      const place = `translateX(${(state.scale.place(at) * pixelsPerSecond).toFixed(1)}px)`;
      if (element.style.transform !== place) element.style.transform = place;
      if (width !== undefined) element.style.width = `${width.toFixed(1)}px`;
    };
    for (let at = Math.max(0, Math.ceil(from / step) * step); at <= to; at += step) {
      const silence = state.scale.breakAt(at);
      if (silence) {
        const width = state.scale.place(silence.to) - state.scale.place(silence.from);
        tick(`quiet-${silence.from}`, silence.from, `⁄⁄ ${Math.round(silence.to - silence.from)} s`, "da-quiet", width * pixelsPerSecond);
        at = Math.floor(silence.to / step) * step;
        continue;
      }
      const near = state.scale.breakAt(at + 0.5) ?? state.scale.breakAt(at - 0.3);
      tick(`${step}-${at}`, at, near || (step === 1 && at % 2) ? "" : `${clock(at)}`, "da-tick");
    }
    for (const key of gone) {
      this.ticks.get(key)?.remove();
      this.ticks.delete(key);
    }
  }

  /** Shows a mark's numbers in place of the legend. @param {Mark | null} mark */
  #tell(mark) {
    this.told = mark?.item.key;
    this.detail.textContent = mark && this.state ? describe(this.state, mark.item) : "";
    this.detail.hidden = !mark;
    this.legend.hidden = Boolean(mark);
  }

  /** @param {EventTarget | null} target */
  #markOf(target) {
    const element = target instanceof Element ? /** @type {HTMLElement | null} */ (target.closest(".da-mark")) : null;
    return (element?.dataset.key && this.marks.get(element.dataset.key)) || null;
  }

  #listen() {
    const { view: area } = this;
    area.addEventListener("pointerover", (event) => this.#tell(this.#markOf(event.target) ?? this.#focused()));
    area.addEventListener("pointerleave", () => this.#tell(this.#focused()));
    area.addEventListener("focusin", (event) => this.#tell(this.#markOf(event.target)));
    area.addEventListener("focusout", () => this.#tell(null));
    area.addEventListener("scroll", () => {
      this.dirty = true;
      if (Math.abs(area.scrollLeft - this.wanted) < 3) return;
      const end = area.scrollWidth - area.clientWidth;
      this.wanted = area.scrollLeft;
      this.pause(area.scrollLeft < end - 3);
    }, { passive: true });
    area.addEventListener("keydown", (event) => this.#key(event));
  }

  #focused() {
    return this.#markOf(document.activeElement);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const keys = ["ArrowLeft", "ArrowRight", "Home", "End", " ", "+", "=", "-"];
    if (!keys.includes(event.key)) return;
    event.preventDefault();
    if (event.key === " ") this.pause(!this.paused);
    else if (event.key === "+" || event.key === "=") this.zoomBy(1);
    else if (event.key === "-") this.zoomBy(-1);
    else if (event.key === "Home") this.#scrollTo(0);
    else if (event.key === "End") this.pause(false);
    else this.#step(event.key === "ArrowRight" ? 1 : -1);
  }

  /** @param {number} left */
  #scrollTo(left) {
    this.pause(true);
    this.view.scrollLeft = left;
    this.wanted = this.view.scrollLeft;
  }

  /** Goes to the next or the last mark in time. @param {1 | -1} step */
  #step(step) {
    const marks = [...this.marks.values()].sort((a, b) => a.item.from - b.item.from);
    const here = marks.findIndex((mark) => mark.element === document.activeElement);
    const next = marks[here < 0 ? (step > 0 ? 0 : marks.length - 1) : here + step];
    this.pause(true);
    if (!next) {
      this.#scrollTo(this.view.scrollLeft + step * this.view.clientWidth * 0.4);
      return;
    }
    next.element.focus({ preventScroll: true });
    const left = Number.parseFloat(next.element.style.left);
    const inside = left > this.view.scrollLeft + 20 && left < this.view.scrollLeft + this.view.clientWidth - 60;
    if (!inside) this.#scrollTo(left - this.view.clientWidth / 2);
  }
}

/** The drawing behind a lane's marks. @param {HTMLElement} lane */
function addWave(lane) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("class", "da-wave");
  svg.setAttribute("aria-hidden", "true");
  svg.append(path);
  lane.prepend(svg);
  return { svg, path, drawn: "" };
}

/** @param {Mark} mark @param {Drawn} item @param {number} x pixels @param {number} width pixels @param {string} classes */
function fill({ element, body }, item, x, width, classes) {
  element.className = classes;
  element.style.left = `${x.toFixed(1)}px`;
  if (!POINTS.has(item.kind)) element.style.width = `${Math.max(3, width).toFixed(1)}px`;
  if (item.kind === "idle") element.style.setProperty("--da-p", String(item.p_idle ?? 0));
  const text = textOf(item, width);
  if (body.textContent !== text) body.textContent = text;
}

/** @param {Drawn} item @param {number} width pixels @returns {string} */
function textOf(item, width) {
  switch (item.kind) {
    case "idle": case "voice": case "lowered": case "hush": case "heardend": return "";
    case "enter": return "⏎";
    case "stop": return item.resaid ? "" : "╳";
    case "reaction": return `${(item.end - item.from).toFixed(2)} s`;
    case "waiting":
      if (item.spoken) return width > 150 ? "waiting until you stop …" : width > 60 ? "waiting …" : "…";
      return width > 110 ? "waiting for Enter …" : width > 60 ? "waiting …" : "…";
    case "deaf": return item.shown ? `deaf · “${item.shown.trim()}”` : "deaf";
    case "struck": return item.shown.trim();
    default: return item.shown;
  }
}

/** @param {number} at seconds */
function clock(at) {
  if (at < 60) return `${at} s`;
  return `${Math.floor(at / 60)}:${String(at % 60).padStart(2, "0")}`;
}
