import assert from "node:assert/strict";
import test from "node:test";

import { Api, Refused } from "../../static/study/api.js";
import { Line } from "../../static/study/line.js";
import { Memory } from "../../static/study/memory.js";
import { Partner } from "../../static/study/partner.js";
import { Texts, labelValues } from "../../static/study/texts.js";

// — texts —

test("placeholders are filled with what is known on the page, then with what is given", () => {
  const texts = new Texts({ hello: "{label_1} and {label}, {seconds} s, {unknown}" }, { ...labelValues(["B", "A"]), label: "A" });
  assert.equal(texts.say("hello", { seconds: 3 }), "B and A, 3 s, {unknown}");
  assert.equal(texts.say("missing.key"), "missing.key");
});

test("values are not looked at again", () => {
  assert.equal(new Texts({ a: "{x}" }).say("a", { x: "{y}", y: 1 }), "{y}");
});

test("an empty line begins a paragraph", () => {
  assert.deepEqual(new Texts({ body: "one\ntwo\n\n \n three\n" }).paragraphs("body"), ["one\ntwo", "three"]);
});

// — memory —

class Storage {
  constructor({ full = false } = {}) {
    this.values = new Map();
    this.full = full;
  }
  getItem(key) { return this.values.get(key) ?? null; }
  setItem(key, value) {
    if (this.full) throw new Error("QuotaExceededError");
    this.values.set(key, value);
  }
  removeItem(key) { this.values.delete(key); }
}

test("a token is there again after a reload, for this study only", () => {
  const [storage, address] = [new Storage(), { hash: "" }];
  new Memory("one", storage, address).token = "secret";
  assert.equal(new Memory("one", storage, address).token, "secret");
  assert.equal(new Memory("two", storage, address).token, null);
  assert.equal(address.hash, "");
});

for (const [name, storage] of [["forbidden", null], ["full", new Storage({ full: true })]]) {
  test(`where storage is ${name} the token stands behind #`, () => {
    const address = { hash: "" };
    new Memory("one", storage, address).token = "sec ret&";
    const memory = new Memory("one", storage, address);
    assert.equal(memory.token, "sec ret&");
    memory.token = null;
    assert.equal(new Memory("one", storage, address).token, null);
  });
}

test("a draft is kept until the next page has one", () => {
  const [storage, address] = [new Storage(), { hash: "" }];
  const memory = new Memory("one", storage, address);
  memory.keepDraft("rate-1", { overall: 5 });
  assert.deepEqual(new Memory("one", storage, address).draft("rate-1"), { overall: 5 });
  memory.keepDraft("rate-2", { overall: 3 });
  assert.deepEqual(new Memory("one", storage, address).draft("rate-1"), {});
});

test("a draft that is no JSON is none", () => {
  const storage = new Storage();
  storage.setItem("duplex-study:one:drafts", "{");
  assert.deepEqual(new Memory("one", storage, { hash: "" }).draft("rate-1"), {});
});

// — the partner —

test("words appear at their time and not before", () => {
  const partner = new Partner();
  partner.say("a", 1, "Hello");
  partner.say("a", 2, " there");
  assert.equal(partner.show(0.5), false);
  assert.equal(partner.show(1), true);
  assert.deepEqual(partner.answers, [{ id: "a", text: "Hello" }]);
  partner.show(5);
  assert.equal(partner.answers[0].text, "Hello there");
});

test("what is cut before it was shown never appears, and what follows does", () => {
  const partner = new Partner();
  partner.say("a", 1, "Hello");
  partner.say("a", 2, " there");
  partner.show(1);
  partner.cut("a", 1.5, " there");
  partner.show(5);
  assert.equal(partner.answers[0].text, "Hello");
  partner.say("a", 6, " again");
  partner.show(6);
  assert.equal(partner.answers[0].text, "Hello again");
});

test("in a voice, words that were shown and never heard go away", () => {
  const partner = new Partner();
  partner.say("a", 1, "Hello there");
  partner.say("a", 2, " my friend");
  partner.show(1);
  partner.cut("a", 1.5, " there my friend");
  assert.equal(partner.answers[0].text, "Hello");
});

test("another answer is not cut", () => {
  const partner = new Partner();
  partner.say("a", 1, "one");
  partner.say("b", 2, "two");
  partner.cut("a", 0, "one");
  partner.show(3);
  assert.deepEqual(partner.answers, [{ id: "b", text: "two" }]);
});

// — the server —

