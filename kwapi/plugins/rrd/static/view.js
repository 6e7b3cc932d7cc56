// Changes what is shown without loading the page: the server answers the same address as ever, and what is new in its
// answer takes the place of what is old. Cards that stay are kept, with their graphs.

import { translate } from "./locale.js";

const TYPING = 200; // ms after the last key
const LINKS = "#periods a, #views a, #summary .states a, #pager a, .group a, thead a"; // to other views

/** What keeps the view: ``again()`` asks for it anew. */
export function keepView(page, live) {
  const form = document.getElementById("view");
  let asked = 0;
  let typing = 0;
  let choices = 0; // that were made

  /** Show the view of an address. */
  async function show(address, { remember = true } = {}) {
    const turn = ++asked;
    const chosen = choices;
    const wanted = new URL(address, location.href);
    wanted.searchParams.set("count", page.most); // graphs are loaded when they are looked at
    let response;
    try {
      response = await fetch(wanted);
    } catch {
      return; // live says that nobody answers
    }
    if (turn !== asked) return; // somebody wants something else already
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    const told = fresh.getElementById("page");
    if (!response.ok || !told) return;
    if (chosen !== choices) return show(marked(), { remember }); // meanwhile somebody has chosen a probe
    if (!form !== !fresh.getElementById("view")) return location.reload(); // the first probe has come
    Object.assign(page, JSON.parse(told.textContent));
    translate(fresh);
    for (const part of fresh.querySelectorAll("[data-part]")) replace(document.getElementById(part.id), part);
    if (remember) history.replaceState(null, "", withoutCount(page.address));
    if (form) mark();
    live.watch();
    live.now();
  }

  function withoutCount(address) {
    const query = new URLSearchParams(address);
    query.delete("count");
    return `${location.pathname}${query.size ? `?${query}` : ""}`;
  }

  function address() {
    const query = new URLSearchParams();
    for (const [key, value] of new FormData(form)) if (value && key !== "probe") query.append(key, value);
    for (const name of page.chosen) query.append("probe", name);
    return `?${query}`;
  }

  /** The address of all probes, with those chosen marked; of only those where only those are shown. */
  function marked() {
    return address() + (page.chosen.length && !page.only_chosen ? "&choosing=1" : "");
  }

  /** Say how many probes are chosen, and let links to other views know which. */
  function mark() {
    const number = page.chosen.length;
    for (const link of document.querySelectorAll(LINKS)) {
      const address = new URL(link.href);
      for (const key of ["probe", "choosing", "count"]) address.searchParams.delete(key);
      for (const name of page.chosen) address.searchParams.append("probe", name);
      if (number && !page.only_chosen) address.searchParams.set("choosing", 1);
      link.href = address.href;
    }
    document.getElementById("chosen").dataset.number = number;
    document.getElementById("chosen-number").textContent =
      page.words[number === 1 ? "chosen_one" : "chosen_number"].replace("{number}", number);
  }

  if (form) {
    form.addEventListener("input", (event) => {
      if (event.target.name === "probe") return;
      clearTimeout(typing);
      typing = setTimeout(() => show(marked()), event.target.type === "search" ? TYPING : 0);
    });
    document.addEventListener("change", (event) => {
      if (event.target.name !== "probe") return;
      const { value, checked } = event.target;
      page.chosen = page.chosen.filter((name) => name !== value).concat(checked ? [value] : []);
      choices += 1;
      mark();
      if (page.only_chosen) show(address());
      else history.replaceState(null, "", withoutCount(marked()));
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      clearTimeout(typing);
      if (event.submitter?.closest("#chosen")) location.assign(address()); // a page to come back from
      else show(marked());
    });
    mark();
    if (!document.getElementById("pager").hidden) show(location.href, { remember: false });
  }
  return { again: () => show(location.href, { remember: false }) };
}

/** Put a part of the new page in the place of the old one; cards and graphs that are the same stay what they are. */
function replace(old, fresh) {
  if (!old || !fresh) return;
  const kept = [];
  // A picture that went through another document would be loaded again, so its place is held for it meanwhile.
  function keep(before, after) {
    const place = document.createComment("");
    after.replaceWith(place);
    kept.push([place, before]);
  }
  for (const after of fresh.querySelectorAll(".probe[id]")) {
    const before = document.getElementById(after.id);
    if (before?.dataset.of !== after.dataset.of) continue;
    renew(before, after);
    keep(before, after);
  }
  const [graph, other] = [old, fresh].map((part) => part.querySelector(":scope > .graph"));
  if (graph && other && source(graph) === source(other)) keep(graph, other);
  const focus = document.activeElement;
  document.adoptNode(fresh);
  for (const [place, before] of kept) place.replaceWith(before);
  old.replaceWith(fresh);
  if (focus !== document.activeElement && focus.isConnected) focus.focus({ preventScroll: true });
}

/** What is not kept live of a probe is that of the new page. */
function renew(before, after) {
  const part = after.matches("tr") ? ".kwh" : ".facts";
  before.querySelector(part).replaceWith(document.importNode(after.querySelector(part), true));
  const [box, wanted] = [before, after].map((probe) => probe.querySelector("input[name=probe]"));
  if (box && wanted) box.checked = wanted.checked;
}

function source(graph) {
  return graph.querySelector("img").getAttribute("src");
}
