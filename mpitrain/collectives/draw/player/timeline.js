// Space and time: a line for each rank, an arrow for each message, and the moment that is shown.
// With a trace, boxes under each line are the steps as they were measured.

class Timeline {
  constructor(canvas) {
    this.canvas = canvas;
    this.onseek = () => {};
    canvas.addEventListener("pointerdown", (e) => { canvas.setPointerCapture(e.pointerId); this.point(e); });
    canvas.addEventListener("pointermove", (e) => { if (e.buttons) this.point(e); });
  }

  point(event) {
    if (!this.span) return;
    const x = event.clientX - this.canvas.getBoundingClientRect().left;
    this.onseek(Math.max(0, Math.min(1, (x - this.left) / this.span)) * this.length);
  }

  draw(play, now, length, mode, trace) {
    const { ctx, width, height } = prepare(this.canvas);
    this.left = 44;
    this.traced = trace !== null;
    this.span = width - this.left - 24;
    this.length = length;
    const [top, bottom] = [10, height - 26];
    const lane = (bottom - top) / play.size;
    const x = (t) => this.left + (length ? t / length : 0) * this.span;
    const y = (rank) => top + (rank + (trace ? 0.3 : 0.5)) * lane;
    this.axis(ctx, x, bottom, length, mode, width);
    if (trace) text(ctx, this.legend(trace), width - 26, bottom + 14, 14, { align: "right", color: theme.soft });
    for (let rank = 0; rank < play.size; rank++) {
      ctx.strokeStyle = theme.line;
      ctx.lineWidth = 1.5;
      ctx.beginPath();
      ctx.moveTo(this.left, y(rank));
      ctx.lineTo(x(mode === "round" || trace ? length : play.length), y(rank));
      ctx.stroke();
      const size = Math.min(15, Math.max(11, lane - 1));
      if (rank % Math.ceil(10 / lane) === 0) text(ctx, `${rank}`, this.left - 10, y(rank), size, { align: "right", color: theme.soft });
    }
    if (trace) this.measured(ctx, x, y, lane, trace, now, mode);
    const size = Math.min(8, Math.max(2.5, lane * 0.28));
    const dense = play.messages.length > 700;
    for (const m of play.messages) this.message(ctx, x, y, m, now, mode, dense ? 0 : size);
    ctx.strokeStyle = theme.text;
    ctx.lineWidth = 2;
    ctx.beginPath();
    ctx.moveTo(x(now), top - 6);
    ctx.lineTo(x(now), bottom + 2);
    ctx.stroke();
    ctx.fillStyle = theme.text;
    arrowHead(ctx, x(now), top + 2, Math.PI / 2, 11);
  }

  legend(trace) {
    const clocks = trace.clock_error ? ` (clocks agree to ${formatSeconds(trace.clock_error)})` : "";
    return `arrows: predicted   boxes: steps as measured${clocks}`;
  }

  message(ctx, x, y, m, now, mode, size) {
    const [start, end] = mode === "round" ? [m.round - 1, m.round] : [m.begin, m.arrive.at];
    const over = mode === "measured" ? m.measured.end <= now + EPSILON : end <= now + EPSILON;
    const busy = mode === "measured" ? m.measured.begin < now && !over : start < now - EPSILON && !over;
    const inset = mode === "round" ? 0.12 * (x(1) - x(0)) : 0;
    const [x0, y0, x1, y1] = [x(start) + inset, y(m.from), x(end) - inset, y(m.to)];
    ctx.globalAlpha = over || busy ? 1 : 0.28;
    ctx.strokeStyle = m.reduce ? theme.reduce : theme.copy;
    ctx.lineWidth = busy ? 3.5 : 1.6;
    if (!m.reduce) ctx.setLineDash([5, 3]);
    ctx.beginPath();
    ctx.moveTo(x0, y0);
    ctx.lineTo(x1, y1);
    ctx.stroke();
    ctx.setLineDash([]);
    if (size) mark(ctx, x1, y1, Math.atan2(y1 - y0, x1 - x0), m.reduce, size);
    ctx.globalAlpha = 1;
  }

  measured(ctx, x, y, lane, trace, now, mode) {
    for (const [rank, step, start, end] of trace.events) {
      const over = mode !== "measured" || end <= now + EPSILON;
      const [left, w] = [x(start), Math.max(1.5, x(end) - x(start) - 1)];
      const [top, h] = [y(rank) + lane * 0.2, lane * 0.4];
      box(ctx, left, top, w, h, 4);
      ctx.globalAlpha = over ? 0.5 : 0.16;
      ctx.fillStyle = theme.accent;
      ctx.fill();
      ctx.globalAlpha = 1;
      ctx.strokeStyle = theme.accent;
      ctx.lineWidth = over ? 1.8 : 0.8;
      ctx.stroke();
      if (w > 22 && h > 11) text(ctx, `${step + 1}`, left + w / 2, top + h / 2 + 1, Math.min(14, h - 2));
    }
  }

  axis(ctx, x, bottom, length, mode, width) {
    const free = this.traced ? width - 540 : width;
    const rough = length / Math.max(2, width / 130);
    const power = 10 ** Math.floor(Math.log10(rough || 1));
    let tick = [1, 2, 5, 10].map((f) => f * power).find((t) => t >= rough) || 1;
    if (mode === "round") tick = Math.max(1, Math.round(tick));
    for (let t = 0; t <= length * 1.0001; t += tick) {
      ctx.strokeStyle = theme.line;
      ctx.lineWidth = 1;
      ctx.beginPath();
      ctx.moveTo(x(t), 4);
      ctx.lineTo(x(t), bottom);
      ctx.stroke();
      const label = mode === "round" ? `${t}` : formatSeconds(t);
      if (x(t) < free) text(ctx, t === 0 && mode === "round" ? "start" : label, x(t), bottom + 14, 14, { color: theme.soft });
      if (!length) break;
    }
  }
}
