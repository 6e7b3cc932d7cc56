// Keeps the numbers, the states and the graphs on the screen new, and stops while nobody looks.

import { moment, power, timeOfDay } from "./locale.js";

const NEAR = "300px"; // around the window, so that what is scrolled to is new already

/** What keeps a page live: ``start()``, ``watch()`` after its elements have changed, ``now()`` to ask at once. */
export function keepLive(page, viewAgain) {
  const near = new Set(); // probes and graphs on the screen
  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) isIntersecting ? near.add(target) : near.delete(target);
  }, { rootMargin: NEAR });
  const bar = document.querySelector(".live");
  const clock = document.getElementById("clock");
  const status = document.getElementById("status");
  let timer = 0;
  let isAsking = false;
  let answeredAt = Date.now() / 1000;
  let viewedAt = Date.now();

  function watch() {
    observer.disconnect();
    near.clear();
    for (const element of document.querySelectorAll(".probe, .graph")) observer.observe(element);
  }

  async function tick() {
    clearTimeout(timer);
    if (document.hidden) return; // started again by visibilitychange
    timer = setTimeout(tick, page.refresh * 1000);
    if (isAsking) return; // a server that is slow is not asked the more
    isAsking = true;
    try {
      show(await ask());
      await Promise.all([...near].filter((element) => element.matches(".graph")).map(redraw));
    } catch (error) {
      if (!(error instanceof TypeError) && !(error instanceof Refused)) throw error;
      tell(page.words.unanswered.replace("{time}", timeOfDay(answeredAt)));
    } finally {
      isAsking = false;
    }
  }

  async function ask() {
    const names = [...near].map((element) => element.dataset.probe).filter(Boolean);
    const query = new URLSearchParams(page.live.split("?")[1] ?? "");
    for (const name of names) query.append("see", name);
    return (await get(`${page.live.split("?")[0]}?${query}`)).json();
  }

  function show(standing) {
    answeredAt = standing.time;
    clock.textContent = timeOfDay(standing.time);
    bar.hidden = false; // not before, or it would move
    tell("");
    const summary = document.querySelector("#summary > header > .watts");
    if (summary) {
      write(summary, standing.watts);
      const key = standing.counted === 1 ? "measured_one" : "measured";
      change(document.getElementById("measured"), page.words[key]
        .replace("{measured}", standing.measured).replace("{counted}", standing.counted));
    }
    for (const element of document.querySelectorAll("[data-state]")) {
      change(element, String(standing.states[element.dataset.state]));
      element.parentElement.classList.toggle("none", !standing.states[element.dataset.state]);
    }
    for (const element of near) {
      const row = standing.probes[element.dataset.probe];
      if (row) showProbe(element, row);
    }
    if (standing.number !== page.number || Date.now() - viewedAt > page.again * 1000) {
      page.number = standing.number;
      viewedAt = Date.now();
      viewAgain();
    }
  }

  function showProbe(element, row) {
    write(element.querySelector(".watts"), row.watts);
    const state = element.querySelector(".state");
    state.className = `state ${row.state}`;
    change(state, page.words[row.state]);
    let since = element.querySelector(".since");
    if (row.state === "up") return since?.remove();
    if (!since) {
      since = document.createElement("span");
      since.className = "since";
      state.after(" ", since);
    }
    const when = row.timestamp === null
      ? page.words.never_measured : `${page.words.last_measured} ${moment(row.timestamp)}`;
    since.title = row.reason; // a card has no room for all of it
    change(since, row.reason ? `${row.reason}; ${when}` : when);
  }

  function tell(text) {
    change(status, text);
    if (text) bar.hidden = false;
    bar.classList.toggle("lost", text !== "");
  }

  document.addEventListener("visibilitychange", tick);
  window.addEventListener("online", tick);
  // What was drawn anew is of the colours before; the picture below it has all of them.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const image of document.querySelectorAll(".fresh")) image.remove();
    for (const graph of document.querySelectorAll(".graph")) delete graph.dataset.mark;
  });
  return {
    start() {
      watch();
      requestAnimationFrame(tick);
    },
    now: tick,
    watch,
  };
}

class Refused extends Error {}

async function get(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Refused(response.status);
  return response;
}

function change(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function write(element, watts) {
  change(element, power(watts));
  if (watts === null) element.removeAttribute("value");
  else element.value = watts;
}

/** Show a graph's newest picture: it is decoded first and laid over the one before, so that nothing flickers. */
async function redraw(graph) {
  const below = graph.querySelector("picture img");
  const address = below.currentSrc; // light or dark, coarse or fine: the browser has chosen
  if (!address || !below.complete) return;
  const response = await fetch(address); // from the browser's own cache until a newer one can be there
  if (!response.ok) return;
  const mark = `${address} ${response.headers.get("ETag")}`;
  if (graph.dataset.mark === mark) return;
  const image = new Image(below.width, below.height);
  image.className = "fresh";
  image.alt = "";
  const source = URL.createObjectURL(await response.blob());
  image.src = source;
  const isDrawn = await image.decode().then(() => true, () => false);
  URL.revokeObjectURL(source);
  if (!isDrawn || below.currentSrc !== address) return;
  for (const old of graph.querySelectorAll(".fresh")) old.remove();
  graph.querySelector("picture").after(image);
  graph.dataset.mark = mark;
  graph.dispatchEvent(new CustomEvent("redrawn"));
}
