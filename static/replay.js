// @ts-check
/**
 * A recorded talk, played again as the page would have shown it.
 *
 * Pure: the local time is passed in. `replay.json` is made by `python -m webapp.replay`: the
 * events of the wire and the page's own (`client.edit`, `client.enter`, `client.said`), each
 * with the second at which it came.
 *
 *   const replay = new Replay(recording);
 *   if (replay.advance(localTime())) timeline.show(replay.state);   // it began, or began anew
 *   timeline.draw(replay.now);
 *
 * @typedef {import("./model.js").Event} Event
 * @typedef {{session: import("./wire.js").Session, seconds: number, events: [number, Event][]}} Recording
 */
import { State, reduce } from "./model.js";

/** Seconds that the end stands still before it begins anew. */
const REST_SECONDS = 4;

export class Replay {
  /** @param {Recording} recording */
  constructor(recording) {
    this.recording = recording;
    this.state = new State();
    /** Session seconds of the talk. */
    this.now = 0;
    this.begun = /** @type {number | null} */ (null);
    this.next = 0;
  }

  /**
   * Plays up to a moment.
   * @param {number} local seconds
   * @returns {boolean} whether `state` is another one than before
   */
  advance(local) {
    const { events, seconds, session } = this.recording;
    const fresh = this.begun === null || local - this.begun >= seconds + REST_SECONDS;
    if (fresh) {
      this.begun = local;
      this.next = 0;
      this.state = new State();
      reduce(this.state, { type: "session.created", session, at: 0 });
    }
    this.now = local - /** @type {number} */ (this.begun);
    for (; this.next < events.length && events[this.next][0] <= this.now; this.next += 1) {
      reduce(this.state, events[this.next][1]);
    }
    return fresh;
  }
}
