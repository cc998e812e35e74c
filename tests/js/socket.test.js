// The connection: what is lost with a cut, and what is not. Run: npm test
import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection } from "../../static/socket.js";

const CREATED = {
  type: "session.created", at: 0, event_id: "event_1",
  session: {
    id: "s-1", model: "m", parameters: 1, aligned: true, slice_seconds: "adaptive", tokens_per_second: 5,
    systems: ["duplex", "turns"], resume: { token: "t0ken", seconds: 30 },
  },
};
const edit = (/** @type {string} */ insert) => ({ type: "duplex.input.edit", delete: 0, insert });
const played = (/** @type {string} */ response_id, /** @type {number} */ samples) =>
  ({ type: "duplex.audio.played", response_id, samples, playing: true });

class FakeSocket extends EventTarget {
  constructor(url) {
    super();
    this.url = new URL(url);
    this.readyState = 0;
    this.sent = [];
    this.code = null;
  }

  send(text) {
    assert.equal(this.readyState, 1, "sent on a socket that is not open");
    this.sent.push(JSON.parse(text));
  }

  /** @param {number} code */
  close(code) {
    this.readyState = 3;
    this.code ??= code;
  }

  opens() {
    this.readyState = 1;
    this.dispatchEvent(new Event("open"));
  }

  /** @param {any} event or a text */
  says(event) {
    const data = typeof event === "string" ? event : JSON.stringify(event);
    this.dispatchEvent(Object.assign(new Event("message"), { data }));
  }

  /** @param {number} code */
  closes(code = 1006, reason = "") {
    this.readyState = 3;
    this.dispatchEvent(Object.assign(new Event("close"), { code, reason }));
  }
}

/** A connection in a world of its own; `told` is what its listeners heard. */
function world({ dice = 1 } = {}) {
  const events = new EventTarget();
  const here = { sockets: [], told: [], now: 0, timers: new Map(), events };
  let timer = 0;
  const surroundings = {
    connect: (url) => {
      const socket = new FakeSocket(url);
      here.sockets.push(socket);
      return socket;
    },
    later: (act, milliseconds) => {
      const id = timer += 1;
      here.timers.set(id, { at: here.now + milliseconds, act });
      return () => here.timers.delete(id);
    },
    dice: () => dice,
    events,
  };
  const tell = (name) => (value) => here.told.push(value === undefined ? name : [name, value]);
  const listeners = {
    onOpen: () => {
      here.told.push("open");
      here.connection.send({ type: "session.update", session: {} });
    },
    onEvent: tell("event"), onLost: tell("lost"), onBack: tell("back"), onGone: tell("gone"),
    onEnded: tell("ended"), onProblem: tell("problem"),
  };
  here.connection = new Connection(new URL("ws://here/v1/realtime"), listeners, surroundings);
  here.socket = () => here.sockets.at(-1);
  here.pass = (seconds) => {
    const end = here.now + seconds * 1000;
    for (;;) {
      const [id, next] = [...here.timers].sort(([, a], [, b]) => a.at - b.at)[0] ?? [];
      if (!next || next.at > end) break;
      here.timers.delete(id);
      here.now = next.at;
      next.act();
    }
    here.now = end;
  };
  here.heard = (name) => here.told.filter((each) => each === name || each[0] === name);
  here.talk = () => {
    here.connection.open();
    here.socket().opens();
    here.socket().says(CREATED);
  };
  here.resume = (received) => {
    here.pass(0.5);
    here.socket().opens();
    here.socket().says({ type: "session.resumed", session: { id: "s-1" }, received });
  };
  return here;
}

test("a session begins without a number, and then everything has one", () => {
  const here = world();
  here.talk();
  assert.equal(here.socket().url.search, "");
  assert.deepEqual(here.socket().sent, [{ type: "session.update", session: {} }]);
  assert.ok(here.connection.send(edit("a")));
  assert.ok(here.connection.send({ type: "duplex.input.enter" }));
  assert.deepEqual(here.socket().sent.slice(1).map(({ seq }) => seq), [1, 2]);
});

