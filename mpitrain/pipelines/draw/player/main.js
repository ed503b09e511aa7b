// The view, its widgets, panels, the clock, and the keys.

const $ = (id) => document.getElementById(id);
const still = matchMedia("(prefers-reduced-motion: reduce)");
const RUN_SECONDS = 20; // of a whole step at speed 1
const UNITS = DATA.seconds ? 1e3 : 1; // times are shown in ms, or in units
const view = {
  a: 0, b: -1, p: DATA.size, m: DATA.microbatches, speed: 1,
  F: DATA.costs.F, B: DATA.costs.B, W: DATA.costs.W, latency: DATA.costs.latency, transfer: DATA.costs.transfer,
};
const COSTS = ["F", "B", "W"];

let panels = [];
let ends = []; // moments at which a task ends, in any panel
let length = 0;
let now = 0;
let playing = false;
let before = 0;

class Panel {
  constructor(id) {
    this.id = id;
    this.node = document.importNode($("panel").content, true).firstElementChild;
    $("panels").append(this.node);
    this.part = (name) => this.node.querySelector(`.${name}`);
    this.chart = new Chart(this.part("chart"));
    this.chart.onseek = (moment) => { pause(); show(momentOf(stepAt(moment))); };
  }

  load(index) {
    this.pipeline = DATA.pipelines[index];
    const { name, formulas, orders, errors } = this.pipeline;
    this.node.querySelector("h2").textContent = name;
    this.part("formula").textContent = formulas.join("   ");
    const key = `${view.p}/${view.m}`;
    const program = new Program(orders[key] || [], view.p, view.m);
    const durations = program.durations(view);
    this.run = new Run(program, simulate(program, durations, view), durations);
    const { trace } = DATA;
    this.recorded = null;
    if (trace && index === 0 && trace.size === view.p && trace.microbatches === view.m) {
      const recorded = new Program(trace.orders, view.p, view.m);
      const times = { begins: trace.begins, ends: trace.ends };
      const taken = trace.begins.map((own, rank) => own.map((begin, i) => trace.ends[rank][i] - begin));
      this.recorded = new Run(recorded, times, taken);
    }
    const error = errors[key] || (orders[key] ? "" : "too many tasks for this page");
    this.part("wrong").hidden = !error;
    this.part("wrong").textContent = error ? `Wrong: ${error}` : "";
    this.count();
  }

  get runs() {
    return this.recorded ? [this.run, this.recorded] : [this.run];
  }

  count() {
    const put = (name, values) => { this.part(name).textContent = values.join(" / "); };
    const percent = (x) => `${(100 * x).toFixed(1)}%`;
    this.part("which").hidden = !this.recorded;
    put("step", this.runs.map((run) => formatTime(run.total)));
    put("bubble", this.runs.map((run) => percent(CAUSES.reduce((sum, cause) => sum + run.share(cause), 0))));
    for (const cause of CAUSES) put(cause, this.runs.map((run) => percent(run.share(cause))));
    put("held", [formatNumber(Math.max(0, ...this.run.peaks))]);
  }

  draw() {
    this.chart.draw(this.run, this.recorded, now, length);
  }

  say() {
    const run = this.recorded ?? this.run;
    const texts = run.program.tasks.map((_, rank) => {
      const { task, cause } = run.at(rank, run.first + now);
      return `rank ${rank} ${task ? run.program.name(task) : cause ? REASONS[cause] : "has finished"}`;
    });
    const words = texts.length > 8 ? `${texts.slice(0, 8).join("; ")}; ...` : texts.join("; ");
    this.part("words").textContent = `At ${formatTime(now)}: ${words}.`;
    this.part("chart").setAttribute("aria-label", `${this.pipeline.name}: ${words}`);
    if ($("tables").open) this.tabulate();
  }

  tabulate() {
    const heads = ["rank", "stages", "bubble", ...CAUSES, "holds"];
    const rows = this.runs.flatMap((run, which) => run.program.tasks.map((_, rank) => [
      `${rank}${which ? " recorded" : ""}`, run.program.stagesOf[rank].join(" "), (100 * run.bubble(rank)).toFixed(2),
      ...CAUSES.map((cause) => (100 * run.shares[rank][cause]).toFixed(2)), formatNumber(run.peaks[rank]),
    ]));
    const line = (cells, tag) => `<tr>${cells.map((cell) => `<${tag}>${cell}</${tag}>`).join("")}</tr>`;
    const table = `<caption></caption>${line(heads, "th")}${rows.map((row) => line(row, "td")).join("")}`;
    $(`table-${this.id}`).innerHTML = `<table>${table}</table>`;
    $(`table-${this.id}`).querySelector("caption").textContent = `${this.pipeline.name}: idle in % of the step`;
  }
}

