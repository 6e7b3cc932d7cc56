// Reads a graph out: time and watts at the pointer, by touch, or by the arrow keys, over the picture that the server
// drew. Its address with /data in place of /graph gives the values and where the plot is in the picture.

import { moment, power } from "./locale.js";

const STEPS = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
const KEPT = 60_000; // ms for which values are good, unless the picture is drawn anew

/** Let every graph be read out, also those that come later. */
export function readOut(page) {
  const readers = new WeakMap();

  function prepare(root) {
    for (const graph of root.querySelectorAll(".graph:not([role])")) {
      const words = graph.querySelector("img").alt;
      graph.tabIndex = 0;
      graph.setAttribute("role", "slider");
      graph.setAttribute("aria-label", page.words.read_out.replace("{name}", words));
      graph.setAttribute("aria-valuemin", 0);
      graph.setAttribute("aria-valuemax", 0);
      graph.setAttribute("aria-valuenow", 0);
      graph.setAttribute("aria-valuetext", "");
    }
  }

  function reader(event) {
    const graph = event.target.closest?.(".graph");
    if (!graph) return null;
    if (!readers.has(graph)) readers.set(graph, new Reader(graph));
    return readers.get(graph);
  }

  prepare(document);
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) {
      for (const node of addedNodes) if (node instanceof Element) prepare(node);
    }
  }).observe(document.getElementById("main"), { childList: true, subtree: true });
  document.addEventListener("pointermove", (event) => reader(event)?.point(event.clientX));
  document.addEventListener("pointerdown", (event) => reader(event)?.point(event.clientX));
  document.addEventListener("pointerout", (event) => {
    const graph = event.target.closest?.(".graph");
    if (graph && !graph.contains(event.relatedTarget) && graph !== document.activeElement) readers.get(graph)?.hide();
  });
  document.addEventListener("focusin", (event) => {
    if (event.target.matches?.(".graph:focus-visible")) reader(event).step(0);
  });
  document.addEventListener("focusout", (event) => readers.get(event.target)?.hide());
  document.addEventListener("redrawn", (event) => readers.get(event.target)?.renew(), true);
  document.addEventListener("keydown", (event) => {
    if (!event.target.matches?.(".graph") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return reader(event).hide();
    const step = STEPS[event.key] ?? { Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    reader(event).step(step);
  });
}

class Reader {
  constructor(graph) {
    this.graph = graph;
    this.picture = graph.querySelector("picture img");
    this.cross = part("cross");
    this.spot = part("point");
    this.told = part("told");
    this.time = null; // Unix seconds that are read out; null: nothing is
    this.values = null;
    this.askedAt = -Infinity;
  }

  async point(clientX) {
    this.at = clientX;
    await this.load();
    if (!this.values || this.at !== clientX) return;
    const { left, width, start, end } = this.plot();
    const share = (clientX - this.graph.getBoundingClientRect().left - left) / width;
    if (share < -0.02 || share > 1.02) return this.hide();
    this.tell(this.nearest(start + share * (end - start)));
  }

  /** Read the row so many rows further. */
  async step(rows) {
    await this.load();
    if (!this.values) return;
    const last = this.values.rows.length - 1;
    const from = this.time === null ? last : this.nearest(this.time);
    this.tell(Math.min(Math.max(from + rows, 0), last));
  }

  hide() {
    this.time = null;
    this.at = null;
    for (const element of [this.cross, this.spot, this.told]) element.remove();
  }

  /** The picture is a new one: so are its values, where they are being read. */
  async renew() {
    this.askedAt = -Infinity;
    if (this.time === null) return;
    const time = this.time;
    await this.load();
    if (this.values && this.time === time) this.tell(this.nearest(time));
  }

  load() {
    if (performance.now() - this.askedAt > KEPT) {
      this.askedAt = performance.now();
      this.loading = this.fetch();
    }
    return this.loading;
  }

  async fetch() {
    const address = new URL(this.picture.currentSrc || this.picture.src);
    address.pathname = address.pathname.replace("/graph/", "/data/").replace(/\.png$/, "/");
    for (const key of ["dark", "zoom"]) address.searchParams.delete(key);
    try {
      const response = await fetch(address);
      if (!response.ok) return;
      const values = await response.json();
      if (!values.plot || !values.rows.length) return;
      this.values = values;
      this.wide = Number(address.searchParams.get("width"));
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // nobody answers
      this.askedAt = -Infinity;
    }
  }

  /** Where the plot is, in pixels of the page from the graph's corner. */
  plot() {
    const { plot } = this.values;
    const box = this.picture.getBoundingClientRect();
    const corner = this.graph.getBoundingClientRect();
    const scale = box.width / this.wide;
    return {
      ...plot,
      left: box.left - corner.left + plot.left * scale,
      top: box.top - corner.top + plot.top * scale,
      width: plot.width * scale,
      height: plot.height * scale,
    };
  }

  /** The number of the row that holds a time; a row's own time is its end. */
  nearest(time) {
    const { rows, step } = this.values;
    const index = Math.ceil((time - rows[0][0]) / step);
    return Math.min(Math.max(index, 0), rows.length - 1);
  }

  tell(index) {
    const { rows, step } = this.values;
    const [time, watts, minimum, maximum] = rows[index];
    const { left, top, width, height, start, end, lower, upper } = this.plot();
    const middle = time - step / 2;
    const x = left + ((middle - start) / (end - start)) * width;
    const range = step > 1 && watts !== null && maximum > minimum ? ` (${power(minimum)} – ${power(maximum)})` : "";
    const text = `${moment(time)} · ${power(watts)}${range}`;
    this.time = time;
    this.graph.setAttribute("aria-valuemax", rows.length - 1);
    this.graph.setAttribute("aria-valuenow", index);
    this.graph.setAttribute("aria-valuetext", text);
    this.told.textContent = text;
    this.graph.append(this.cross, this.told);
    place(this.cross, { left: x, top, height });
    if (watts === null) this.spot.remove();
    else {
      this.graph.append(this.spot);
      place(this.spot, { left: x, top: top + (1 - (watts - lower) / (upper - lower)) * height });
    }
    const free = this.graph.clientWidth - this.told.offsetWidth;
    place(this.told, { left: Math.min(Math.max(x - this.told.offsetWidth / 2, 0), free) });
  }
}

function part(name) {
  const element = document.createElement("div");
  element.className = name;
  element.setAttribute("aria-hidden", "true");
  return element;
}

function place(element, measures) {
  for (const [key, value] of Object.entries(measures)) element.style[key] = `${value}px`;
}