test("nothing is sent before the socket is open", () => {
  const here = world();
  assert.equal(here.connection.send(edit("a")), false);
  here.connection.open();
  assert.equal(here.connection.send(edit("a")), false);
});

test("after a cut it asks for what came after the last event, and says again what did not arrive", () => {
  const here = world();
  here.talk();
  for (const letter of "abc") here.connection.send(edit(letter));
  here.socket().says({ type: "duplex.yield", system: "duplex", at: 1, event_id: "event_2" });
  here.socket().closes();
  assert.deepEqual(here.heard("lost"), [["lost", { attempt: 1, seconds: 0.5, reason: "", kept: true }]]);
  assert.ok(here.connection.send(edit("d")));
  here.pass(0.5);
  const again = here.socket();
  assert.equal(here.sockets.length, 2);
  assert.equal(again.url.search, "?resume=t0ken&after=2");
  again.opens();
  assert.ok(here.connection.send(edit("e")), "it is kept");
  assert.deepEqual(again.sent, [], "nothing before the server says what it has");
  again.says({ type: "session.resumed", session: { id: "s-1" }, received: 1 });
  assert.deepEqual(again.sent.map(({ seq, insert }) => [seq, insert]), [[2, "b"], [3, "c"], [4, "d"], [5, "e"]]);
  assert.deepEqual(here.heard("back"), ["back"]);
  assert.equal(here.heard("open").length, 1, "no new session is asked for");
});

test("an event that comes again is told once", () => {
  const here = world();
  here.talk();
  for (const number of [2, 2, 1, 3]) {
    here.socket().says({ type: "duplex.yield", system: "duplex", at: number, event_id: `event_${number}` });
  }
  assert.deepEqual(here.heard("event").map(([, event]) => event.event_id), ["event_1", "event_2", "event_3"]);
});

test("an event that this page does not know counts as well", () => {
  const here = world();
  here.talk();
  here.socket().says({ type: "duplex.weather", event_id: "event_2" });
  here.socket().says({ type: "duplex.yield", event_id: "event_3" });
  assert.equal(here.heard("problem").length, 1);
  here.socket().closes();
  here.pass(1);
  assert.equal(here.socket().url.searchParams.get("after"), "3");
});

test("a frame that is no JSON is a problem and nothing else", () => {
  const here = world();
  here.talk();
  here.socket().says("hello");
  here.socket().says("null");
  assert.equal(here.heard("problem").length, 2);
  assert.ok(here.connection.send(edit("a")));
});

test("what the server has is forgotten", () => {
  const here = world();
  here.talk();
  for (const letter of "abc") here.connection.send(edit(letter));
  here.socket().says({ type: "duplex.ping", received: 2, event_id: "event_2" });
  assert.deepEqual(here.connection.unconfirmed.map(({ seq }) => seq), [3]);
});

test("the server is told what came, once a second", () => {
  const here = world();
  here.talk();
  for (let number = 2; number < 50; number += 1) {
    here.pass(0.1);
    here.socket().says({ type: "duplex.yield", system: "duplex", at: number, event_id: `event_${number}` });
  }
  here.pass(2);
  const acks = here.socket().sent.filter(({ type }) => type === "duplex.ack");
  assert.ok(acks.length >= 4 && acks.length <= 6, `${acks.length} in 5 s`);
  assert.equal(acks.at(-1).after, 49);
  assert.ok(acks.every((ack) => !("seq" in ack)));
});

test("sound is of the moment: it is not said again", () => {
  const here = world();
  here.talk();
  assert.ok(here.connection.send({ type: "input_audio_buffer.append", audio: "AAA=" }));
  here.socket().closes();
  assert.equal(here.connection.send({ type: "input_audio_buffer.append", audio: "AAA=" }), false);
  here.resume(0);
  assert.deepEqual(here.socket().sent, []);
});

