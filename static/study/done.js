// @ts-check
/**
 * The last page: thanks, the completion code, and what the partners were.
 */
import { button, make, paragraphs } from "./make.js";

/** @param {import("./api.js").State} state @param {import("./texts.js").Texts} texts @returns {HTMLElement} */
export function donePage({ completion, revealed }, texts) {
  const page = make("div", "", make("p", "", texts.say("done.thanks")));
  if (completion) page.append(completionOf(completion, texts));
  if (revealed) {
    page.append(make("h2", "", texts.say("done.revealed")), make("p", "", texts.say("done.how")));
    const list = make("dl", "st-revealed");
    for (const [label, system] of Object.entries(revealed).sort()) {
      list.append(make("dt", "", texts.say("talk.partner", { label })), make("dd", "", texts.say(`done.system.${system}`)));
    }
    page.append(list);
  }
  page.append(...paragraphs([texts.say("done.number"), texts.say("done.close")]));
  return page;
}

/** @param {{code: string, url: string}} completion @param {import("./texts.js").Texts} texts @returns {HTMLElement} */
function completionOf({ code, url }, texts) {
  const copy = button(texts.say("done.copy"), () => {
    void navigator.clipboard.writeText(code).then(() => { copy.textContent = texts.say("done.copied"); }, () => {});
  });
  const box = make("div", "st-item", make("p", "st-code", texts.say("done.code", { code })), make("div", "st-row", copy));
  if (/^https:\/\//.test(url)) {
    const link = make("a", "st-button st-main-button", texts.say("done.return"));
    link.href = url;
    box.append(make("div", "st-row", link));
  }
  return box;
}