const REASONS = {
  dependency: "waits for another rank", imbalance: "waits for a slower stage", message: "waits for a message",
};

function rebuild() {
  const wanted = view.b >= 0 ? [view.a, view.b] : [view.a];
  while (panels.length > wanted.length) {
    const panel = panels.pop();
    panel.node.remove();
    $(`table-${panel.id}`).replaceChildren();
  }
  while (panels.length < wanted.length) panels.push(new Panel("ab"[panels.length]));
  wanted.forEach((index, i) => panels[i].load(index));
  const runs = panels.flatMap((panel) => panel.runs);
  length = Math.max(...runs.map((run) => run.total));
  const all = runs.flatMap((run) => run.ends.flat().map((end) => end - run.first)).sort((x, y) => x - y);
  ends = all.filter((end, i) => i === 0 || end > all[i - 1] + EPSILON * length);
  showControls();
  show(Math.min(now, length));
}

function stepAt(moment) {
  let step = 0;
  while (step < ends.length && ends[step] <= moment + EPSILON * length) step++;
  return step;
}

function momentOf(step) {
  return step > 0 ? ends[Math.min(step, ends.length) - 1] : 0;
}

function show(moment) {
  now = moment;
  const step = stepAt(now);
  for (const panel of panels) {
    panel.draw();
    panel.say();
  }
  $("at").max = ends.length;
  $("at").value = step;
  $("at-out").textContent = `task end ${step} of ${ends.length}`;
  $("play").classList.toggle("playing", playing);
  $("play").setAttribute("aria-label", playing ? "pause" : "play");
  if (!playing) writeFragment(step);
}

function pause() {
  playing = false;
}

function frame(time) {
  if (!playing) return;
  const seconds = Math.min(0.1, (time - before) / 1000) * view.speed;
  before = time;
  let moment = now + (seconds * length) / RUN_SECONDS;
  if (still.matches) moment = momentOf(stepAt(now) + 1);
  if (moment >= length) {
    moment = length;
    playing = false;
  }
  show(moment);
  if (still.matches) setTimeout(() => requestAnimationFrame(frame), 700);
  else requestAnimationFrame(frame);
}

function toggle() {
  playing = !playing;
  if (!playing) return show(now);
  if (now >= length * (1 - EPSILON)) now = 0;
  return requestAnimationFrame((time) => { before = time; frame(time); });
}

function jump(step) {
  pause();
  show(momentOf(Math.max(0, step)));
}

function parseTimes(content, fallback) {
  const values = content.trim().split(/[\s,]+/).map(Number);
  return values.length && values.every((value) => Number.isFinite(value) && value >= 0) ? values.map((v) => v / UNITS) : fallback;
}

function showControls() {
  for (const id of ["a", "b"]) $(id).value = view[id];
  for (const id of ["p", "m"]) {
    $(id).value = view[id];
    $(`${id}-out`).textContent = view[id];
  }
  const say = (t) => Number((t * UNITS).toPrecision(6));
  const put = (id, value) => { if (document.activeElement !== $(id)) $(id).value = value; };
  for (const kind of COSTS) put(kind, view[kind].map(say).join(" "));
  put("latency", say(view.latency));
  put("transfer", say(view.transfer));
  $("speed-out").textContent = `${view.speed}×`;
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  readTheme();
}

function findPipeline(name) {
  return DATA.pipelines.findIndex((pipeline) => pipeline.name === name);
}

// The fragment: #a=1f1b&b=zb_h1&p=4&m=8&F=1+2&latency=0.1&step=5&theme=dark&table=1
function readFragment() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const number = (key, low, high, fallback) => {
    const value = Number(asked.get(key));
    return asked.has(key) && Number.isFinite(value) ? Math.min(high, Math.max(low, value)) : fallback;
  };
  if (findPipeline(asked.get("a")) >= 0) view.a = findPipeline(asked.get("a"));
  if (asked.has("b")) view.b = findPipeline(asked.get("b"));
  view.p = Math.round(number("p", ...DATA.sizes, view.p));
  view.m = Math.round(number("m", ...DATA.counts, view.m));
  for (const kind of COSTS) if (asked.has(kind)) view[kind] = parseTimes(asked.get(kind), view[kind]);
  for (const key of ["latency", "transfer"]) view[key] = number(key, 0, 1e9, view[key] * UNITS) / UNITS;
  if (asked.has("theme")) setTheme(asked.get("theme"));
  if (asked.get("table") === "1") $("tables").open = true;
  return number("step", 0, 1e9, 0);
}