test("of what was played meanwhile only the newest report of each answer is told", () => {
  const here = world();
  here.talk();
  here.connection.send(played("duplex-1", 100));
  here.socket().closes();
  for (const samples of [200, 300, 400]) here.connection.send(played("duplex-1", samples));
  here.connection.send(edit("a"));
  here.connection.send(played("duplex-2", 50));
  here.resume(0);
  assert.deepEqual(here.socket().sent.map((e) => e.samples ?? e.insert), [100, 400, "a", 50]);
  const seqs = here.socket().sent.map(({ seq }) => seq);
  assert.deepEqual(seqs, [...seqs].sort((a, b) => a - b));
});

test("a session that is over is told so, and a new one is asked for at once", () => {
  const here = world();
  here.talk();
  here.connection.send(edit("a"));
  here.socket().closes();
  here.pass(0.5);
  const refused = here.socket();
  refused.opens();
  refused.says({ type: "error", error: { code: "cannot_resume", message: "over" } });
  refused.closes(4404);
  assert.deepEqual(here.heard("gone"), ["gone"]);
  assert.equal(here.heard("lost").length, 1, "it is not lost once more");
  assert.equal(here.socket().url.search, "");
  here.socket().opens();
  here.socket().says(CREATED);
  here.connection.send(edit("b"));
  assert.deepEqual(here.socket().sent.at(-1), { ...edit("b"), seq: 1 });
});

test("a session whose rules were broken is not taken up again", () => {
  const here = world();
  here.talk();
  here.socket().closes(1008);
  assert.deepEqual(here.heard("gone"), ["gone"]);
  assert.equal(here.heard("lost")[0][1].kept, false);
  here.pass(1);
  assert.equal(here.socket().url.search, "");
});

test("before a session has begun nothing is kept", () => {
  const here = world();
  here.connection.open();
  here.socket().opens();
  here.socket().says({ type: "error", error: { code: "full", message: "full" }, event_id: "event_1" });
  here.socket().closes();
  assert.equal(here.heard("lost")[0][1].kept, false);
  here.pass(0.5);
  assert.equal(here.socket().url.search, "");
  here.socket().opens();
  here.socket().says(CREATED);
  assert.equal(here.heard("event").length, 2, "numbers begin anew with each session");
});

test("silence for forty seconds is a cut, and no goodbye", () => {
  const here = world();
  here.talk();
  for (let i = 2; i < 6; i += 1) {
    here.pass(39);
    here.socket().says({ type: "duplex.ping", received: 0, event_id: `event_${i}` });
  }
  assert.equal(here.heard("lost").length, 0);
  here.pass(41);
  assert.equal(here.sockets[0].code, 4000);
  assert.match(here.heard("lost")[0][1].reason, /nothing came/);
  assert.equal(here.sockets.length, 2);
});

test("a socket that does not open is given up, one after another, ever more slowly", () => {
  for (const [dice, most] of [[1, 1], [0, 0.5]]) {
    const here = world({ dice });
    here.connection.open();
    here.pass(300);
    const waits = here.heard("lost").map(([, { seconds }]) => seconds);
    assert.deepEqual(waits.slice(0, 7), [0.5, 1, 2, 4, 8, 15, 15].map((seconds) => seconds * most));
    assert.equal(here.sockets.length, waits.length + (here.connection.socket ? 1 : 0));
    assert.ok(here.sockets.slice(0, -1).every(({ readyState }) => readyState === 3), "none is left behind");
  }
});

test("when it is back the next cut is met quickly again", () => {
  const here = world();
  here.talk();
  here.socket().closes();
  for (let i = 0; i < 4; i += 1) {
    here.pass(20);
    here.socket().closes();
  }
  here.pass(20);
  here.socket().opens();
  here.socket().says({ type: "session.resumed", session: { id: "s-1" }, received: 0 });
  here.socket().closes();
  assert.equal(here.heard("lost").at(-1)[1].attempt, 1);
});

