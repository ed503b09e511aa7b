// What happens, in words: for the line under the picture, and for screen readers.

function inWords(items) {
  return items.length > 1 ? `${items.slice(0, -1).join(", ")} and ${items[items.length - 1]}` : items.join("");
}

function runsOf(numbers) {
  const runs = [];
  for (const n of numbers) {
    const last = runs[runs.length - 1];
    if (last && last[1] === n - 1) last[1] = n;
    else runs.push([n, n]);
  }
  return runs;
}

function chunkWords(chunks, numChunks) {
  if (chunks.length === numChunks && numChunks > 1) return "all chunks";
  const runs = runsOf(chunks);
  if (runs.length > 4) return `${chunks.length} chunks`;
  const texts = runs.map(([a, b]) => (a === b ? `${a}` : b === a + 1 ? `${a} and ${b}` : `${a} to ${b}`));
  return `${chunks.length === 1 ? "chunk" : "chunks"} ${texts.join(", ")}`;
}

function setWords(set, play) {
  if (!set.members.length) return "nothing";
  if (play.pairs) return set.members.map((m) => `what ${Math.floor(m / play.size)} has for ${m % play.size}`).join(", ");
  if (set.members.length === play.size && play.size > 2) return "the contributions of all ranks";
  const one = set.members.length === 1;
  const runs = set.members.length > 3 ? runsOf(set.members) : set.members.map((m) => [m, m]);
  return `the contribution${one ? "" : "s"} of ${inWords(runs.map(([a, b]) => (a === b ? `${a}` : `${a} to ${b}`)))}`;
}

function messageWords(m, play) {
  const same = m.payload.every((set) => set === m.payload[0]);
  const what = same && m.payload.length ? ` (${setWords(m.payload[0], play)})` : "";
  const it = m.sent.length === 1 ? "it" : "them";
  const then = m.reduce ? `which adds ${it} to its own` : `which keeps ${it}`;
  return `rank ${m.from} sends ${chunkWords(m.sent, play.numChunks)}${what} to rank ${m.to}, ${then}`;
}

// One sentence on all messages of a step.
function patternWords(messages, size) {
  const peers = new Map(messages.map((m) => [m.from, m.to]));
  const distances = new Set(messages.map((m) => (m.to - m.from + size) % size));
  if (size > 2 && messages.length === size && peers.size === size && distances.size === 1) {
    const [d] = distances;
    if (d === 1) return "Every rank sends to its right-hand neighbor";
    if (d === size - 1) return "Every rank sends to its left-hand neighbor";
    if (d * 2 !== size) return `Every rank sends to the rank ${d} further on`;
  }
  const pairs = messages.filter((m) => m.from < m.to && peers.get(m.to) === m.from);
  if (pairs.length && pairs.length * 2 === messages.length) {
    return `Ranks exchange in pairs: ${listed(pairs.map((m) => `${m.from} with ${m.to}`))}`;
  }
  if (messages.length === 1) return "One message";
  return `${messages.length} messages: ${listed(messages.map((m) => `${m.from} to ${m.to}`))}`;
}

function listed(texts, most = 4) {
  return texts.length <= most ? texts.join(", ") : `${texts.slice(0, most).join(", ")} and ${texts.length - most} more`;
}

function stepWords(play, messages) {
  if (!messages.length) return play.progress.messages ? "" : startWords(play);
  const sample = messageWords(messages[0], play);
  if (messages.length === 1) return `${sample[0].toUpperCase()}${sample.slice(1)}.`;
  return `${patternWords(messages, play.size)}. For example, ${sample}.`;
}

function startWords(play) {
  return `Start: ${play.size} ranks, ${play.numChunks} chunks. To achieve: ${play.algorithm.goal}.`;
}

function formatSeconds(s) {
  const [value, unit] = s >= 1 ? [s, "s"] : s >= 1e-3 ? [s * 1e3, "ms"] : [s * 1e6, "µs"];
  return `${formatNumber(value)} ${unit}`;
}

function formatBytes(n) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) [n, i] = [n / 1024, i + 1];
  return `${formatNumber(n)} ${units[i]}`;
}

function formatNumber(x) {
  return String(x >= 100 ? Math.round(x) : Number(x.toPrecision(3)));
}
