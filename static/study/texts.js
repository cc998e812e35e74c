// @ts-check
/**
 * The words of the page, as the server sent them. Pure.
 */

/**
 * @typedef {Record<string, string>} Words  by key
 * @typedef {Record<string, string | number>} Values  by placeholder
 */

/** The words with `{name}` replaced by the values that there are. @param {string} text @param {Values} values @returns {string} */
export function fill(text, values) {
  return text.replace(/\{([a-z_0-9]+)\}/g, (found, name) => String(values[name] ?? found));
}

export class Texts {
  /** @param {Words} words @param {Values} [values] known on every page, such as labels */
  constructor(words, values = {}) {
    this.words = words;
    this.values = values;
  }

  /** The words of a key; the key itself where there are none: that is seen, and can be reported. @param {string} key @param {Values} [values] @returns {string} */
  say(key, values = {}) {
    return fill(this.words[key] ?? key, { ...this.values, ...values });
  }

  /** @param {string} key @returns {boolean} */
  has(key) {
    return Object.hasOwn(this.words, key);
  }

  /** The paragraphs of a text: an empty line begins a new one. @param {string} key @returns {string[]} */
  paragraphs(key) {
    return this.say(key).split(/\n\s*\n/).map((part) => part.trim()).filter(Boolean);
  }
}

/**
 * Labels as values: partner A at position 1 is {label_1}. Before consent there are none.
 * @param {string[]} labels by position @returns {Values}
 */
export function labelValues(labels) {
  return Object.fromEntries(labels.map((label, i) => [`label_${i + 1}`, label]));
}
