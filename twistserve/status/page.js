"use strict";
// Fetches the page anew and replaces the sections that differ; nothing here is needed to read it.
const EVERY = 2000;
const PATIENCE = 5000;
const notice = document.getElementById("notice");
let answeredAt = Date.now();

function say(text, kind) {
  notice.hidden = !text;
  notice.className = kind || "";
  if (notice.textContent !== text) notice.textContent = text;
}

function selecting() {
  const selection = getSelection();
  return !selection.isCollapsed && document.querySelector("main").contains(selection.anchorNode);
}

function show(fresh) {
  const style = (page) => page.querySelector("style").textContent + page.querySelector("script").textContent;
  if (style(fresh) !== style(document)) return location.reload();
  document.title = fresh.title;
  document.querySelector("link[rel=icon]").href = fresh.querySelector("link[rel=icon]").href;
  for (const details of document.querySelectorAll("details[open]")) {
    fresh.getElementById(details.id)?.setAttribute("open", "");
  }
  const ids = (page) => Array.from(page.querySelectorAll("main > section"), (section) => section.id).join();
  if (ids(fresh) !== ids(document)) {
    document.querySelector("main").replaceWith(fresh.querySelector("main"));
    return;
  }
  for (const section of fresh.querySelectorAll("main > section")) {
    const shown = document.getElementById(section.id);
    if (!shown.isEqualNode(section)) shown.replaceWith(section);
  }
}

async function refresh() {
  if (document.hidden) return;
  if (selecting()) return say("Paused while text is selected.", "paused");
  try {
    const reply = await fetch(location.pathname, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!reply.ok) throw new Error(`status ${reply.status}`);
    const text = await reply.text();
    answeredAt = Date.now();
    if (selecting()) return;
    show(new DOMParser().parseFromString(text, "text/html"));
    say("");
  } catch {
    const seconds = Math.round((Date.now() - answeredAt) / 1000);
    say(`No answer. What you see is ${seconds} s old; asking again every ${EVERY / 1000} s.`);
    document.title = `No answer: ${document.title.replace(/^No answer: /, "")}`;
  }
}

async function follow() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, EVERY));
    await refresh();
  }
}

document.addEventListener("visibilitychange", refresh);
follow();
