// The chart of a run: a lane for each rank, a box for each task, hatches for idle time, and the moment that is shown.
// With a recorded run every lane has two rows: the prediction, and below it the run.

const hatchings = new Map();

function hatch(ctx, cause) {
  const name = `${cause}${document.documentElement.dataset.theme}`;
  if (!hatchings.has(name)) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 8;
    const t = tile.getContext("2d");
    t.fillStyle = theme.cell;
    t.fillRect(0, 0, 8, 8);
    t.strokeStyle = t.fillStyle = DATA.colors.causes[cause];
    t.lineWidth = 1.8;
    t.beginPath();
    if (cause === "dependency") t.fillRect(3, 3, 2, 2);
    else for (const x of [-8, 0, 8]) {
      if (cause === "imbalance") { t.moveTo(x, 0); t.lineTo(x + 8, 8); }
      else { t.moveTo(x, 8); t.lineTo(x + 8, 0); }
    }
    t.stroke();
    hatchings.set(name, ctx.createPattern(tile, "repeat"));
  }
  return hatchings.get(name);
}

// Color of a task: lighter on the later stages of its rank.
function fillTask(program, task) {
  const own = program.stagesOf[program.rankOf[task.stage]];
  const share = (0.45 * own.indexOf(task.stage)) / Math.max(1, own.length - 1);
  const base = DATA.colors.kinds[task.kind];
  const parts = [1, 3, 5].map((i) => parseInt(base.slice(i, i + 2), 16)).map((v) => Math.round(v + share * (255 - v)));
  return { fill: `rgb(${parts.join(",")})`, ink: share > 0 || task.kind === "B" ? "#10151c" : "#fff" };
}

class Chart {
  constructor(canvas) {
    this.canvas = canvas;
    this.onseek = () => {};
    const point = (e) => {
      const x = e.clientX - canvas.getBoundingClientRect().left;
      if (this.span) this.onseek(Math.max(0, Math.min(1, (x - this.left) / this.span)) * this.length);
    };
    canvas.addEventListener("pointerdown", (e) => { canvas.setPointerCapture(e.pointerId); point(e); });
    canvas.addEventListener("pointermove", (e) => { if (e.buttons) point(e); });
  }

  draw(run, recorded, now, length) {
    const { ctx, width, height } = prepare(this.canvas);
    const { size } = run.program;
    Object.assign(this, { left: 64, length, span: width - 64 - 74 });
    const [top, bottom] = [8, height - 26];
    const lane = (bottom - top) / size;
    const x = (t) => this.left + (length ? t / length : 0) * this.span;
    this.axis(ctx, x, bottom, length);
    const rows = recorded ? [run, recorded] : [run];
    for (let rank = 0; rank < size; rank++) {
      const y = top + rank * lane;
      const h = Math.max(2, (lane * 0.84) / rows.length);
      rows.forEach((one, i) => this.lane(ctx, one, rank, x, y + i * h, h - (recorded ? 1.5 : 0), now));
      const font = Math.min(15, Math.max(10, lane - 2));
      if (rank % Math.ceil(11 / lane)) continue;
      text(ctx, `rank ${rank}`, this.left - 8, y + lane * 0.42, font, { align: "right", color: theme.soft });
      const shown = recorded ?? run;
      const held = `holds ${formatNumber(shown.heldAt(rank, shown.first + now))}`;
      text(ctx, held, width - 4, y + lane * 0.42, Math.min(13, font), { align: "right", color: theme.soft });
    }
    ctx.strokeStyle = theme.text;
    ctx.lineWidth = 2;
    ctx.beginPath();
    ctx.moveTo(x(now), top - 6);
    ctx.lineTo(x(now), bottom + 2);
    ctx.stroke();
  }

  lane(ctx, run, rank, x, y, h, now) {
    const { program, first } = run;
    const place = (begin, end) => [x(begin - first), Math.max(0.5, x(end - first) - x(begin - first) - 0.8)];
    const slack = EPSILON * run.total;
    for (const { begin, end, cause } of run.idle[rank]) {
      const [left, w] = place(begin, end);
      ctx.globalAlpha = begin - first <= now + slack ? 1 : 0.35;
      ctx.fillStyle = hatch(ctx, cause);
      ctx.fillRect(left, y, w, h);
    }
    run.begins[rank].forEach((begin, i) => {
      const [task, end] = [program.tasks[rank][i], run.ends[rank][i]];
      const [left, w] = place(begin, end);
      const { fill, ink } = fillTask(program, task);
      const busy = begin - first <= now + slack && end - first > now + slack;
      ctx.globalAlpha = end - first <= now + slack || busy ? 1 : 0.3;
      box(ctx, left, y, w, h, 3);
      ctx.fillStyle = fill;
      ctx.fill();
      if (busy) {
        ctx.lineWidth = 2.5;
        ctx.strokeStyle = theme.text;
        ctx.stroke();
      }
      const font = Math.min(14, h - 2);
      const name = program.name(task);
      if (font >= 7 && textWidth(ctx, name, font, 700) <= w) {
        text(ctx, name, left + w / 2, y + h / 2 + 1, font, { color: ctx.globalAlpha < 1 ? theme.text : ink, weight: 700 });
      }
    });
    ctx.globalAlpha = 1;
  }

  axis(ctx, x, bottom, length) {
    const rough = length / Math.max(2, this.span / 120);
    const power = 10 ** Math.floor(Math.log10(rough || 1));
    const tick = [1, 2, 5, 10].map((f) => f * power).find((t) => t >= rough) || 1;
    for (let t = 0; t <= length * 1.0001; t += tick) {
      ctx.strokeStyle = theme.line;
      ctx.lineWidth = 1;
      ctx.beginPath();
      ctx.moveTo(x(t), 4);
      ctx.lineTo(x(t), bottom);
      ctx.stroke();
      text(ctx, formatTime(t), x(t), bottom + 14, 14, { color: theme.soft });
      if (!length) break;
    }
  }
}

function formatTime(t) {
  return DATA.seconds ? formatSeconds(t) : formatNumber(t);
}