function writeFragment(step) {
  const asked = new URLSearchParams({ a: DATA.pipelines[view.a].name, p: view.p, m: view.m, step });
  if (view.b >= 0) asked.set("b", DATA.pipelines[view.b].name);
  for (const kind of COSTS) asked.set(kind, view[kind].map((t) => t * UNITS).join(" "));
  for (const key of ["latency", "transfer"]) asked.set(key, view[key] * UNITS);
  try {
    history.replaceState(null, "", `#${asked}`);
  } catch {
    // some viewers of local files do not allow it; the page works without
  }
}

function change(id, by) {
  view[id] = Math.min(Number($(id).max), Math.max(Number($(id).min), view[id] + by));
  rebuild();
}

const KEYS = {
  " ": toggle, ArrowRight: () => jump(stepAt(now) + 1), Home: () => jump(0), End: () => jump(ends.length),
  ArrowLeft: () => jump(now > momentOf(stepAt(now)) + EPSILON * length ? stepAt(now) : stepAt(now) - 1),
  "]": () => change("p", 1), "[": () => change("p", -1), ".": () => change("m", 1), ",": () => change("m", -1),
  "+": () => changeSpeed(2), "=": () => changeSpeed(2), "-": () => changeSpeed(0.5),
  d: () => $("theme").click(), t: () => { $("tables").open = !$("tables").open; }, h: () => $("guide").showModal(),
  "?": () => $("guide").showModal(),
};

function changeSpeed(factor) {
  view.speed = Math.min(16, Math.max(0.25, view.speed * factor));
  showControls();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("guide").open) return;
  const { target: node } = event;
  if (node.matches("select, input:not([type=range]), summary") || (event.key === " " && node.matches("button"))) return;
  if (node.matches("input[type=range]") && event.key.startsWith("Arrow") && node.id !== "at") return;
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

function listen() {
  const set = (id, event, apply) => $(id).addEventListener(event, () => { apply($(id).value); rebuild(); });
  set("a", "change", (v) => { view.a = Number(v); });
  set("b", "change", (v) => { view.b = Number(v); });
  set("p", "input", (v) => { view.p = Number(v); });
  set("m", "input", (v) => { view.m = Number(v); });
  for (const kind of COSTS) set(kind, "input", (v) => { view[kind] = parseTimes(v, view[kind]); });
  for (const key of ["latency", "transfer"]) set(key, "input", (v) => { view[key] = Math.max(0, Number(v)) / UNITS; });
  const click = (id, action) => $(id).addEventListener("click", action);
  click("play", toggle);
  click("next", KEYS.ArrowRight);
  click("back", KEYS.ArrowLeft);
  click("first", KEYS.Home);
  click("last", KEYS.End);
  click("slower", () => changeSpeed(0.5));
  click("faster", () => changeSpeed(2));
  click("help", () => $("guide").showModal());
  click("theme", () => {
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    show(now);
  });
  $("at").addEventListener("input", () => jump(Number($("at").value)));
  $("tables").addEventListener("toggle", () => panels.forEach((panel) => panel.tabulate()));
  document.addEventListener("keydown", onKey);
  new ResizeObserver(() => show(now)).observe($("panels"));
  addEventListener("hashchange", open);
}

function open() {
  const step = readFragment();
  rebuild();
  show(momentOf(step));
}

setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
for (const id of ["a", "b"]) {
  if (id === "b") $(id).add(new Option("nothing", -1));
  DATA.pipelines.forEach((pipeline, i) => $(id).add(new Option(pipeline.name, i)));
}
[$("p").min, $("p").max] = DATA.sizes;
[$("m").min, $("m").max] = DATA.counts;
for (const unit of document.querySelectorAll(".unit")) unit.textContent = DATA.seconds ? "ms" : "";
for (const key of document.querySelectorAll("[data-kind]")) key.style.background = DATA.colors.kinds[key.dataset.kind];
if (DATA.compare) view.b = 1;
open();
listen();
document.body.dataset.ready = "1";
