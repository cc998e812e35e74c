// @ts-check
/**
 * The rating of one model: two scales from 1 to 7 and a comment, saved by one POST.
 */

/** @typedef {import("./wire.js").System} System */

const SCALES = [
  { name: "responsiveness", label: "Responsiveness", low: "disappointing", high: "excellent" },
  { name: "human_likeness", label: "Human-likeness", low: "like a machine", high: "like a person" },
];

export class Rating {
  /**
   * @param {HTMLFormElement} form @param {System} system
   * @param {() => string | null} sessionId of the session on the page
   */
  constructor(form, system, sessionId) {
    this.form = form;
    this.system = system;
    this.sessionId = sessionId;
    this.scales = /** @type {HTMLElement} */ (form.querySelector('[data-part="scales"]'));
    this.message = /** @type {HTMLElement} */ (form.querySelector('[data-part="message"]'));
    this.button = /** @type {HTMLButtonElement} */ (form.querySelector("button"));
    for (const scale of SCALES) this.scales.append(this.#scale(scale));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
    form.addEventListener("input", () => this.#say("", ""));
  }

  clear() {
    this.form.reset();
    this.#say("", "");
  }

  /** @param {{name: string, label: string, low: string, high: string}} scale */
  #scale({ name, label, low, high }) {
    const group = make("div", "da-scale");
    const title = make("span", "da-scale-name", label);
    const marks = make("span", "da-scale-marks");
    title.id = `da-${this.system}-${name}`;
    group.setAttribute("role", "radiogroup");
    group.setAttribute("aria-labelledby", title.id);
    for (let value = 1; value <= 7; value += 1) {
      const choice = make("label", "da-choice");
      const input = document.createElement("input");
      const end = value === 1 ? `, ${low}` : value === 7 ? `, ${high}` : "";
      input.type = "radio";
      input.name = `da-${this.system}-${name}`;
      input.value = String(value);
      input.setAttribute("aria-label", `${value} of 7${end}`);
      choice.append(input, make("span", "", String(value)));
      marks.append(choice);
    }
    group.append(title, make("span", "da-scale-end da-scale-low", low), marks, make("span", "da-scale-end", high));
    return group;
  }

  async #submit() {
    const data = new FormData(this.form);
    const [responsiveness, human_likeness] = SCALES.map(({ name }) => Number(data.get(`da-${this.system}-${name}`)));
    const session = this.sessionId();
    if (!session) return this.#say("error", "There is no session yet: wait until the page is connected.");
    if (!responsiveness || !human_likeness) return this.#say("error", "Choose a number on both scales first.");
    this.#say("saving", "saving …");
    this.button.disabled = true;
    try {
      const url = new URL(`v1/sessions/${encodeURIComponent(session)}/ratings`, document.baseURI);
      const comment = String(data.get("comment") ?? "").trim();
      const response = await fetch(url, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ system: this.system, responsiveness, human_likeness, comment }),
      });
      if (!response.ok) throw new Error(await reasonOf(response));
      this.#say("saved", "saved, thank you");
    } catch (error) {
      const reason = error instanceof TypeError ? "the server cannot be reached" : /** @type {Error} */ (error).message;
      this.#say("error", `Not saved: ${reason}. Your choice is still here, try again.`);
    } finally {
      this.button.disabled = false;
    }
  }

  /** @param {"" | "saving" | "saved" | "error"} state @param {string} text */
  #say(state, text) {
    this.message.dataset.state = state;
    this.message.textContent = text;
    this.form.classList.toggle("da-has-message", Boolean(text));
  }
}

/** @param {Response} response @returns {Promise<string>} */
async function reasonOf(response) {
  try {
    const { error } = await response.json();
    if (error?.message) return String(error.message).replace(/\.$/, "");
  } catch {
    // Not JSON: the status says enough.
  }
  return `the server answered ${response.status}`;
}

/** @param {string} tag @param {string} kind @param {string} [text] @returns {HTMLElement} */
function make(tag, kind, text) {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  if (text) element.textContent = text;
  return element;
}
