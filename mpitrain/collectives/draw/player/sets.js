// Sets of contributions: one object for each set, so that === compares them.
// `pairs` (all_to_all, halo_exchange): contribution s * size + d is what rank s has for rank d.
class Sets {
  constructor(size, pairs) {
    this.size = size;
    this.pairs = pairs;
    this.known = new Map();
    this.empty = this.of(0n);
  }

  of(bits) {
    let set = this.known.get(bits);
    if (!set) {
      const members = [];
      for (let bit = 0, rest = bits; rest; bit++, rest >>= 1n) if (rest & 1n) members.push(bit);
      set = { bits, members, name: this.name(members) };
      this.known.set(bits, set);
    }
    return set;
  }

  union(a, b) {
    return a === b ? a : this.of(a.bits | b.bits);
  }

  // "0-7,9" as in data.py; "?" is null: whatever
  parse(text) {
    if (text === "?") return null;
    let bits = 0n;
    for (const run of text ? text.split(",") : []) {
      const [first, last = first] = run.split("-").map(Number);
      for (let bit = first; bit <= last; bit++) bits |= 1n << BigInt(bit);
    }
    return this.of(bits);
  }

  // a row of chunks, "0-7*3;2"
  parseRow(text) {
    const row = [];
    for (const part of text.split(";")) {
      const [set, count = "1"] = part.split("*");
      const parsed = this.parse(set);
      for (let i = 0; i < Number(count); i++) row.push(parsed);
    }
    return row;
  }

  parseRows(rows) {
    if (Array.isArray(rows)) return rows.map((row) => this.parseRow(row));
    return Array.from({ length: this.size }, () => this.parseRow(rows));
  }

  // as name_set in names.py
  name(members) {
    if (!members.length) return ".";
    if (this.pairs) return members.map((m) => `${Math.floor(m / this.size)}>${m % this.size}`).join(",");
    const runs = [];
    for (const m of members) {
      const last = runs[runs.length - 1];
      if (last && last[last.length - 1] === m - 1) last.push(m);
      else runs.push([m]);
    }
    const last = runs[runs.length - 1];
    if (runs.length > 1 && runs[0][0] === 0 && last[last.length - 1] === this.size - 1) runs[0] = runs.pop().concat(runs[0]);
    const between = this.size <= 10 ? "" : ",";
    return runs.map((r) => (r.length > 2 ? `${r[0]}-${r[r.length - 1]}` : r.join(between))).join(",");
  }
}