function apiOver(...replies) {
  const sent = [];
  const waits = [];
  const tried = [];
  globalThis.fetch = async (url, request) => {
    sent.push({ url: String(url), ...request, body: request.body && JSON.parse(request.body) });
    const reply = replies.shift();
    if (reply instanceof Error) throw reply;
    return { ok: reply.status === 200, status: reply.status, json: async () => reply.body };
  };
  const api = new Api(new URL("http://here/study/x/"), () => "token", (trying) => tried.push(trying), async (seconds) => { waits.push(seconds); });
  return { api, sent, waits, tried };
}

test("an answer is sent until it is acknowledged, always with the same request", async () => {
  const state = { step: { key: "rate-2" } };
  const { api, sent, waits, tried } = apiOver(
    new TypeError("offline"), { status: 503, body: { error: { code: "database_away" } } }, { status: 200, body: { state } });
  assert.equal(await api.answer("rate-1", { overall: 4 }), state);
  assert.equal(sent.length, 3);
  assert.equal(new Set(sent.map(({ body }) => body.request)).size, 1);
  assert.deepEqual(sent[2].body.answers, { overall: 4 });
  assert.equal(sent[0].headers.Authorization, "Bearer token");
  assert.deepEqual(waits, [0.5, 1]);
  assert.deepEqual(tried, [true, true, false]);
});

test("two answers are two requests", async () => {
  const { api, sent } = apiOver({ status: 200, body: {} }, { status: 200, body: {} });
  await api.answer("a", {});
  await api.answer("b", {});
  assert.notEqual(sent[0].body.request, sent[1].body.request);
});

test("a refusal is for good, and says what is wrong and where they are", async () => {
  const error = { code: "answers_refused", message: "Look again.", items: { overall: "Please answer this." } };
  const { api, waits } = apiOver({ status: 422, body: { error, state: { step: {} } } });
  await assert.rejects(api.answer("rate-1", {}), (refused) => {
    assert.ok(refused instanceof Refused);
    assert.deepEqual([refused.code, refused.message, refused.items], [error.code, error.message, error.items]);
    assert.deepEqual(refused.state, { step: {} });
    return true;
  });
  assert.deepEqual(waits, []);
});

// — the line —

class FakeSocket extends EventTarget {
  static opened = [];
  constructor(url) {
    super();
    Object.assign(this, { url, readyState: 0, sent: [] });
    FakeSocket.opened.push(this);
  }
  send(text) { this.sent.push(JSON.parse(text)); }
  close() { this.readyState = 3; }
  opens() { this.readyState = 1; this.dispatchEvent(new Event("open")); }
  says(event) { this.dispatchEvent(Object.assign(new Event("message"), { data: JSON.stringify(event) })); }
  closes(code) { this.readyState = 3; this.dispatchEvent(Object.assign(new Event("close"), { code })); }
}

function line(t) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  FakeSocket.opened = [];
  const told = [];
  const made = new Line(new URL("ws://here/"), {
    onEvent: (event) => told.push(event.type), onLost: () => told.push("lost"), onEnded: (why, error) => told.push([why, error?.code]),
  }, FakeSocket);
  made.open();
  const last = () => FakeSocket.opened.at(-1);
  last().opens();
  return { made, told, last };
}

test("a line that is lost is opened again, later each time until a session begins", (t) => {
  const { told, last } = line(t);
  assert.deepEqual(last().sent, [{ type: "session.update", session: {} }]);
  last().closes(1006);
  t.mock.timers.tick(499);
  assert.equal(FakeSocket.opened.length, 1);
  t.mock.timers.tick(1);
  assert.equal(FakeSocket.opened.length, 2);
  last().closes(1006);
  t.mock.timers.tick(999);
  assert.equal(FakeSocket.opened.length, 2);
  t.mock.timers.tick(1);
  last().opens();
  last().says({ type: "session.created" });
  last().closes(1006);
  t.mock.timers.tick(500);
  assert.equal(FakeSocket.opened.length, 4);
  assert.deepEqual(told, ["lost", "lost", "session.created", "lost"]);
});

test("a server that says nothing for long is gone", (t) => {
  const { told, last } = line(t);
  t.mock.timers.tick(39_000);
  last().says({ type: "duplex.ping" });
  t.mock.timers.tick(39_000);
  assert.deepEqual(told, ["duplex.ping"]);
  t.mock.timers.tick(1_000);
  assert.deepEqual(told, ["duplex.ping", "lost"]);
});

for (const [code, why] of [[4403, "refused"], [4409, "elsewhere"], [1000, "over"]]) {
  test(`code ${code} ends it for good: ${why}`, (t) => {
    const { told, last } = line(t);
    last().says({ type: "error", error: { code: "busy", message: "later" } });
    last().closes(code);
    t.mock.timers.tick(100_000);
    assert.deepEqual(told.at(-1), [why, "busy"]);
    assert.equal(FakeSocket.opened.length, 1);
  });
}
