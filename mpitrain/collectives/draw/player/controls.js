// The view: everything that the fragment of the address can say, and the widgets that show and change it.

const LOWEST_SPEED = 0.25;
const HIGHEST_SPEED = 8;

const view = {
  a: 0, b: -1, p: DATA.size, options: {}, mode: "round", speed: 1,
  bytes: DATA.costs.num_bytes, alpha: DATA.costs.alpha, beta: DATA.costs.beta, gamma: DATA.costs.gamma,
};

const $ = (id) => document.getElementById(id);

function findAlgorithm(name) {
  return DATA.algorithms.findIndex((algorithm) => algorithm.name === name);
}

// The fragment: #a=ring&b=tree&p=8&o=4&step=5&t=0.5&mode=time&n=1048576&theme=dark&table=1
function readFragment() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const number = (key, low, high, fallback) => {
    const value = Number(asked.get(key));
    return asked.has(key) && Number.isFinite(value) ? Math.min(high, Math.max(low, value)) : fallback;
  };
  if (findAlgorithm(asked.get("a")) >= 0) view.a = findAlgorithm(asked.get("a"));
  if (asked.has("b")) view.b = findAlgorithm(asked.get("b"));
  view.p = Math.round(number("p", ...DATA.sizes, view.p));
  view.bytes = number("n", 1, 2 ** 40, view.bytes);
  view.alpha = number("alpha", 0, 1e3, view.alpha);
  view.beta = number("beta", 0, 1e3, view.beta);
  view.gamma = number("gamma", 0, 1e3, view.gamma);
  view.speed = number("speed", LOWEST_SPEED, HIGHEST_SPEED, view.speed);
  if (["round", "time", "measured"].includes(asked.get("mode"))) view.mode = asked.get("mode");
  for (const [key, panel] of [["o", view.a], ["ob", view.b]]) {
    if (asked.has(key) && panel >= 0) view.options[panel] = Number(asked.get(key));
  }
  if (asked.has("theme")) setTheme(asked.get("theme"));
  if (asked.get("table") === "1") $("tables").open = true;
  return { step: number("step", 0, 1e9, 0), part: number("t", 0, 1, 0) };
}

function writeFragment(step) {
  const text = new URLSearchParams({ a: DATA.algorithms[view.a].name, p: view.p, step, mode: view.mode });
  if (view.b >= 0) text.set("b", DATA.algorithms[view.b].name);
  if (view.a in view.options) text.set("o", view.options[view.a]);
  if (view.b in view.options) text.set("ob", view.options[view.b]);
  text.set("n", view.bytes);
  try {
    history.replaceState(null, "", `#${text}`);
  } catch {
    // some viewers of local files do not allow it; the page works without
  }
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  readTheme();
}

function fillChoices() {
  const groups = new Map();
  DATA.algorithms.forEach((algorithm, i) => {
    if (!groups.has(algorithm.collective)) groups.set(algorithm.collective, []);
    groups.get(algorithm.collective).push([algorithm.name, i]);
  });
  for (const id of ["a", "b"]) {
    if (id === "b") $(id).add(new Option("nothing", -1));
    for (const [collective, members] of groups) {
      const group = document.createElement("optgroup");
      group.label = collective;
      members.forEach(([name, i]) => group.append(new Option(name, i)));
      $(id).append(group);
    }
  }
  [$("p").min, $("p").max] = DATA.sizes;
}

function showControls() {
  $("a").value = view.a;
  $("b").value = view.b;
  $("p").value = view.p;
  $("p-out").textContent = view.p;
  $("n").value = Math.round(Math.log2(view.bytes));
  $("n-out").textContent = formatBytes(view.bytes);
  const show = (id, value) => { if (document.activeElement !== $(id)) $(id).value = value; };
  show("alpha", Number((view.alpha * 1e6).toPrecision(6)));
  show("beta", view.beta ? Number((1e-9 / view.beta).toPrecision(6)) : "");
  show("gamma", view.gamma ? Number((1e-9 / view.gamma).toPrecision(6)) : "");
  $("speed-out").textContent = `${view.speed}×`;
  for (const radio of document.getElementsByName("mode")) radio.checked = radio.value === view.mode;
}

// `changed` rebuilds the panels; `restart` tells that the step counts from the start again.
function listenToControls(changed) {
  const set = (id, event, apply, restart) => $(id).addEventListener(event, () => { apply($(id).value); changed(restart); });
  set("a", "change", (v) => { view.a = Number(v); }, true);
  set("b", "change", (v) => { view.b = Number(v); }, true);
  set("p", "input", (v) => { view.p = Number(v); }, true);
  set("n", "input", (v) => { view.bytes = 2 ** Number(v); }, false);
  set("alpha", "input", (v) => { view.alpha = Math.max(0, Number(v)) * 1e-6; }, false);
  set("beta", "input", (v) => { view.beta = Number(v) > 0 ? 1e-9 / Number(v) : 0; }, false);
  set("gamma", "input", (v) => { view.gamma = Number(v) > 0 ? 1e-9 / Number(v) : 0; }, false);
  for (const radio of document.getElementsByName("mode")) {
    radio.addEventListener("change", () => { view.mode = radio.value; changed(false); });
  }
}
