// A play: the messages of one schedule at one P, when they travel, and what the ranks hold at any moment.

function expandChunks(chunks) {
  if (typeof chunks === "number") return [chunks];
  const all = [];
  for (let i = 0; i < chunks.length; i += 2) for (let c = chunks[i]; c < chunks[i + 1]; c++) all.push(c);
  return all;
}

class Play {
  constructor(data, algorithm, size) {
    this.algorithm = algorithm;
    this.size = size;
    this.numChunks = data.c;
    this.buffers = data.b;
    this.error = data.e || "";
    this.pairs = ["all_to_all", "halo_exchange"].includes(algorithm.collective);
    this.sets = new Sets(size, this.pairs);
    this.start = data.c ? this.sets.parseRows(data.s) : [];
    this.finish = data.c ? this.sets.parseRows(data.f) : [];
    this.replay(data.m);
    this.numRounds = this.messages.reduce((most, m) => Math.max(most, m.round), 0);
    this.state = this.start.map((row) => row.slice());
    this.schedule("round");
  }

  // Rounds and contents. A step sends its chunks as they are when it starts: `before` keeps that moment.
  replay(rows) {
    const held = this.start.map((row) => row.slice());
    const ranks = this.start.map(() => ({ step: -1, clock: 0, ends: 0, before: null }));
    const enter = (rank, step) => {
      const r = ranks[rank];
      if (step > r.step) Object.assign(r, { step, clock: r.ends, before: held[rank].slice() });
      return r;
    };
    this.messages = rows.map(([from, fromStep, to, toStep, reduce, sent, received]) => {
      const sender = enter(from, fromStep);
      const receiver = enter(to, toStep);
      const round = Math.max(sender.clock, receiver.clock) + 1;
      const m = { from, fromStep, to, toStep, reduce: reduce === 1, round, start: 0, end: 0 };
      m.sent = expandChunks(sent);
      m.received = received === undefined ? m.sent : expandChunks(received);
      m.payload = m.sent.map((c) => sender.before[c]);
      m.after = m.received.map((c, i) => (m.reduce ? this.sets.union(held[to][c], m.payload[i]) : m.payload[i]));
      m.received.forEach((c, i) => { held[to][c] = m.after[i]; });
      sender.ends = Math.max(sender.ends, round);
      receiver.ends = Math.max(receiver.ends, round);
      return m;
    });
  }

  chunkBytes(costs) {
    return this.numChunks ? (costs.bytes * this.buffers) / this.numChunks : 0;
  }

  // Predicted times: a message takes alpha + bytes beta once both ends are there; adding takes bytes gamma.
  // `path` is what lies on the way to the end: messages, chunks sent, chunks added.
  predict(costs) {
    const chunk = this.chunkBytes(costs);
    const zero = { at: 0, path: [0, 0, 0] };
    const later = (a, b) => (b.at > a.at ? b : a);
    const ranks = this.start.map(() => ({ step: -1, ready: zero, ends: zero }));
    const enter = (rank, step) => {
      const r = ranks[rank];
      if (step > r.step) Object.assign(r, { step, ready: r.ends });
      return r;
    };
    for (const m of this.messages) {
      const sender = enter(m.from, m.fromStep);
      const receiver = enter(m.to, m.toStep);
      const begin = later(sender.ready, receiver.ready);
      const count = m.sent.length;
      const [a, b, g] = begin.path;
      const done = { at: begin.at + costs.alpha + count * chunk * costs.beta, path: [a + 1, b + count, g] };
      const added = m.reduce ? { at: done.at + count * chunk * costs.gamma, path: [a + 1, b + count, g + count] } : done;
      m.begin = begin.at;
      m.arrive = added;
      sender.ends = later(sender.ends, done);
      receiver.ends = later(receiver.ends, added);
    }
    this.predicted = ranks.reduce((most, r) => later(most, r.ends), zero);
  }

  // Measured times of a trace, by rank and step. Returns whether all of it is there.
  measure(trace) {
    const steps = new Map(trace.events.map(([rank, step, start, end]) => [`${rank}/${step}`, { start, end }]));
    for (const m of this.messages) {
      const sender = steps.get(`${m.from}/${m.fromStep}`);
      const receiver = steps.get(`${m.to}/${m.toStep}`);
      if (!sender || !receiver) return false;
      m.measured = { begin: Math.max(sender.start, receiver.start), end: receiver.end };
      m.measured.begin = Math.min(m.measured.begin, m.measured.end);
    }
    return true;
  }

  // Choose the clock: "round", "time" (predicted) or "measured".
  schedule(mode) {
    for (const m of this.messages) {
      if (mode === "round") [m.start, m.end] = [m.round - 1, m.round];
      else if (mode === "time") [m.start, m.end] = [m.begin, m.arrive.at];
      else [m.start, m.end] = [m.measured.begin, m.measured.end];
    }
    this.order = this.messages.slice().sort((a, b) => a.end - b.end || a.round - b.round);
    this.ends = this.order.map((m) => m.end).filter((end, i, all) => i === 0 || end > all[i - 1] + EPSILON);
    this.length = this.ends.length ? this.ends[this.ends.length - 1] : 0;
    this.rewind();
  }

  rewind() {
    this.applied = 0;
    this.start.forEach((row, rank) => { for (let c = 0; c < row.length; c++) this.state[rank][c] = row[c]; });
    this.progress = { messages: 0, round: 0, time: 0, sent: this.start.map(() => 0), added: this.start.map(() => 0) };
  }

  // Bring `state` and `progress` to the moment `now`: everything that has ended by then is in place.
  seek(now) {
    const next = this.order[this.applied - 1];
    if (next && next.end > now + EPSILON) this.rewind();
    const p = this.progress;
    while (this.applied < this.order.length && this.order[this.applied].end <= now + EPSILON) {
      const m = this.order[this.applied++];
      m.received.forEach((c, i) => { this.state[m.to][c] = m.after[i]; });
      p.messages++;
      p.round = Math.max(p.round, m.round);
      p.time = Math.max(p.time, m.arrive ? m.arrive.at : 0);
      p.sent[m.from] += m.sent.length;
      if (m.reduce) p.added[m.to] += m.sent.length;
    }
  }

  flying(now) {
    return this.messages.filter((m) => m.start < now - EPSILON && m.end > now + EPSILON);
  }

  // What has arrived after `before`, up to `now`.
  arrived(before, now) {
    return this.messages.filter((m) => m.end > before + EPSILON && m.end <= now + EPSILON);
  }
}

const EPSILON = 1e-12;
