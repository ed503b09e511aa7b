// Pipelines in time, as Python's simulate.py and idle.py compute them (a test compares the two).

const KINDS = "FBW";
const CAUSES = ["dependency", "imbalance", "message"];
const EPSILON = 1e-9; // of the total: shorter gaps are rounding

// The tasks of all ranks: rows of codes, (stage M + microbatch) 3 + kind.
class Program {
  constructor(rows, size, numMicrobatches) {
    this.size = size;
    this.numMicrobatches = numMicrobatches;
    this.tasks = rows.map((row) => row.map((code) => {
      const rest = Math.floor(code / 3);
      return { kind: KINDS[code % 3], stage: Math.floor(rest / numMicrobatches), microbatch: rest % numMicrobatches };
    }));
    this.rankOf = [];
    this.tasks.forEach((own, rank) => own.forEach((task) => { this.rankOf[task.stage] = rank; }));
    this.numStages = this.rankOf.length;
    this.isSplit = this.tasks.some((own) => own.some((task) => task.kind === "W"));
    this.stagesOf = this.tasks.map(() => []);
    this.rankOf.forEach((rank, stage) => this.stagesOf[rank].push(stage));
  }

  name(task) {
    const own = this.stagesOf[this.rankOf[task.stage]];
    const letter = own.length > 1 ? String.fromCharCode(97 + (own.indexOf(task.stage) % 26)) : "";
    return `${task.kind}${task.microbatch}${letter}`;
  }

  // Time of a stage, the S-th part of the model, of the times of its K equal parts; one time is that of a P-th part.
  share(values, stage) {
    const stages = this.numStages;
    if (values.length === 1) values = new Array(this.size).fill(values[0]);
    const [first, last] = [stage * values.length, (stage + 1) * values.length];
    let time = 0;
    for (let part = Math.floor(first / stages); part < Math.ceil(last / stages); part++) {
      const covered = Math.min(last, (part + 1) * stages) - Math.max(first, part * stages);
      time += (values[part] * covered) / stages;
    }
    return time;
  }

  durations(costs) {
    const stages = this.rankOf.map((_, stage) => stage);
    // times for another number of ranks: their sum is that of the whole model
    const whole = (values) => [values.reduce((a, b) => a + b, 0) / this.size];
    const fit = (values) => (values.length === 1 || values.length % this.size === 0 ? values : whole(values));
    const of = (values) => stages.map((stage) => this.share(fit(values), stage));
    const cost = { F: of(costs.F), B: of(costs.B), W: of(costs.W) };
    if (!this.isSplit) cost.B = cost.B.map((dx, stage) => dx + cost.W[stage]);
    return this.tasks.map((own) => own.map((task) => cost[task.kind][task.stage]));
  }
}

// Every task begins as soon as its rank is free and its inputs are there. Returns begins and ends, as far as it goes.
function simulate(program, durations, link) {
  const { size, numMicrobatches: m, rankOf, tasks } = program;
  const [plane, last] = [program.numStages * m, program.numStages - 1];
  const key = (kind, stage, microbatch) => KINDS.indexOf(kind) * plane + stage * m + microbatch;
  const done = new Array(3 * plane);
  const arrived = new Array(3 * plane);
  const waiting = new Map();
  const free = new Map();
  const begins = tasks.map(() => []);
  const ends = tasks.map(() => []);
  const clocks = new Array(size).fill(0);
  const ready = tasks.map((_, rank) => rank).reverse();
  while (ready.length) {
    const rank = ready.pop();
    let clock = clocks[rank];
    for (let place = begins[rank].length; place < tasks[rank].length; place++) {
      const { kind, stage, microbatch } = tasks[rank][place];
      const neighbor = kind === "F" ? stage - 1 : kind === "B" ? stage + 1 : -1;
      if (neighbor >= 0 && neighbor <= last) {
        const need = key(kind, neighbor, microbatch);
        const at = rankOf[neighbor] === rank ? done[need] : arrived[need];
        if (at === undefined) {
          waiting.set(need, rank);
          break;
        }
        clock = Math.max(clock, at);
      }
      begins[rank].push(clock);
      clock += durations[rank][place];
      ends[rank].push(clock);
      const own = key(kind, stage, microbatch);
      done[own] = clock;
      const next = kind === "F" ? stage + 1 : kind === "B" ? stage - 1 : -1;
      if (next >= 0 && next <= last && rankOf[next] !== rank) {
        const way = rank * size + rankOf[next];
        const sent = Math.max(clock, free.get(way) ?? clock) + link.transfer;
        free.set(way, sent);
        arrived[own] = sent + link.latency;
      }
      if (waiting.has(own)) {
        ready.push(waiting.get(own));
        waiting.delete(own);
      }
    }
    clocks[rank] = clock;
  }
  return { begins, ends };
}

