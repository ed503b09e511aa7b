// The stage: a row for each rank, a column for each chunk, and the messages on their way from row to row.

class Stage {
  constructor(canvas) {
    this.canvas = canvas;
  }

  lay(width, height, play) {
    const g = { left: 74, top: play.buffers > 1 ? 52 : 34, arcs: Math.min(140, Math.max(70, width * 0.14)) };
    const groups = play.buffers;
    g.gap = groups > 1 ? 16 : 0;
    const room = width - g.left - g.arcs - g.gap * (groups - 1);
    g.w = Math.min(210, room / play.numChunks);
    g.h = Math.min(128, (height - g.top - 6) / play.size);
    g.pad = g.w > 40 ? 4 : g.w > 16 ? 2 : 0.75;
    g.padY = g.h > 30 ? 3.5 : 2;
    const used = g.left + g.w * play.numChunks + g.gap * (groups - 1) + g.arcs;
    g.left += Math.max(0, (width - used) / 2);
    g.top += Math.max(0, (height - g.top - g.h * play.size) / 2 - 8);
    const perGroup = play.numChunks / groups;
    g.x = (chunk) => g.left + chunk * g.w + Math.floor(chunk / perGroup) * g.gap;
    g.y = (rank) => g.top + rank * g.h;
    g.right = g.x(play.numChunks - 1) + g.w;
    return g;
  }

  draw(play, now, last) {
    const { ctx, width, height } = prepare(this.canvas);
    if (!play.numChunks) return;
    const g = this.lay(width, height, play);
    const flying = play.flying(now);
    const shown = flying.length ? flying : play.arrived(last, now);
    this.head(ctx, g, play);
    for (let rank = 0; rank < play.size; rank++) this.row(ctx, g, play, rank);
    this.ends(ctx, g, shown, flying.length > 0);
    for (const m of shown) this.arc(ctx, g, m, flying.length ? this.share(m, now) : 1);
    for (const m of flying) this.packet(ctx, g, play, m, this.share(m, now));
  }

  share(m, now) {
    const t = (now - m.start) / (m.end - m.start);
    return t * t * (3 - 2 * t);
  }

  head(ctx, g, play) {
    const per = play.numChunks / play.buffers;
    const size = Math.min(17, Math.max(11, g.w * 0.45));
    const every = 2 ** Math.max(0, Math.ceil(Math.log2((textWidth(ctx, `${per - 1}`, size) + 8) / g.w)));
    for (let c = 0; c < play.numChunks; c++) {
      if ((c % per) % every === 0) text(ctx, `${c % per}`, g.x(c) + g.w / 2, g.top - 12, size, { color: theme.soft });
    }
    text(ctx, "chunk", g.left - 10, g.top - 12, 14, { color: theme.soft, align: "right" });
    const names = play.buffers > 1 ? ["to send to", "arrived from", "on the way"] : [];
    names.slice(0, play.buffers).forEach((name, i) => {
      text(ctx, name, g.x(i * per), g.top - 30, 14, { color: theme.soft, align: "left" });
    });
  }

  row(ctx, g, play, rank) {
    const y = g.y(rank);
    const size = Math.min(30, g.h - 6);
    ctx.fillStyle = fillOf(ctx, rank);
    box(ctx, g.left - 12 - size * 1.25, y + (g.h - size) / 2, size * 1.25, size, 7);
    ctx.fill();
    const hatched = rank >= DATA.colors.ranks.length;
    if (hatched) {
      ctx.fillStyle = theme.panel;
      ctx.fillRect(g.left - 12 - size * 1.07, y + (g.h - size) / 2 + 1, size * 0.89, size - 2);
    }
    const ink = hatched ? theme.text : inkOn(rank);
    text(ctx, `${rank}`, g.left - 12 - size * 0.625, y + g.h / 2 + 1, size * 0.62, { color: ink, weight: 700 });
    const over = play.progress.messages === play.messages.length;
    for (let c = 0; c < play.numChunks; c++) {
      const done = play.finish[rank][c];
      const set = play.state[rank][c];
      const [x, w, h] = [g.x(c) + g.pad / 2, g.w - g.pad, g.h - g.padY * 2];
      this.cell(ctx, play, x, y + g.padY, w, h, set, done !== null && set === done);
      if (over && done !== null && set !== done) this.cross(ctx, x, y + g.padY, w, h);
    }
  }

  // A chunk: a slot for each rank, filled where its contribution is in; and the same as a number.
  cell(ctx, play, x, y, w, h, set, done) {
    const many = set.members.length;
    box(ctx, x, y, w, h, 5);
    ctx.fillStyle = many ? theme.cell : theme.panel;
    ctx.fill();
    const labelled = w >= 26 && h >= 34;
    const label = labelled ? Math.min(24, h * 0.42) : 0;
    ctx.save();
    box(ctx, x, y, w, h, 5);
    ctx.clip();
    this.slots(ctx, play, x, y, w, h - label, set);
    ctx.restore();
    if (labelled && many) {
      const size = Math.min(19, label * 0.8);
      const weight = done ? 700 : 500;
      const name = textWidth(ctx, set.name, size * 0.8, weight) > w - 6 ? `#${many}` : set.name;
      text(ctx, name, x + w / 2, y + h - label / 2, size, { weight, most: w - 4 });
    }
    box(ctx, x, y, w, h, 5);
    ctx.lineWidth = done && w > 8 ? 2.5 : 1;
    ctx.strokeStyle = done && w > 8 ? theme.done : theme.line;
    if (!many) ctx.setLineDash([3, 3]);
    ctx.stroke();
    ctx.setLineDash([]);
  }

