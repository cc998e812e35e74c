// @ts-check
/**
 * The participant's way: asks the server where they are, shows that page, sends what they
 * answer, and goes where the server says. The server decides; a reload changes nothing.
 */
import { Api, Refused } from "./api.js";
import { Device } from "./device.js";
import { donePage } from "./done.js";
import { Form } from "./form.js";
import { button, make, paragraphs } from "./make.js";
import { Memory, storageHere } from "./memory.js";
import { Practice } from "./practice.js";
import { Talk } from "./talk.js";
import { Texts, labelValues } from "./texts.js";

/** @typedef {import("./api.js").State} State */
/** @typedef {{element: HTMLElement, stop?: () => void}} Page */

/** Said before the server could be asked for the study's words. */
const UNREACHED = "The server cannot be reached. We keep trying … / 无法连接服务器，正在重试……";
/** Ids that recruitment services add to the address. */
const RECRUIT = ["PROLIFIC_PID", "STUDY_ID", "SESSION_ID"];
/** Pages whose answers are all in one form. */
const FORMS = new Set(["consent", "rate", "compare", "about"]);

class App {
  constructor() {
    /** @param {string} name @returns {any} */
    this.part = (name) => document.querySelector(`#study [data-part="${name}"]`);
    this.base = new URL(".", location.href);
    const study = this.base.pathname.split("/").at(-2) ?? "";
    this.memory = new Memory(study, storageHere(), location);
    this.texts = new Texts({ "page.connection_lost": UNREACHED });
    this.state = /** @type {State | null} */ (null);
    this.page = /** @type {Page | null} */ (null);
    this.sending = false;
    this.api = new Api(this.base, () => this.memory.token, (trying) => {
      this.banner(trying ? this.texts.say("page.connection_lost") : "");
    });
    this.#listen();
  }

  async start() {
    try {
      if (this.memory.token) this.show(await this.api.state());
      else await this.begin(null);
      if (reloaded()) this.note("reload", {});
      this.note("device", { width: innerWidth, height: innerHeight, touch: matchMedia("(pointer: coarse)").matches });
    } catch (error) {
      this.#failed(error);
    }
  }

  /** @param {string | null} language */
  async begin(language) {
    const query = new URLSearchParams(location.search);
    const recruit = Object.fromEntries(RECRUIT.flatMap((key) => query.has(key) ? [[key, query.get(key) ?? ""]] : []));
    const { token, state } = await this.api.begin(language, recruit);
    this.memory.token = token;
    this.show(state);
  }

  /** @param {State} state */
  show(state) {
    this.page?.stop?.();
    this.state = state;
    const { step, progress } = state;
    this.texts = new Texts(state.texts, {
      ...labelValues(state.labels), label: state.label ?? "", participant: state.participant,
      at: progress.at, of: progress.of,
    });
    document.documentElement.lang = state.language;
    document.title = state.title;
    this.part("title").textContent = state.title;
    this.part("progress").textContent = step.kind === "done" ? "" : this.texts.say("page.progress");
    this.part("bar").style.width = `${(100 * (progress.at - 1)) / Math.max(1, progress.of - 1)}%`;
    this.#showFoot(state);
    this.banner("");
    const main = this.part("main");
    const kind = FORMS.has(step.kind) ? "form" : step.kind;
    this.page = this.#pageOf(state, kind);
    const many = step.kind === "talk" && step.sessions > 1;
    const title = many ? this.texts.say("talk.intro", { at: step.session, of: step.sessions }) : this.texts.say(`step.${step.kind}`);
    main.replaceChildren(make("h1", "", title), this.page.element);
    main.dataset.kind = step.kind;
    scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }

