// @ts-check
/**
 * The items of a page as a form: scales, choices, numbers, texts and boxes to tick.
 *
 * form.element goes onto the page; form.answers() is what was given; form.explain(items)
 * shows what the server says is wrong, and goes to the first.
 */
import { make } from "./make.js";

/** @typedef {import("./api.js").Item} Item @typedef {import("./texts.js").Texts} Texts */

/** Characters left from which on they are counted. */
const NEARLY_FULL = 200;

export class Form {
  /**
   * @param {Item[]} items @param {Texts} texts
   * @param {Record<string, unknown>} draft answers given before a reload
   * @param {(answers: Record<string, unknown>) => void} onChange
   */
  constructor(items, texts, draft, onChange) {
    this.texts = texts;
    this.items = items;
    /** @type {Map<string, {root: HTMLElement, problem: HTMLElement, read: () => unknown}>} */
    this.fields = new Map();
    this.element = make("form", "st-form");
    this.element.noValidate = true;
    for (const item of items) {
      const field = this.#field(item, draft[item.key]);
      const problem = make("p", "st-problem");
      problem.id = `problem-${item.key}`;
      problem.hidden = true;
      field.root.append(problem);
      field.root.dataset.item = item.key;
      this.fields.set(item.key, { ...field, problem });
      this.element.append(field.root);
    }
    this.element.addEventListener("input", (event) => {
      this.#ask();
      this.#clear(/** @type {HTMLElement} */ (event.target));
      onChange(this.answers());
    });
    this.#ask();
  }

  /** What was given to the items that are asked. @returns {Record<string, unknown>} */
  answers() {
    /** @type {Record<string, unknown>} */
    const answers = {};
    for (const item of this.items) {
      const field = this.fields.get(item.key);
      const value = field && !field.root.hidden ? field.read() : null;
      if (value !== null) answers[item.key] = value;
    }
    return answers;
  }

  /** Required items without an answer, with a sentence for each. @returns {Record<string, string>} */
  missing() {
    const answers = this.answers();
    /** @type {Record<string, string>} */
    const missing = {};
    for (const { key, required, kind } of this.items) {
      const asked = !this.fields.get(key)?.root.hidden;
      if (!asked || !required) continue;
      if (kind === "flag" && answers[key] !== true) missing[key] = this.texts.say("error.must_agree");
      else if (answers[key] === undefined) missing[key] = this.texts.say("page.please_answer");
    }
    return missing;
  }

  /** @param {Record<string, string>} items a sentence for each that is wrong */
  explain(items) {
    for (const [key, { root, problem }] of this.fields) {
      problem.textContent = items[key] ?? "";
      problem.hidden = !items[key];
      root.classList.toggle("st-wrong", Boolean(items[key]));
    }
    const first = this.element.querySelector(".st-wrong");
    first?.scrollIntoView({ block: "center", behavior: "smooth" });
    /** @type {HTMLElement | null | undefined} */ (first?.querySelector("input, textarea, select"))?.focus({ preventScroll: true });
  }

