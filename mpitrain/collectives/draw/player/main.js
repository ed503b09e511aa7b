// Panels, the clock, and the keys.

const ROUND_SECONDS = 1.5; // a round at speed 1: flight, then a moment to look
const FLIGHT = 0.72;
const still = matchMedia("(prefers-reduced-motion: reduce)");

let panels = [];
let ends = []; // moments at which something arrives, in any panel
let length = 0;
let now = 0;
let target = null; // where the animation stops; null when it stands still
let phase = 0; // of the animation, in rounds (in time: seconds of the schedule)
let before = 0; // the frame before
let waited = 0; // with reduced motion, seconds since the last step

class Panel {
  constructor(id) {
    this.id = id;
    this.node = document.importNode($("panel").content, true).firstElementChild;
    $("panels").append(this.node);
    this.part = (name) => this.node.querySelector(`.${name}`);
    this.stage = new Stage(this.part("stage"));
    this.timeline = new Timeline(this.part("timeline"));
    this.timeline.onseek = (moment) => { pause(); show(nearest(moment)); };
    this.slider = this.part("option").querySelector("input");
    this.slider.addEventListener("input", () => {
      view.options[this.index] = this.algorithm.option.values[Number(this.slider.value)];
      rebuild(true);
    });
  }

  load(index) {
    this.index = index;
    this.algorithm = DATA.algorithms[index];
    const { option } = this.algorithm;
    let value = null;
    if (option) {
      const asked = view.options[index] ?? option.value;
      const there = option.values.filter((v) => `${view.p}/${v}` in this.algorithm.plays);
      value = there.includes(asked) ? asked : there[there.length - 1];
    }
    const key = option ? `${view.p}/${value}` : `${view.p}`;
    const data = this.algorithm.plays[key] || { c: 0, b: 1, s: [], f: [], m: [], e: "too many messages for this page" };
    if (key !== this.key || this.play.algorithm !== this.algorithm) this.play = new Play(data, this.algorithm, view.p);
    this.key = key;
    const { trace } = DATA;
    const fits = trace && trace.algorithm === this.algorithm.name && trace.size === view.p && (!option || value === option.value);
    this.trace = fits && this.play.measure(trace) ? trace : null;
    this.play.predict(view);
    this.showHead(option, value);
  }

  showHead(option, value) {
    const { play } = this;
    this.node.querySelector("h2").textContent = play.algorithm.name;
    this.part("option").hidden = !option;
    if (option) {
      this.slider.max = option.values.length - 1;
      this.slider.value = option.values.indexOf(value);
      this.part("option").querySelector("span").textContent = option.name;
      this.part("option").querySelector("output").textContent = `${value} (${play.numChunks} chunks)`;
    }
    this.part("wrong").hidden = !play.error;
    this.part("wrong").textContent = play.error ? `Wrong: ${play.error}` : "";
    const [rounds, sent, added] = play.predicted.path;
    const share = (chunks) => formatNumber((chunks * play.buffers) / Math.max(1, play.numChunks));
    const terms = [`${rounds} α`, `${share(sent)} n β`];
    if (added) terms.push(`${share(added)} n γ`);
    this.part("formula").innerHTML = `<small>on the longest path</small>${terms.join(" + ")} = ${formatSeconds(play.predicted.at)}`;
    this.node.classList.toggle("traced", this.trace !== null && view.mode !== "round");
  }

  draw(last) {
    const { play } = this;
    play.seek(now);
    this.stage.draw(play, now, last);
    this.timeline.draw(play, now, length, view.mode, view.mode === "round" ? null : this.trace);
    this.count();
  }

  count() {
    const { play } = this;
    const p = play.progress;
    const share = (chunks) => (chunks * play.buffers) / Math.max(1, play.numChunks);
    const amount = (chunks) => `${formatNumber(share(chunks))} n <small>${formatBytes(share(chunks) * view.bytes)}</small>`;
    const put = (name, html) => { if (this.part(name).innerHTML !== html) this.part(name).innerHTML = html; };
    put("round", `${p.round} <small>of ${play.numRounds}</small>`);
    put("sent", amount(Math.max(0, ...p.sent)));
    put("added", amount(Math.max(0, ...p.added)));
    put("messages", `${p.messages} <small>of ${play.messages.length}</small>`);
    if (this.trace) {
      put("clock-name", "predicted, measured");
      put("clock", `${formatSeconds(play.predicted.at)} <small>${formatSeconds(measuredEnd(this.trace))} measured</small>`);
      return;
    }
    put("clock-name", "predicted time");
    const moment = view.mode === "time" ? Math.min(now, play.predicted.at) : p.time;
    put("clock", `${formatSeconds(moment)} <small>of ${formatSeconds(play.predicted.at)}</small>`);
  }