  /** @param {State} state @param {string} kind @returns {Page} */
  #pageOf(state, kind) {
    switch (kind) {
      case "form":
        return this.#formPage(state);
      case "device":
        return this.#devicePage(state);
      case "practice":
        return this.#practicePage(state);
      case "talk":
        return this.#talkPage(state);
      default:
        return { element: donePage(state, this.texts) };
    }
  }

  /** @param {State} state @returns {Page} */
  #formPage(state) {
    const { step, sides } = state;
    const { texts, memory } = this;
    const items = step.kind === "compare" ? step.items.map((item) => sided(item, sides)) : step.items;
    const form = new Form(items, texts, memory.draft(step.key), (answers) => memory.keepDraft(step.key, answers));
    const required = items.some((item) => item.required);
    const intro = {
      consent: texts.paragraphs("consent.body"),
      rate: [texts.say("rate.intro")],
      compare: [texts.say("compare.intro")],
      about: [texts.say(required ? "about.intro_required" : "about.intro")],
    }[step.kind] ?? [];
    const go = button(texts.say(step.kind === "consent" ? "consent.start" : "page.next"), () => void this.#answer(form), "st-button st-main-button");
    form.element.addEventListener("submit", (event) => {
      event.preventDefault();
      go.click();
    });
    const notes = step.kind === "consent" ? [make("p", "st-soft", texts.say("page.leave"))] : [];
    return { element: make("div", `st-${step.kind}`, ...paragraphs(intro), form.element, make("div", "st-row st-end", go), ...notes) };
  }

  /** @param {State} state @returns {Page} */
  #devicePage({ step }) {
    const { texts, memory } = this;
    const device = new Device({
      state: /** @type {State} */ (this.state), texts, sound: new URL("voice/loudspeaker", this.base),
      draft: memory.draft(step.key), onChange: (answers) => memory.keepDraft(step.key, answers),
    });
    const go = button(texts.say("page.next"), () => void this.#answer(device), "st-button st-main-button");
    return { element: make("div", "", device.element, make("div", "st-row st-end", go)), stop: () => device.stop() };
  }

  /** @param {State} state @returns {Page} */
  #practicePage(state) {
    const { texts } = this;
    const go = button(texts.say("page.next"), () => void this.#send({ interrupted: true }), "st-button st-main-button");
    go.disabled = true;
    const practice = new Practice({
      state, texts, sound: new URL("voice/practice", this.base), onDone: () => { go.disabled = false; },
    });
    return { element: make("div", "", practice.element, make("div", "st-row st-end", go)), stop: () => practice.stop() };
  }

  /** @param {State} state @returns {Page} */
  #talkPage(state) {
    const url = new URL("realtime", this.base);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.searchParams.set("token", this.memory.token ?? "");
    const talk = new Talk({
      state, texts: this.texts, url,
      onFinish: () => void this.#send({}),
      onTrouble: (text) => this.banner(text),
      onRefused: () => { if (!this.sending) void this.start(); },
      note: (kind, detail) => this.note(kind, detail),
    });
    return { element: talk.element, stop: () => talk.stop() };
  }

  /** @param {Form | Device} form */
  async #answer(form) {
    const missing = form.missing();
    if (Object.keys(missing).length) {
      form.explain(missing);
      return this.banner(this.texts.say("error.answers_refused"));
    }
    const refused = await this.#send(form.answers());
    if (refused) form.explain(refused);
  }

  /** @param {Record<string, unknown>} answers @returns {Promise<Record<string, string> | null>} what is wrong with them */
  async #send(answers) {
    const state = /** @type {State} */ (this.state);
    const buttons = /** @type {HTMLButtonElement[]} */ ([...this.part("main").querySelectorAll("button:not([disabled])")]);
    for (const each of buttons) each.disabled = true; // one press is one answer
    this.banner(this.texts.say("page.saving"));
    this.sending = true; // the server ends a talk before it acknowledges
    try {
      this.show(await this.api.answer(state.step.key, answers));
    } catch (error) {
      for (const each of buttons) each.disabled = false;
      if (error instanceof Refused && error.state) {
        this.show(error.state);
        this.banner(error.message);
        return null;
      }
      this.#failed(error);
      if (error instanceof Refused) return error.items;
    } finally {
      this.sending = false;
    }
    return null;
  }

  /** @param {unknown} error */
  #failed(error) {
    if (!(error instanceof Refused)) throw error;
    if (this.state && error.status !== 401 && error.status !== 410) return this.banner(error.message);
    // No page of theirs can be shown: what to do is in the message.
    const over = error.status === 410;
    this.page?.stop?.();
    this.part("foot").hidden = true;
    this.banner("");
    const again = button("↻", () => {
      this.memory.token = null;
      void this.begin(null).catch((each) => this.#failed(each));
    });
    again.setAttribute("aria-label", "Begin / 开始");
    this.part("main").replaceChildren(make("p", "", error.message), ...(error.status === 401 ? [again] : []));
    if (over) this.memory.token = null;
  }

  /** @param {string} text "" takes it away */
  banner(text) {
    const banner = this.part("banner");
    banner.textContent = text;
    banner.hidden = !text;
  }

  /** What the page saw is told only after consent. @param {string} kind @param {unknown} detail */
  note(kind, detail) {
    const kindOfStep = this.state?.step.kind;
    if (kindOfStep && kindOfStep !== "consent") this.api.note(kind, { step: this.state?.step.key, .../** @type {object} */ (detail) });
  }

  /** @param {State} state */
  #showFoot(state) {
    const { texts } = this;
    const codes = Object.keys(state.languages);
    this.part("foot").hidden = false;
    this.part("contact").textContent = texts.say("page.contact");
    this.part("leave").textContent = texts.say("page.withdraw");
    this.part("leave").hidden = state.step.kind === "consent";
    this.part("leaving-text").textContent = texts.say("page.withdraw_question");
    this.part("leaving-no").textContent = texts.say("page.withdraw_no");
    this.part("leaving-yes").textContent = texts.say("page.withdraw_yes");
    this.part("language-row").hidden = codes.length < 2;
    this.part("language-label").textContent = texts.say("page.language");
    this.part("language").replaceChildren(...codes.map((code) => new Option(state.languages[code], code, false, code === state.language)));
  }

  async #withdraw() {
    this.part("leaving").close();
    this.page?.stop?.();
    try {
      const { message } = await this.api.withdraw();
      this.memory.token = null;
      this.state = null;
      this.part("foot").hidden = true;
      this.part("progress").textContent = "";
      this.banner("");
      this.part("main").replaceChildren(make("h1", "", this.texts.say("page.withdrawn_title")), make("p", "", message));
    } catch (error) {
      this.#failed(error);
    }
  }

  #listen() {
    this.part("leave").addEventListener("click", () => this.part("leaving").showModal());
    this.part("leaving-no").addEventListener("click", () => this.part("leaving").close());
    this.part("leaving-yes").addEventListener("click", () => void this.#withdraw());
    this.part("language").addEventListener("change", () => void this.begin(this.part("language").value).catch((error) => this.#failed(error)));
    addEventListener("focus", () => this.note("focus", {}));
    addEventListener("blur", () => this.note("blur", {}));
    document.addEventListener("visibilitychange", () => this.note(document.hidden ? "hidden" : "visible", {}));
    // A page that the back button brings back may be an old one: the server knows.
    addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  }
}

/** The partners as they stand from left to right. @param {import("./api.js").Item} item @param {number[]} sides */
function sided(item, sides) {
  const place = (/** @type {string} */ option) => sides.indexOf(Number(option.split("-")[0]));
  const first = place(item.options[0] ?? "");
  const last = place(item.options.at(-1) ?? "");
  if (item.kind !== "choice") return item;
  if (item.options.includes("unsure")) {
    const rank = (/** @type {string} */ option) => (place(option) < 0 ? sides.length : place(option));
    return { ...item, options: [...item.options].sort((a, b) => rank(a) - rank(b)) };
  }
  return first > last ? { ...item, options: [...item.options].reverse() } : item;
}

/** @returns {boolean} */
function reloaded() {
  const [navigation] = performance.getEntriesByType("navigation");
  return /** @type {PerformanceNavigationTiming | undefined} */ (navigation)?.type === "reload";
}

void new App().start();
