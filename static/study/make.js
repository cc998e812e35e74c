// @ts-check
/**
 * Elements in short. What people wrote, and every text, is set as text and never as HTML.
 */

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag @param {string} [kind] its class @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, kind = "", ...children) {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  element.append(...children);
  return element;
}

/** @param {string} text @param {() => void} act @param {string} [kind] @returns {HTMLButtonElement} */
export function button(text, act, kind = "st-button") {
  const element = make("button", kind, text);
  element.type = "button";
  element.addEventListener("click", act);
  return element;
}

/** @param {string[]} texts @returns {HTMLElement[]} */
export function paragraphs(texts) {
  return texts.map((text) => make("p", "", text));
}
