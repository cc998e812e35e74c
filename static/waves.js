// @ts-check
/**
 * The loudness of a voice over time, and what of it is drawn.
 *
 * Pure. Levels come every 20 ms, in runs; a run is placed by its first level and goes on
 * by count, so that late messages do not tear it.
 */
import { FRAME_SECONDS } from "./pcm.js";

/** Seconds that a level may stand from where its run expects it. */
const SLACK_SECONDS = 0.12;
/** Pixels of a column. */
const COLUMN = 3;

export class Wave {
  constructor() {
    /** @type {{from: number, levels: number[]}[]} in order of time */
    this.runs = [];
  }

  /** @param {number} at where the level's frame begins, seconds @param {number} level 0 to 1 */
  add(at, level) {
    const run = this.runs.at(-1);
    const expected = run ? run.from + run.levels.length * FRAME_SECONDS : -Infinity;
    if (run && Math.abs(expected - at) < SLACK_SECONDS) run.levels.push(level);
    // Never back in time: runs stay in order.
    else this.runs.push({ from: Math.max(at, expected), levels: [level] });
  }

  /**
   * The largest level in each column of pixels between two moments.
   * @param {number} from @param {number} to seconds @param {(at: number) => number} place seconds → pixels
   * @returns {Map<number, number>} by the pixel of the column's left edge
   */
  columns(from, to, place) {
    /** @type {Map<number, number>} */
    const columns = new Map();
    for (let r = this.#runBefore(from); r < this.runs.length && this.runs[r].from <= to; r += 1) {
      const run = this.runs[r];
      const first = Math.max(0, Math.floor((from - run.from) / FRAME_SECONDS));
      const last = Math.min(run.levels.length - 1, Math.ceil((to - run.from) / FRAME_SECONDS));
      for (let i = first; i <= last; i += 1) {
        const column = Math.floor(place(run.from + i * FRAME_SECONDS) / COLUMN) * COLUMN;
        columns.set(column, Math.max(columns.get(column) ?? 0, run.levels[i]));
      }
    }
    return columns;
  }

  /** @param {number} at @returns {number} of the last run that begins before it, or 0 */
  #runBefore(at) {
    let low = 0;
    let high = this.runs.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.runs[middle].from <= at) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }
}

/**
 * An SVG path: one upright line for each column, mirrored about the middle.
 * @param {Map<number, number>} columns @param {number} left pixel of the drawing's left edge @param {number} height of it
 */
export function envelope(columns, left, height) {
  const middle = height / 2;
  let path = "";
  for (const [x, level] of columns) {
    const reach = heightOf(level) * middle;
    if (reach < 0.4) continue;
    path += `M${(x - left + COLUMN / 2).toFixed(1)} ${(middle - reach).toFixed(1)}V${(middle + reach).toFixed(1)}`;
  }
  return path;
}

/** Loudness as seen: speech fills most of the height, noise hardly any. @param {number} level @returns {number} 0 to 1 */
export function heightOf(level) {
  return Math.min(1, 1.9 * Math.sqrt(Math.max(0, level - 0.001)));
}