  // What is under way; else what arrived last (in this panel: the other one may have gone on since).
  recent() {
    const { play } = this;
    const flying = play.flying(now);
    if (flying.length) return flying;
    const done = play.ends.filter((end) => end <= now + EPSILON).slice(-2);
    return done.length ? play.arrived(done.length > 1 ? done[0] : -1, done[done.length - 1]) : [];
  }

  say() {
    const { play } = this;
    const messages = this.recent();
    const over = play.numRounds > 0 && play.progress.messages === play.messages.length && !play.error;
    const words = over ? `${patternWords(messages, play.size)}. Done: ${play.algorithm.goal}.` : stepWords(play, messages);
    const round = messages.length ? `Round ${messages[0].round} of ${play.numRounds}. ` : "";
    if (this.part("words").textContent !== round + words) {
      this.part("words").innerHTML = `<span class="aside"></span><span></span>`;
      this.part("words").firstChild.textContent = round;
      this.part("words").lastChild.textContent = words;
    }
    this.part("stage").setAttribute("aria-label", `${play.algorithm.name} with ${play.size} ranks: ${words}`);
    if ($("tables").open) this.tabulate();
  }

  tabulate() {
    const { play } = this;
    const cell = (tag, content, scope) => `<${tag}${scope ? ` scope="${scope}"` : ""}>${content}</${tag}>`;
    const head = Array.from({ length: play.numChunks }, (_, c) => cell("th", `chunk ${c}`, "col")).join("");
    const rows = play.state.map((row, rank) => {
      const sets = row.map((set) => cell("td", set.name.replace(">", "&gt;"))).join("");
      return `<tr>${cell("th", `rank ${rank}`, "row")}${sets}</tr>`;
    });
    const title = `after round ${play.progress.round} of ${play.numRounds}`;
    $(`table-${this.id}`).innerHTML = `<table><caption></caption><tr><td></td>${head}</tr>${rows.join("")}</table>`;
    $(`table-${this.id}`).querySelector("caption").textContent = `${play.algorithm.name}: ${title}`;
  }
}

function measuredEnd(trace) {
  return trace.events.reduce((most, [, , , end]) => Math.max(most, end), 0);
}

function rebuild(restart) {
  const step = restart ? 0 : stepAt(now);
  const wanted = view.b >= 0 ? [view.a, view.b] : [view.a];
  while (panels.length > wanted.length) {
    const panel = panels.pop();
    panel.node.remove();
    $(`table-${panel.id}`).replaceChildren();
  }
  while (panels.length < wanted.length) panels.push(new Panel("ab"[panels.length]));
  wanted.forEach((index, i) => panels[i].load(index));
  const measurable = panels.some((panel) => panel.trace);
  $("modes").querySelector("[value=measured]").disabled = !measurable;
  $("modes").querySelector("[value=measured]").parentElement.hidden = !DATA.trace;
  if (view.mode === "measured" && !measurable) view.mode = "time";
  for (const panel of panels) {
    panel.play.schedule(view.mode === "measured" && !panel.trace ? "time" : view.mode);
    panel.node.classList.toggle("traced", panel.trace !== null && view.mode !== "round");
  }
  const all = panels.flatMap((panel) => panel.play.ends).sort((x, y) => x - y);
  ends = all.filter((end, i) => i === 0 || end > all[i - 1] + EPSILON);
  length = ends[ends.length - 1] || 0;
  if (view.mode !== "round") {
    for (const panel of panels) {
      length = Math.max(length, panel.play.predicted.at, panel.trace ? measuredEnd(panel.trace) : 0);
    }
  }
  target = null;
  showControls();
  show(momentOf(Math.min(step, ends.length)));
}

// How many of `ends` lie behind the moment.
function stepAt(moment) {
  let low = 0;
  for (let high = ends.length; low < high;) {
    const middle = (low + high) >> 1;
    if (ends[middle] <= moment + EPSILON) low = middle + 1;
    else high = middle;
  }
  return low;
}

function momentOf(step) {
  return step > 0 ? ends[Math.min(step, ends.length) - 1] : 0;
}

function nearest(moment) {
  const step = stepAt(moment);
  if (step === ends.length) return momentOf(step);
  return moment - momentOf(step) < ends[step] - moment ? momentOf(step) : ends[step];
}

let spoken = "";

// Show the moment; words and widgets follow when a step has ended.
function show(moment) {
  now = moment;
  const step = stepAt(now);
  const last = momentOf(step - 1);
  for (const panel of panels) panel.draw(step ? last : -1);
  $("at").max = ends.length;
  $("at").value = step;
  const unit = view.mode === "round" ? "round" : "step";
  $("at-out").textContent = `${unit} ${step} of ${ends.length}`;
  $("at").setAttribute("aria-valuetext", $("at-out").textContent);
  const moving = now > momentOf(step) + EPSILON;
  const saying = `${step}${moving}`;
  if (target === null || (saying !== spoken && (moving || step === ends.length))) for (const panel of panels) panel.say();
  spoken = saying;
  showPlaying();
  if (target === null) writeFragment(step);
}

