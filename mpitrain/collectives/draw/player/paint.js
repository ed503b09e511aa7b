// Canvas helpers shared by the stage and the timeline.

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
const theme = {};

function readTheme() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["bg", "panel", "cell", "slot", "line", "text", "soft", "accent", "reduce", "copy", "done", "wrong"]) {
    theme[name] = style.getPropertyValue(`--${name}`).trim();
  }
  hatches.clear();
}

// A canvas as large as its box, in device pixels; returns the context in CSS pixels.
function prepare(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const ctx = canvas.getContext("2d");
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  return { ctx, width, height };
}

const hatches = new Map();

// The color of a rank's contribution; from the ninth on with stripes.
function fillOf(ctx, rank) {
  const colors = DATA.colors.ranks;
  const color = colors[rank % colors.length];
  if (Math.floor(rank / colors.length) % 2 === 0) return color;
  if (!hatches.has(color)) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 8;
    const t = tile.getContext("2d");
    t.fillStyle = color;
    t.fillRect(0, 0, 8, 8);
    t.strokeStyle = theme.text;
    t.lineWidth = 1.6;
    t.beginPath();
    for (const x of [-8, 0, 8]) { t.moveTo(x, 8); t.lineTo(x + 8, 0); }
    t.stroke();
    hatches.set(color, ctx.createPattern(tile, "repeat"));
  }
  return hatches.get(color);
}

function inkOn(rank) {
  const hex = DATA.colors.ranks[rank % DATA.colors.ranks.length];
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#000" : "#fff";
}

function text(ctx, content, x, y, size, { color = theme.text, align = "center", weight = 500, most = 1e9 } = {}) {
  ctx.font = `${weight} ${size}px ${FONT}`;
  ctx.fillStyle = color;
  ctx.textAlign = align;
  ctx.textBaseline = "middle";
  ctx.fillText(content, x, y, most);
}

function textWidth(ctx, content, size, weight = 500) {
  ctx.font = `${weight} ${size}px ${FONT}`;
  return ctx.measureText(content).width;
}

function box(ctx, x, y, w, h, r) {
  ctx.beginPath();
  ctx.roundRect(x, y, w, h, Math.max(0, Math.min(r, w / 5, h / 3)));
}

function arrowHead(ctx, x, y, angle, size) {
  ctx.beginPath();
  ctx.moveTo(x, y);
  ctx.lineTo(x - size * Math.cos(angle - 0.45), y - size * Math.sin(angle - 0.45));
  ctx.lineTo(x - size * Math.cos(angle + 0.45), y - size * Math.sin(angle + 0.45));
  ctx.closePath();
  ctx.fill();
}

// The mark of a reduction: a plus in a disc; of a copy: an arrow head. Shape and color say the same.
function mark(ctx, x, y, angle, reduce, size) {
  ctx.fillStyle = reduce ? theme.reduce : theme.copy;
  if (!reduce) return arrowHead(ctx, x, y, angle, size * 1.5);
  ctx.beginPath();
  ctx.arc(x, y, size * 0.78, 0, 2 * Math.PI);
  ctx.fill();
  ctx.strokeStyle = theme.panel;
  ctx.lineWidth = Math.max(1.2, size * 0.22);
  ctx.beginPath();
  ctx.moveTo(x - size * 0.45, y);
  ctx.lineTo(x + size * 0.45, y);
  ctx.moveTo(x, y - size * 0.45);
  ctx.lineTo(x, y + size * 0.45);
  ctx.stroke();
}
