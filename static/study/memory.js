// @ts-check
/**
 * What the page remembers in this browser: the participant's token, and answers not yet sent.
 *
 * localStorage; where a browser forbids it (a private window, a frame of another site) the
 * token stands in the address behind #, which is not sent to any server, and drafts last
 * until the page is closed.
 */

export class Memory {
  /** @param {string} study its name @param {Storage | null} storage @param {{hash: string}} address */
  constructor(study, storage, address) {
    this.key = `duplex-study:${study}`;
    this.storage = storage;
    this.address = address;
    /** @type {Record<string, Record<string, unknown>>} */
    this.drafts = {};
    try {
      this.drafts = JSON.parse(storage?.getItem(`${this.key}:drafts`) ?? "{}") ?? {};
    } catch {
      // Not ours, or broken: nothing is lost but a draft.
    }
  }

  /** @returns {string | null} */
  get token() {
    const inAddress = new URLSearchParams(this.address.hash.replace(/^#/, "")).get("t");
    return this.storage?.getItem(`${this.key}:token`) ?? inAddress;
  }

  /** @param {string | null} token null: forget everything */
  set token(token) {
    if (token === null) {
      this.drafts = {};
      this.storage?.removeItem(`${this.key}:token`);
      this.storage?.removeItem(`${this.key}:drafts`);
      if (this.address.hash) this.address.hash = "";
    } else if (!this.#keep("token", token)) {
      this.address.hash = `t=${encodeURIComponent(token)}`;
    }
  }

  /** @param {string} step @returns {Record<string, unknown>} */
  draft(step) {
    return this.drafts[step] ?? {};
  }

  /** @param {string} step @param {Record<string, unknown>} answers */
  keepDraft(step, answers) {
    this.drafts = { [step]: answers }; // one page is open at a time
    this.#keep("drafts", JSON.stringify(this.drafts));
  }

  /** @param {string} name @param {string} value @returns {boolean} whether it will be there after a reload */
  #keep(name, value) {
    try {
      this.storage?.setItem(`${this.key}:${name}`, value);
      return this.storage !== null;
    } catch {
      return false; // full
    }
  }
}

/** @returns {Storage | null} */
export function storageHere() {
  try {
    return globalThis.localStorage;
  } catch {
    return null;
  }
}
