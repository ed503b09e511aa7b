// Ask the model from a form of its kind of input, and show what it answers. MODEL holds the facts of GET /model.
"use strict";
(() => {
const SIDE = 280, INK = "#fff", PAPER = "#000", WAIT = 150;
const ask = document.getElementById("ask"), answer = document.getElementById("answer");
let asked = 0;

function make(name, attributes, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...content);
  return made;
}

function field(text, input) {
  return make("label", { class: "field" }, make("span", {}, text), input);
}

function button(text, onclick) {
  return make("button", { type: "button", onclick }, text);
}

async function send(path, body, type) {
  const number = ++asked, began = performance.now();
  answer.setAttribute("aria-busy", "true");
  try {
    const reply = await fetch(path + location.search, { method: "POST", body, headers: { "Content-Type": type } });
    const found = await reply.json().catch(() => ({ error: "the answer has status " + reply.status }));
    if (number !== asked) return;  // a later one is under way
    if (found.error) fail(found.error);
    else show(found.predictions, performance.now() - began);
  } catch (error) {
    if (number === asked) fail("mpitrain serve does not answer");
  } finally {
    if (number === asked) answer.removeAttribute("aria-busy");
  }
}

function sendInputs(input) {
  return send("predict", JSON.stringify({ inputs: [input] }), "application/json");
}

function fail(text) {
  answer.replaceChildren(make("h2", {}, "Answer"), make("p", { class: "failed" }, text));
}

function show([prediction], milliseconds) {
  const parts = [make("h2", {}, "Answer")];
  if (prediction.probabilities) {
    parts.push(make("p", { class: "best" }, prediction.class), probabilities(prediction.probabilities));
  } else if (Array.isArray(prediction.class)) parts.push(classMap(prediction.class));
  else parts.push(values(prediction));
  parts.push(make("p", { class: "soft" }, "Answered in " + milliseconds.toFixed(milliseconds < 10 ? 1 : 0) + " ms."));
  answer.replaceChildren(...parts);
}

function probabilities(found) {
  const rows = Object.entries(found).map(([name, share]) => {
    const bar = make("div", { class: "bar", "aria-hidden": "true" }, make("div"));
    bar.firstChild.style.width = 100 * share + "%";
    return make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, bar), make("td", {}, percent(share)));
  });
  return make("div", { class: "scroll" }, make("table", { class: "shares" }, make("tbody", {}, ...rows)));
}

function percent(share) {
  return share > 0 && share < 0.001 ? "< 0.1%" : (100 * share).toFixed(1) + "%";
}

function values(found) {
  const rows = Object.entries(found).map(([name, value]) =>
    make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, String(value))));
  return make("table", {}, make("tbody", {}, ...rows));
}

function classMap(rows) {
  const canvas = make("canvas", { width: rows[0].length, height: rows.length, class: "map", role: "img", "aria-label": "class of each pixel" });
  const context = canvas.getContext("2d"), counts = new Map();
  rows.forEach((row, y) => row.forEach((name, x) => {
    counts.set(name, (counts.get(name) || 0) + 1);
    context.fillStyle = color(name);
    context.fillRect(x, y, 1, 1);
  }));
  const total = rows.length * rows[0].length;
  const legend = [...counts].sort((a, b) => b[1] - a[1]).map(([name, count]) => {
    const swatch = make("canvas", { width: 12, height: 12, "aria-hidden": "true" }), paint = swatch.getContext("2d");
    paint.fillStyle = color(name);
    paint.fillRect(0, 0, 12, 12);
    return make("li", {}, swatch, " class " + name + ": " + percent(count / total));
  });
  return make("div", {}, canvas, make("ul", { class: "legend" }, ...legend));
}

function color(name) {
  const number = Number(name);
  return "hsl(" + (number * 137.5) % 360 + " 65% " + (number ? 55 : 25) + "%)";
}

function image() {
  const [height, width, channels] = MODEL.input_shape, larger = Math.max(height, width);
  const canvas = make("canvas", {
    width: Math.round(SIDE * width / larger), height: Math.round(SIDE * height / larger), class: "paper", tabindex: "0",
    role: "img", "aria-label": "drawing for the model",
  });
  const context = canvas.getContext("2d", { willReadFrequently: true }), line = Math.max(4, SIDE / Math.max(8, Math.min(larger, 28)) * 1.6);
  const small = make("canvas", { width, height, class: "small", role: "img", "aria-label": "the image as the model sees it" });
  const shrunk = small.getContext("2d", { willReadFrequently: true });
  let last = null, timer = 0;

  function clear() {
    context.fillStyle = PAPER;
    context.fillRect(0, 0, canvas.width, canvas.height);
    shrink();
  }

  function shrink() {  // by halves, so that no line gets lost
    let from = canvas;
    while (from.width > 2 * width) {
      const half = make("canvas", { width: Math.ceil(from.width / 2), height: Math.ceil(from.height / 2) });
      half.getContext("2d").drawImage(from, 0, 0, half.width, half.height);
      from = half;
    }
    shrunk.imageSmoothingQuality = "high";
    shrunk.drawImage(from, 0, 0, width, height);
  }

  function predict() {
    shrink();
    const pixels = shrunk.getImageData(0, 0, width, height).data, [least, most] = MODEL.range || [0, 255];
    const scaled = k => {
      const value = least + (most - least) * pixels[k] / 255;
      return MODEL.trained_on === "uint8" ? Math.round(value) : value;
    };
    const rows = Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => {
      const at = 4 * (y * width + x);
      return Array.from({ length: channels }, (_, c) => scaled(at + Math.min(c, 2)));
    }));
    sendInputs(rows);
  }

  function place(event) {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height];
  }

  function draw(event) {
    const [x, y] = place(event), [x0, y0] = last || [x, y];
    context.strokeStyle = INK;
    context.lineWidth = line;
    context.lineCap = "round";
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x, y + 0.01);
    context.stroke();
    last = [x, y];
    clearTimeout(timer);
    timer = setTimeout(predict, WAIT);
  }

  canvas.addEventListener("pointerdown", event => {
    canvas.setPointerCapture(event.pointerId);
    last = null;
    draw(event);
  });
  canvas.addEventListener("pointermove", event => {
    if (last) draw(event);
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { last = null; });

  async function upload(event) {
    const [file] = event.target.files;
    if (!file) return;
    send("predict", file, file.type || "image/png");
    try {
      const bitmap = await createImageBitmap(file);
      context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
      shrink();
    } catch (error) { /* the service says why */ }
    event.target.value = "";
  }

  ask.append(
    make("h2", {}, "Draw, or choose an image"),
    make("div", { class: "drawing" }, canvas, make("figure", {}, small, make("figcaption", { class: "soft" }, width + "x" + height + ", for the model"))),
    make("div", { class: "row" }, button("Clear", () => { clear(); answer.replaceChildren(); asked++; }),
      field("Image file", make("input", { type: "file", accept: "image/*", onchange: upload }))),
  );
  clear();
}

