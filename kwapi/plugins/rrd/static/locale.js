// How numbers and times are written: as the browser's language does, with the digits and units that the server uses, and
// by the clock of the graphs' time zone, so that what is said of a graph is what stands below it.

const DIGITS = 4;
const PREFIXES = ["", "k", "M", "G"];
const written = new Intl.NumberFormat(undefined, {
  minimumSignificantDigits: DIGITS, maximumSignificantDigits: DIGITS, useGrouping: false,
});
const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0, useGrouping: false });
const zone = ofGraphs();
const here = zone === new Intl.DateTimeFormat().resolvedOptions().timeZone;
const clock = times({ timeStyle: "medium" });
const zoned = times({ timeStyle: here ? "medium" : "long" });
const day = times({ dateStyle: "medium" });
const dated = times({ dateStyle: "medium", timeStyle: "medium" });

function times(style) {
  return new Intl.DateTimeFormat(undefined, { ...style, timeZone: zone });
}

/** The time zone that the server names, or the browser's own where that is none that it knows, such as CET-1CEST. */
function ofGraphs() {
  const named = (timeZone) => new Intl.DateTimeFormat(undefined, { timeZone }).resolvedOptions().timeZone;
  try {
    return named(document.documentElement.dataset.zone || undefined);
  } catch {
    return named(undefined);
  }
}

/** A number of four digits, or of more where that many stand before the point. */
export function amount(value) {
  if (value === 0) return "0";
  return Math.abs(value) >= 10 ** DIGITS ? whole.format(value) : written.format(value);
}

/** Watts, with a unit in which they are short. */
export function power(watts) {
  if (watts === null) return "-";
  const thousands = watts ? Math.floor(Math.log10(Math.abs(watts)) / 3) : 0;
  const prefix = Math.min(Math.max(thousands, 0), PREFIXES.length - 1);
  return `${amount(watts / 1000 ** prefix)} ${PREFIXES[prefix]}W`;
}

/** A time of Unix seconds; with its day unless that is today. */
export function moment(timestamp) {
  const date = new Date(timestamp * 1000);
  return (day.format(date) === day.format(new Date()) ? clock : dated).format(date);
}

/** The time of day, with its zone unless that is the browser's. */
export function timeOfDay(timestamp) {
  return zoned.format(new Date(timestamp * 1000));
}

/** Write again what the server has written below a node. */
export function translate(root) {
  for (const element of root.querySelectorAll("data.watts[value]")) element.textContent = power(Number(element.value));
  for (const element of root.querySelectorAll("data.kwh[value], data.cost")) {
    element.textContent = amount(Number(element.value)) + element.dataset.unit;
  }
  for (const element of root.querySelectorAll("time")) element.textContent = moment(Date.parse(element.dateTime) / 1000);
}
