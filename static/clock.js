// @ts-check
/**
 * Time: the session clock as the page knows it, and where on the timeline a second lies.
 *
 * Pure: the local time is passed in.
 */

/**
 * The session clock. Events carry the time they were sent; none can arrive before that.
 * So the smallest "received − sent" seen is the best guess of the distance between the
 * clocks, and the page is never ahead of the server: a word is shown when it is due, or
 * a network delay later, but never earlier than the server believes.
 */
export class SessionClock {
  constructor() {
    /** Local seconds at which the session clock read zero; null before session.created. */
    this.zero = /** @type {number | null} */ (null);
  }

  /** @param {number} at sent, session seconds @param {number} local received, local seconds */
  observe(at, local) {
    const zero = local - at;
    if (this.zero === null || zero < this.zero) this.zero = zero;
  }

  /** @param {number} local seconds @returns {number} session seconds; 0 before the session */
  at(local) {
    return this.zero === null ? 0 : Math.max(0, local - this.zero);
  }
}

/** Seconds of quiet after which the timeline rests. */
export const REST_AFTER = 3;
/** Seconds of quiet shown before somebody moves again. */
export const LEAD_IN = 0.6;
/** Width of a long silence on the timeline, in seconds. */
export const BREAK_WIDTH = 0.7;

/**
 * Where a second lies on the timeline. Time flows evenly, except that a silence longer
 * than a few seconds is folded into a short break, as a score writes one bar of rest:
 * the view stands still while nothing happens and goes on where it stood.
 */
export class TimeScale {
  constructor() {
    /** The last moment at which something happened; may lie ahead (words to come). */
    this.active_until = -REST_AFTER + LEAD_IN;
    /** @type {{from: number, to: number, folded: number}[]} `folded`: seconds saved up to its end */
    this.breaks = [];
  }

  /** Something happened at `at`. @param {number} at seconds */
  active(at) {
    const from = this.active_until + REST_AFTER;
    const to = at - LEAD_IN;
    if (to - from > BREAK_WIDTH) {
      const before = this.breaks.at(-1)?.folded ?? 0;
      this.breaks.push({ from, to, folded: before + (to - from) - BREAK_WIDTH });
    }
    this.active_until = Math.max(this.active_until, at);
  }

  /** Where "now" stands: it rests when nothing happens. @param {number} at */
  now(at) {
    return Math.min(at, this.active_until + REST_AFTER);
  }

  /** @param {number} at */
  resting(at) {
    return at > this.active_until + REST_AFTER;
  }

  /** The silence that `at` falls into, if any. @param {number} at */
  breakAt(at) {
    const found = this.#lastBreak((b) => b.from <= at);
    return found && at < found.to ? found : null;
  }

  /** Session seconds → timeline seconds. @param {number} at */
  place(at) {
    const last = this.#lastBreak((b) => b.from <= at);
    if (!last) return at;
    if (at >= last.to) return at - last.folded;
    const span = last.to - last.from;
    const saved = last.folded - (span - BREAK_WIDTH);
    return last.from - saved + ((at - last.from) / span) * BREAK_WIDTH;
  }

  /** Timeline seconds → session seconds. @param {number} placed */
  time(placed) {
    const last = this.#lastBreak((b) => this.place(b.from) <= placed);
    if (!last) return placed;
    const start = this.place(last.from);
    if (placed >= start + BREAK_WIDTH) return placed + last.folded;
    return last.from + ((placed - start) / BREAK_WIDTH) * (last.to - last.from);
  }

  /** @param {(b: {from: number, to: number, folded: number}) => boolean} holds for a first part of the list */
  #lastBreak(holds) {
    let low = 0;
    let high = this.breaks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (holds(this.breaks[middle])) low = middle + 1;
      else high = middle;
    }
    return low > 0 ? this.breaks[low - 1] : null;
  }
}
