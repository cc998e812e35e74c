// @ts-check
/**
 * The controls of the voice: the microphone button with its meter, and the choices of
 * who is audible, with which voice, and through which microphone.
 */
import { BrowserVoice } from "./browser-voice.js";
import { heightOf } from "./waves.js";

/** @typedef {import("./voice.js").Voice} Voice @typedef {{value: string, text: string, title?: string}} Choice */

const OFF = "";

export class VoiceControls {
  /** @param {(name: string) => HTMLElement} part @param {Voice} voice */
  constructor(part, voice) {
    this.voice = voice;
    this.button = part("microphone");
    this.label = part("microphone-text");
    this.settings = /** @type {HTMLDetailsElement} */ (part("voice"));
    this.summary = part("voice-summary");
    this.about = part("voice-about");
    this.deviceRow = part("voice-device-row");
    this.voices = /** @type {HTMLSelectElement} */ (part("voice-choice"));
    this.systems = /** @type {HTMLSelectElement} */ (part("voice-system"));
    this.devices = /** @type {HTMLSelectElement} */ (part("voice-device"));
    this.meter = -1;
    this.button.addEventListener("click", () => void voice.toggleMicrophone());
    this.voices.addEventListener("change", () => voice.choose({ voice: this.voices.value || null }));
    this.systems.addEventListener("change", () => voice.choose({ system: this.systems.value === "turns" ? "turns" : "duplex" }));
    this.devices.addEventListener("change", () => void voice.useDevice(this.devices.value));
    document.addEventListener("pointerdown", ({ target }) => {
      if (target instanceof Node && !this.settings.contains(target)) this.settings.open = false;
    });
    this.settings.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.settings.open) return;
      event.stopPropagation(); // elsewhere it pauses the timeline
      this.settings.open = false;
      this.summary.focus();
    });
  }

  show() {
    const { voice, button } = this;
    const { audio, microphone, asking } = voice;
    button.hidden = this.settings.hidden = !audio;
    if (!audio) return;
    button.setAttribute("aria-pressed", String(microphone.on));
    button.setAttribute("aria-busy", String(asking));
    button.classList.toggle("da-is-deaf", !audio.ears);
    button.title = audio.ears ? "Switch the microphone on or off (Alt + M)" : audio.note;
    this.label.textContent = asking ? "Allow …" : microphone.on ? "Listening" : "Speak";
    const voices = audio.voices.map(({ id, name, note }) => ({ value: id, text: name, title: note }));
    const browser = BrowserVoice.exists ? [{ value: "browser", text: "this browser’s voice" }] : [];
    fill(this.voices, [{ value: OFF, text: "off" }, ...voices, ...browser], voice.voice ?? OFF);
    this.systems.value = voice.system;
    fill(this.devices, microphone.devices.map(({ id, name }) => ({ value: id, text: name })), microphone.device);
    this.deviceRow.hidden = microphone.devices.length < 2;
    this.summary.textContent = `voice: ${this.voices.selectedOptions[0]?.textContent ?? "off"}`;
    this.about.textContent = aboutVoice(audio, voice.voice);
    this.about.hidden = !this.about.textContent;
    this.draw();
  }

  /** The meter. */
  draw() {
    const level = this.voice.microphone.on ? Math.round(heightOf(this.voice.level) * 50) / 50 : 0;
    if (level === this.meter) return;
    this.meter = level;
    this.button.style.setProperty("--da-level", String(level));
  }
}

/** @param {import("./wire.js").SessionAudio} audio @param {string | null} id @returns {string} */
function aboutVoice(audio, id) {
  if (id === "browser") return "Phrase by phrase as the words appear. What you heard of it cannot be measured.";
  const chosen = audio.voices.find((voice) => voice.id === id)?.note ?? "";
  return [chosen, audio.ears?.note || audio.note].filter(Boolean).join(" ");
}

/** @param {HTMLSelectElement} select @param {Choice[]} choices @param {string} value */
function fill(select, choices, value) {
  const have = [...select.options].map((option) => `${option.value} ${option.text}`).join();
  if (have !== choices.map((choice) => `${choice.value} ${choice.text}`).join()) {
    select.replaceChildren(...choices.map(({ value: id, text, title }) => {
      const option = new Option(text, id);
      if (title) option.title = title;
      return option;
    }));
  }
  select.value = value;
}