function gaps(run, rank) {
  const found = [];
  let clock = run.first;
  run.begins[rank].forEach((begin, place) => {
    found.push([clock, Math.max(0, begin - clock)]);
    clock = run.ends[rank][place];
  });
  found.push([clock, Math.max(0, run.last - clock)]);
  return found;
}

function measure(run) {
  run.first = run.begins.reduce((least, own) => (own.length ? Math.min(least, own[0]) : least), Infinity);
  run.last = run.ends.reduce((most, own) => (own.length ? Math.max(most, own[own.length - 1]) : most), -Infinity);
  if (!Number.isFinite(run.first)) [run.first, run.last] = [0, 0];
  run.total = run.last - run.first;
  return run;
}

function balanced(program, durations) {
  const sums = {};
  program.tasks.forEach((own, rank) => own.forEach((task, place) => {
    const sum = (sums[task.kind] ??= [0, 0]);
    sum[0] += durations[rank][place];
    sum[1]++;
  }));
  return program.tasks.map((own) => own.map((task) => sums[task.kind][0] / sums[task.kind][1]));
}

// A run, simulated or recorded, with the causes of its idle time.
class Run {
  constructor(program, times, durations) {
    this.program = program;
    Object.assign(this, measure(times));
    const none = { latency: 0, transfer: 0 };
    const bare = [balanced(program, durations), durations].map((costs) => measure(simulate(program, costs, none)));
    this.idle = program.tasks.map((_, rank) => {
      const [even, uneven, actual] = [...bare, this].map((run) => gaps(run, rank));
      return actual.flatMap(([begin, gap], i) => {
        const dependency = Math.min(gap, even[i][1]);
        const imbalance = Math.min(gap - dependency, Math.max(0, uneven[i][1] - even[i][1]));
        return [dependency, imbalance, gap - dependency - imbalance].map((length, which) => {
          const one = { begin, end: begin + length, cause: CAUSES[which] };
          begin += length;
          return one;
        }).filter((one) => one.end - one.begin > EPSILON * this.total);
      });
    });
    this.shares = this.idle.map((own) => Object.fromEntries(CAUSES.map((cause) => [cause,
      own.reduce((sum, one) => sum + (one.cause === cause ? one.end - one.begin : 0), 0) / (this.total || 1)])));
    this.peaks = program.tasks.map((_, rank) => Math.max(0, ...this.held(rank).map(([, held]) => held)));
  }

  get error() {
    return this.program.tasks.some((own, rank) => this.begins[rank].length < own.length);
  }

  bubble(rank) {
    return CAUSES.reduce((sum, cause) => sum + this.shares[rank][cause], 0);
  }

  share(cause) {
    return this.shares.reduce((sum, own) => sum + own[cause], 0) / this.shares.length;
  }

  // Microbatches that a rank holds from each moment on: [moment, held].
  held(rank) {
    const { program } = this;
    const release = program.isSplit ? "W" : "B";
    const weight = 1 / program.stagesOf[rank].length;
    let held = 0;
    return this.begins[rank].map((begin, place) => {
      const { kind } = program.tasks[rank][place];
      if (kind === "F") return [begin, held += weight];
      if (kind === release) held -= weight;
      return [this.ends[rank][place], held];
    });
  }

  heldAt(rank, now) {
    return this.held(rank).reduce((found, [moment, held]) => (moment <= now + EPSILON * this.total ? held : found), 0);
  }

  // What a rank does at a moment: { task } or { cause }.
  at(rank, now) {
    const slack = EPSILON * this.total;
    const place = this.ends[rank].findIndex((end, i) => this.begins[rank][i] <= now + slack && end > now + slack);
    if (place >= 0) return { task: this.program.tasks[rank][place] };
    const idle = this.idle[rank].find((one) => one.begin <= now + slack && one.end > now + slack);
    return idle ? { cause: idle.cause } : {};
  }
}