function showPlaying() {
  const playing = target !== null;
  $("play").classList.toggle("playing", playing);
  $("play").setAttribute("aria-label", playing ? "pause" : "play");
}

function pause() {
  target = null;
  showPlaying();
}

// Play up to a moment. In rounds, `phase` runs evenly and the flight takes the first part of each round.
function playTo(moment) {
  if (moment <= now + EPSILON) return;
  const begin = target === null;
  target = moment;
  if (view.mode === "round") phase = Math.floor(now + EPSILON) + (now - Math.floor(now + EPSILON)) * FLIGHT;
  else phase = now;
  waited = 0;
  if (begin) requestAnimationFrame((time) => { before = time; requestAnimationFrame(frame); });
  showPlaying();
}

function frame(time) {
  if (target === null) return;
  const seconds = Math.min(0.1, (time - before) / 1000) * view.speed;
  before = time;
  let moment = now;
  if (still.matches) {
    waited += seconds;
    if (waited >= ROUND_SECONDS) [moment, waited] = [momentOf(stepAt(now) + 1), 0];
  } else if (view.mode === "round") {
    phase += seconds / ROUND_SECONDS;
    moment = Math.floor(phase) + Math.min(1, (phase - Math.floor(phase)) / FLIGHT);
  } else {
    const rounds = Math.max(...panels.map((panel) => panel.play.numRounds));
    phase += (seconds * length) / Math.max(6, Math.min(30, rounds * ROUND_SECONDS));
    moment = phase;
  }
  if (moment >= target - EPSILON) {
    moment = target;
    target = null;
  }
  show(moment);
  if (target !== null) requestAnimationFrame(frame);
}

function toggle() {
  if (target !== null) {
    pause();
    show(now);
    return;
  }
  if (stepAt(now) >= ends.length) show(0);
  playTo(momentOf(ends.length));
}

function stepForward() {
  const next = momentOf(stepAt(now) + 1);
  if (target !== null || still.matches) {
    pause();
    show(next);
  } else {
    playTo(next);
  }
}

function stepBack() {
  pause();
  const step = stepAt(now);
  show(now > momentOf(step) + EPSILON ? momentOf(step) : momentOf(step - 1));
}

function jump(step) {
  pause();
  show(momentOf(step));
}

function changeSpeed(factor) {
  view.speed = Math.min(HIGHEST_SPEED, Math.max(LOWEST_SPEED, view.speed * factor));
  showControls();
}

function changeRanks(by) {
  view.p = Math.min(DATA.sizes[1], Math.max(DATA.sizes[0], view.p + by));
  rebuild(true);
}

function nextMode() {
  const radios = [...document.getElementsByName("mode")].filter((r) => !r.disabled && !r.parentElement.hidden);
  const at = radios.findIndex((r) => r.value === view.mode);
  view.mode = radios[(at + 1) % radios.length].value;
  rebuild(false);
}

const KEYS = {
  " ": toggle, ArrowRight: stepForward, ArrowLeft: stepBack, Home: () => jump(0), End: () => jump(ends.length),
  "+": () => changeSpeed(2), "=": () => changeSpeed(2), "-": () => changeSpeed(0.5),
  "]": () => changeRanks(1), "[": () => changeRanks(-1),
  m: nextMode, d: () => $("theme").click(), t: () => { $("tables").open = !$("tables").open; }, h: () => $("help").click(),
  "?": () => $("help").click(),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("guide").open) return;
  const { target: node } = event;
  if (node.matches("select, input[type=number], summary") || (event.key === " " && node.matches("button"))) return;
  if (node.matches("input[type=range], input[type=radio]") && event.key.startsWith("Arrow") && node.id !== "at") return;
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

function listen() {
  listenToControls(rebuild);
  const click = (id, action) => $(id).addEventListener("click", action);
  click("play", toggle);
  click("next", stepForward);
  click("back", stepBack);
  click("first", () => jump(0));
  click("last", () => jump(ends.length));
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
  addEventListener("hashchange", openFragment);
}

function openFragment() {
  const { step, part } = readFragment();
  rebuild(true);
  const begin = momentOf(Math.min(step, ends.length));
  const end = momentOf(Math.min(step + 1, ends.length));
  show(begin + (end - begin) * part);
}

setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
fillChoices();
if (DATA.compare) view.b = 1;
if (DATA.trace) {
  Object.assign(view, { p: DATA.trace.size, bytes: DATA.trace.num_bytes, mode: "measured" });
}
openFragment();
listen();
document.body.dataset.ready = "1";