  /** Shows the items that are asked, given what was answered to others. */
  #ask() {
    for (const item of this.items) {
      const [other, ...values] = item.only_if;
      const field = this.fields.get(item.key);
      if (!field || !other) continue;
      const given = this.fields.get(other);
      field.root.hidden = !given || given.root.hidden || !values.includes(String(given.read()));
    }
  }

  /** @param {HTMLElement} target that has just been changed */
  #clear(target) {
    const field = this.fields.get(/** @type {HTMLElement | null} */ (target.closest("[data-item]"))?.dataset.item ?? "");
    if (!field) return;
    field.problem.hidden = true;
    field.root.classList.remove("st-wrong");
  }

  /** @param {Item} item @param {unknown} given @returns {{root: HTMLElement, read: () => unknown}} */
  #field(item, given) {
    switch (item.kind) {
      case "scale":
        return this.#scale(item, given);
      case "choice":
        return this.#choice(item, given);
      case "flag":
      case "check":
        return this.#box(item, given);
      default:
        return this.#text(item, given);
    }
  }

  /** @param {Item} item @param {unknown} given */
  #scale(item, given) {
    const { texts } = this;
    const root = this.#group(item, "st-scale");
    const marks = make("div", "st-marks");
    for (let value = item.low; value <= item.high; value += 1) {
      const words = texts.has(`${item.text}.${value}`) ? texts.say(`${item.text}.${value}`) : "";
      const label = make("label", "st-mark");
      const input = this.#radio(item, String(value), given === value);
      if (words) input.setAttribute("aria-label", `${value}: ${words}`);
      label.append(input, make("span", "st-dot", String(value)), make("span", "st-anchor", words));
      marks.append(label);
    }
    root.append(marks);
    return { root, read: () => numberOrNull(chosen(root)) };
  }

  /** @param {Item} item @param {unknown} given */
  #choice(item, given) {
    const root = this.#group(item, "st-choice");
    for (const option of item.options) {
      const label = make("label", "st-option");
      label.append(this.#radio(item, option, given === option), make("span", "", this.texts.say(`${item.text}.${option}`)));
      root.append(label);
    }
    return { root, read: () => chosen(root) };
  }

  /** @param {Item} item @param {unknown} given */
  #box(item, given) {
    const root = make("div", "st-item st-tick");
    const input = make("input");
    input.type = "checkbox";
    input.name = item.key;
    input.checked = given === true;
    describe(input, item);
    root.append(make("label", "st-option", input, make("span", "", this.texts.say(item.text))));
    return { root, read: () => input.checked };
  }

  /** @param {Item} item @param {unknown} given */
  #text(item, given) {
    const root = make("div", "st-item");
    const isNumber = item.kind === "number";
    const input = isNumber ? make("input", "st-number") : make("textarea", "st-text");
    if (input instanceof HTMLInputElement) input.inputMode = "numeric";
    else input.rows = item.longest > 500 ? 4 : 1;
    input.name = item.key;
    input.id = `item-${item.key}`;
    input.autocomplete = "off";
    input.value = given === undefined || given === null ? "" : String(given);
    describe(input, item);
    const title = make("label", "st-question", this.texts.say(item.text));
    title.htmlFor = input.id;
    if (!item.required) title.append(" ", make("span", "st-soft", this.texts.say("page.optional")));
    root.append(title, input);
    if (!isNumber) root.append(this.#counter(/** @type {HTMLTextAreaElement} */ (input), item));
    // A number that is none goes to the server as it is, which says what is wrong with it.
    return { root, read: () => (input.value.trim() === "" ? null : isNumber ? numberOrText(input.value) : input.value) };
  }

  /** @param {HTMLTextAreaElement} input @param {Item} item @returns {HTMLElement} */
  #counter(input, item) {
    const counter = make("p", "st-counter");
    const count = () => {
      const length = Array.from(input.value).length; // as the server counts
      counter.hidden = length < item.longest - NEARLY_FULL;
      counter.textContent = `${length} / ${item.longest}`;
      counter.classList.toggle("st-over", length > item.longest);
    };
    input.addEventListener("input", count);
    count();
    return counter;
  }

  /** @param {Item} item @param {string} kind @returns {HTMLFieldSetElement} */
  #group(item, kind) {
    const title = make("legend", "st-question", this.texts.say(item.text));
    if (!item.required) title.append(" ", make("span", "st-soft", this.texts.say("page.optional")));
    return make("fieldset", `st-item ${kind}`, title);
  }

  /** @param {Item} item @param {string} value @param {boolean} checked */
  #radio(item, value, checked) {
    const input = make("input");
    input.type = "radio";
    input.name = item.key;
    input.value = value;
    input.checked = checked;
    describe(input, item);
    return input;
  }
}

/** @param {HTMLElement} input @param {Item} item */
function describe(input, item) {
  input.setAttribute("aria-describedby", `problem-${item.key}`);
}

/** @param {HTMLElement} root @returns {string | null} */
function chosen(root) {
  return /** @type {HTMLInputElement | null} */ (root.querySelector("input:checked"))?.value ?? null;
}

/** @param {string | null} text */
function numberOrNull(text) {
  return text === null ? null : Number(text);
}

/** @param {string} text @returns {number | string} */
function numberOrText(text) {
  return /^[+-]?\d{1,15}$/.test(text.trim()) ? Number(text) : text;
}
