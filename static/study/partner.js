// @ts-check
/**
 * What the partner says, in time: words appear at their own moment, and what was cut before
 * it was shown never appears. Nothing here tells how the partner decides. Pure.
 *
 * @typedef {{id: string, text: string}} Answer
 */

export class Partner {
  constructor() {
    /** Answers in the order in which their first words appeared. @type {Answer[]} */
    this.answers = [];
    /** Words to come. @type {{id: string, at: number, text: string}[]} */
    this.ahead = [];
  }

  /** Words of an answer, to be shown at session second `at`. @param {string} id @param {number} at @param {string} text */
  say(id, at, text) {
    this.ahead.push({ id, at, text });
  }

  /**
   * The answer broke off: `unheard` is what of it nobody saw or heard. In a voice the words may be on the page already.
   * @param {string} id @param {number} at session second @param {string} unheard
   */
  cut(id, at, unheard) {
    const dropped = this.ahead.filter((piece) => piece.id === id && piece.at >= at);
    this.ahead = this.ahead.filter((piece) => !dropped.includes(piece));
    const early = unheard.slice(0, Math.max(0, unheard.length - dropped.map(({ text }) => text).join("").length));
    const answer = this.answers.findLast((each) => each.id === id);
    if (answer && early && answer.text.endsWith(early)) answer.text = answer.text.slice(0, -early.length);
  }

  /** Shows what is due. @param {number} now session seconds @returns {boolean} whether anything changed */
  show(now) {
    const due = this.ahead.filter(({ at }) => at <= now);
    if (!due.length) return false;
    this.ahead = this.ahead.filter(({ at }) => at > now);
    for (const { id, text } of due) {
      let answer = this.answers.findLast((each) => each.id === id);
      if (!answer) {
        answer = { id, text: "" };
        this.answers.push(answer);
      }
      answer.text += text;
    }
    return true;
  }
}