test("who is offline is cut at once, and back as soon as they are online", () => {
  const here = world();
  here.talk();
  here.events.dispatchEvent(new Event("offline"));
  assert.match(here.heard("lost")[0][1].reason, /offline/);
  for (let i = 0; i < 5; i += 1) {
    here.pass(20);
    here.socket().closes();
  }
  const before = here.sockets.length;
  here.events.dispatchEvent(new Event("online"));
  assert.equal(here.sockets.length, before + 1);
  here.socket().opens();
  here.socket().says({ type: "session.resumed", session: { id: "s-1" }, received: 0 });
  here.events.dispatchEvent(new Event("online"));
  here.pass(30);
  assert.equal(here.sockets.length, before + 1, "one that is connected stays so");
});

test("who waits for a place keeps it when the network only blinks", () => {
  const here = world();
  here.connection.open();
  here.socket().opens();
  here.events.dispatchEvent(new Event("offline"));
  assert.equal(here.socket().readyState, 1);
});

test("a goodbye ends it: nothing is tried again", () => {
  const here = world();
  here.talk();
  here.connection.close();
  assert.equal(here.sockets[0].code, 1000);
  here.sockets[0].closes(1000);
  here.pass(100);
  here.events.dispatchEvent(new Event("online"));
  assert.equal(here.sockets.length, 1);
  assert.equal(here.timers.size, 0);
  assert.equal(here.connection.send(edit("a")), false);
});

for (const [code, reason] of [[1000, ""], [4409, "it goes on in another window"]]) {
  test(`a server that ends it with ${code} is not asked again`, () => {
    const here = world();
    here.talk();
    here.socket().closes(code);
    here.pass(100);
    assert.deepEqual(here.heard("ended"), [["ended", reason]]);
    assert.equal(here.sockets.length, 1);
    assert.equal(here.timers.size, 0);
  });
}

test("a new session says goodbye to the one before, and hears no more of it", () => {
  const here = world();
  here.talk();
  const old = here.socket();
  here.connection.open();
  assert.equal(old.code, 1000);
  old.says({ type: "duplex.yield", system: "duplex", at: 1, event_id: "event_2" });
  old.closes(1000);
  assert.equal(here.heard("event").length, 1);
  assert.equal(here.heard("lost").length + here.heard("ended").length, 0);
  here.socket().opens();
  here.socket().says(CREATED);
  assert.equal(here.heard("event").length, 2);
});

test("two hundred cuts at random moments lose and double nothing in either direction", () => {
  let seed = 7;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  const here = world();
  const server = { taken: "", received: 0, events: [], sent: 0 };
  const serve = (socket) => {
    // What is on its way when it is cut is lost: some of what the client said, and of what the server told.
    for (const { type, seq, insert } of socket.sent.splice(0)) {
      if (random() < 0.05) return cut(socket);
      if (type !== "duplex.input.edit" || seq <= server.received) continue;
      server.received = seq;
      server.taken += insert;
    }
    while (server.sent < server.events.length) {
      if (random() < 0.05) return cut(socket);
      socket.says(server.events[server.sent]);
      server.sent += 1;
    }
    return undefined;
  };
  const cut = (socket) => {
    here.cuts = (here.cuts ?? 0) + 1;
    socket.closes();
    here.pass(20);
    const next = here.socket();
    next.opens();
    server.sent = Number(next.url.searchParams.get("after")) - 1;
    next.says({ type: "session.resumed", session: { id: "s-1" }, received: server.received });
  };
  here.talk();
  here.socket().sent = [];
  let typed = "";
  for (let i = 0; (here.cuts ?? 0) < 200; i += 1) {
    const letter = String.fromCharCode(97 + (i % 26));
    typed += letter;
    here.connection.send(edit(letter));
    server.events.push({ type: "duplex.yield", system: "duplex", at: i, event_id: `event_${i + 2}` });
    if (random() < 0.5) serve(here.socket());
  }
  for (let i = 0; i < 50 || server.sent < server.events.length; i += 1) serve(here.socket());
  assert.equal(server.taken, typed);
  assert.deepEqual(here.heard("event").slice(1).map(([, { at }]) => at), server.events.map(({ at }) => at));
});
