// Fetch the sections again every other second, and show them where they have changed; folded parts stay as they are.
"use strict";
(() => {
const PAUSE = 2000, MOST = 30000;
const content = document.getElementById("content"), live = document.getElementById("live");
let tag = "", pause = PAUSE;

function openParts() {
  return new Set([...content.querySelectorAll("details[open] > summary")].map(part => part.textContent));
}

function show(text) {
  const open = openParts(), focused = document.activeElement, label = focused && focused.getAttribute("aria-label");
  content.innerHTML = text;
  for (const part of content.querySelectorAll("details > summary")) part.parentNode.open = open.has(part.textContent);
  if (label) [...content.querySelectorAll("[aria-label]")].find(part => part.getAttribute("aria-label") === label)?.focus();
}

async function refresh() {
  try {
    const answer = await fetch("content" + location.search, { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
    if (answer.status === 200) {
      show(await answer.text());
      tag = answer.headers.get("ETag") || "";
    } else if (answer.status !== 304) throw new Error(answer.status);
    pause = PAUSE;
    say("");
  } catch (error) {
    pause = Math.min(MOST, 2 * pause);
    say("mpitrain watch does not answer: this is the last that was read.");
  }
  setTimeout(refresh, pause);
}

function say(text) {
  if (live.textContent !== text) live.textContent = text;
}

refresh();
})();