  // A chunk that is not what it should be when all is over.
  cross(ctx, x, y, w, h) {
    ctx.strokeStyle = theme.wrong;
    ctx.lineWidth = 4;
    box(ctx, x, y, w, h, 5);
    ctx.stroke();
    const r = Math.min(w, h) * 0.16;
    const [cx, cy] = [x + w - r * 2, y + h - r * 2];
    ctx.beginPath();
    for (const s of [-1, 1]) {
      ctx.moveTo(cx - r, cy - r * s);
      ctx.lineTo(cx + r, cy + r * s);
    }
    ctx.stroke();
  }

  slots(ctx, play, x, y, w, h, set) {
    const { size } = play;
    if (play.pairs) {
      const share = w / Math.max(1, set.members.length);
      set.members.forEach((m, i) => {
        ctx.fillStyle = fillOf(ctx, Math.floor(m / size));
        ctx.fillRect(x + i * share, y, share, h);
      });
      return;
    }
    const slot = w / size;
    if (slot < 1.6) {
      if (!set.members.length) return;
      ctx.fillStyle = set.members.length === 1 ? fillOf(ctx, set.members[0]) : theme.accent;
      const part = set.members.length === 1 ? 0.25 : set.members.length / size;
      ctx.fillRect(x, y + h * (1 - part), w, h * part);
      return;
    }
    const seam = slot > 5 ? 1 : 0;
    for (const m of set.members) {
      ctx.fillStyle = fillOf(ctx, m);
      ctx.fillRect(x + m * slot, y, slot - seam, h);
    }
  }

  // Frames around what is sent and where it goes (or has just gone).
  ends(ctx, g, messages, flying) {
    ctx.lineWidth = 3;
    for (const m of messages) {
      ctx.strokeStyle = m.reduce ? theme.reduce : theme.copy;
      const frame = (rank, chunks, dash) => {
        ctx.setLineDash(dash);
        for (const [a, b] of runsOf(chunks)) {
          const x = g.x(a) + g.pad / 2 - 1.5;
          box(ctx, x, g.y(rank) + g.padY - 1.5, g.x(b) + g.w - g.pad / 2 + 1.5 - x, g.h - g.padY * 2 + 3, 6);
          ctx.stroke();
        }
      };
      if (flying) frame(m.from, m.sent, [2, 4]);
      frame(m.to, m.received, []);
    }
    ctx.setLineDash([]);
  }

  // Who sends to whom, to the right of the table.
  arc(ctx, g, m, share) {
    const [x, y0, y1] = [g.right + 14, g.y(m.from) + g.h * 0.34, g.y(m.to) + g.h * 0.66];
    const apart = Math.abs(m.to - m.from);
    const far = x + Math.min(g.arcs - 24, 14 + 22 * Math.sqrt(apart));
    const [a, b] = m.to > m.from ? [y0, y1] : [g.y(m.from) + g.h * 0.66, g.y(m.to) + g.h * 0.34];
    ctx.strokeStyle = m.reduce ? theme.reduce : theme.copy;
    ctx.lineWidth = 2.5;
    if (!m.reduce) ctx.setLineDash([7, 4]);
    ctx.beginPath();
    ctx.moveTo(x, a);
    ctx.bezierCurveTo(far, a, far, b, x + 6, b);
    ctx.stroke();
    ctx.setLineDash([]);
    mark(ctx, x + (m.reduce ? 3 : -2), b, Math.PI, m.reduce, Math.min(9, g.h * 0.3));
    if (share >= 1) return;
    const [s, r] = [1 - share, share];
    const px = s ** 3 * x + 3 * s * s * r * far + 3 * s * r * r * far + r ** 3 * x;
    const py = s ** 3 * a + 3 * s * s * r * a + 3 * s * r * r * b + r ** 3 * b;
    ctx.fillStyle = theme.text;
    ctx.beginPath();
    ctx.arc(px, py, 5, 0, 2 * Math.PI);
    ctx.fill();
  }

  // The chunks on their way; down on the right, up on the left, so that an exchange can be seen.
  packet(ctx, g, play, m, share) {
    const y = g.y(m.from) + (g.y(m.to) - g.y(m.from)) * share;
    const bend = Math.sin(Math.PI * share) * Math.min(14, g.w * 0.22) * (m.to > m.from ? 1 : -1);
    ctx.save();
    ctx.globalAlpha = 0.94;
    m.payload.forEach((set, i) => {
      const from = g.x(m.sent[i]);
      const x = from + (g.x(m.received[i]) - from) * share + bend + g.pad;
      const [w, h] = [g.w - g.pad * 2, g.h - g.padY * 2 - 6];
      ctx.shadowColor = "rgba(0,0,0,.55)";
      ctx.shadowBlur = g.w > 20 ? 10 : 0;
      ctx.shadowOffsetY = 3;
      box(ctx, x, y + g.padY + 3, w, h, 5);
      ctx.fillStyle = theme.cell;
      ctx.fill();
      ctx.shadowColor = "transparent";
      this.cell(ctx, play, x, y + g.padY + 3, w, h, set, false);
      box(ctx, x, y + g.padY + 3, w, h, 5);
      ctx.lineWidth = g.w > 20 ? 2.5 : 1;
      ctx.strokeStyle = m.reduce ? theme.reduce : theme.copy;
      ctx.stroke();
    });
    ctx.restore();
  }
}