function sound() {
  const choose = event => {
    const [file] = event.target.files;
    if (file) send("predict", file, file.type || "audio/wav");
    event.target.value = "";
  };
  ask.append(make("h2", {}, "Choose a sound"),
    make("div", { class: "row" }, field("Sound file", make("input", { type: "file", accept: "audio/*,.wav,.flac", onchange: choose }))));
}

function table() {
  const columns = MODEL.columns || Array.from({ length: MODEL.input_shape[0] }, (_, k) => ({ name: "column " + k }));
  const inputs = columns.map(column => {
    if (column.values && column.values.length === column.categories) {
      return make("select", {}, make("option", { value: "" }, "(unknown)"), ...column.values.map(value => make("option", {}, String(value))));
    }
    if (column.categories !== undefined) return make("input", { type: "text", placeholder: "a value, or nothing" });
    if (column.date) return make("input", { type: "text", placeholder: "2024-01-31", required: !column.may_miss });
    const known = column.least !== undefined, middle = known ? (column.least + column.most) / 2 : 0;
    const hint = known ? { title: "in training from " + short(column.least) + " to " + short(column.most) } : {};
    return make("input", { type: "number", step: "any", required: !column.may_miss, value: short(middle), ...hint });
  });

  function predict(event) {
    event.preventDefault();
    const row = inputs.map((input, k) => {
      if (input.value === "") return null;
      return input.type === "number" ? Number(input.value) : input.value;
    });
    if (!MODEL.columns) return sendInputs(row);
    return sendInputs(Object.fromEntries(row.map((value, k) => [columns[k].name, value])));
  }

  const form = make("form", { onsubmit: predict }, make("div", { class: "fields" }, ...columns.map((column, k) => field(column.name, inputs[k]))),
    make("div", { class: "row" }, make("button", { type: "submit" }, "Predict")));
  ask.append(make("h2", {}, "Fill in a row"), form);
}

function short(value) {
  return String(Number(value.toPrecision(4)));
}

function text(isTokens) {
  const area = make("textarea", { rows: 5, spellcheck: "false", placeholder: isTokens ? "numbers of tokens, with blanks between" : "a text" });

  function predict(event) {
    event.preventDefault();
    sendInputs(isTokens ? area.value.trim().split(/\s+/).map(Number) : area.value);
  }

  const title = isTokens ? "Type tokens" : "Type a text";
  ask.append(make("h2", {}, title), make("form", { onsubmit: predict }, field(isTokens ? "Tokens" : "Text", area),
    make("div", { class: "row" }, make("button", { type: "submit" }, "Predict"))));
}

function prompt() {
  const area = make("textarea", { rows: 4, spellcheck: "false", placeholder: "the beginning of a text", required: true });
  const tokens = make("input", { type: "number", min: 1, value: 100 }), heat = make("input", { type: "number", min: 0, step: 0.1, value: 0.8 });
  const seed = make("input", { type: "number", min: 0, value: 0 });
  let stop = null;

  async function write(event) {
    event.preventDefault();
    if (stop) stop.abort();
    const mine = stop = new AbortController(), out = make("pre", { class: "text" }), told = make("p", { class: "soft" }, "Writing ...");
    answer.replaceChildren(make("h2", {}, "Text"), out, told);
    out.append(make("b", {}, area.value));
    const body = { prompt: area.value, tokens: Number(tokens.value), temperature: Number(heat.value), seed: Number(seed.value), stream: true };
    try {
      const reply = await fetch("generate" + location.search, {
        method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal: mine.signal,
      });
      if (!reply.ok) return fail((await reply.json()).error);
      const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        for (const line of lines) {
          const found = JSON.parse(line);
          if (found.piece !== undefined) out.append(found.piece);
          else told.textContent = found.error || found.tokens + " tokens" + (found.ended ? ", ended by the model." : ".");
        }
      }
    } catch (error) {
      if (mine.signal.aborted) told.textContent = "Stopped.";
      else fail("mpitrain serve does not answer");
    }
  }

  ask.append(make("h2", {}, "Begin a text"), make("form", { onsubmit: write }, field("Prompt", area),
    make("div", { class: "fields" }, field("Tokens", tokens), field("Temperature", heat), field("Seed", seed)),
    make("div", { class: "row" }, make("button", { type: "submit" }, "Continue"), button("Stop", () => stop && stop.abort()))));
}

({ image, sound, table, text: () => text(false), tokens: () => text(true), prompt })[MODEL.kind]();
document.documentElement.dataset.ready = "1";
})();
