// Elements made from values: text stays text, whatever a prompt holds.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function say(text) {
  const status = document.getElementById("status");
  status.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { status.textContent = ""; }, 6000);
}

export const number = (value, digits = 0) =>
  value === null || value === undefined ? "–" : value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });
export const count = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;
export const usd = (value) => (value === null || value === undefined ? "–" : `$${number(value, value !== 0 && Math.abs(value) < 1 ? 4 : 2)}`);
export const cosine = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));
export const clock = (at) => new Date(at * 1000).toLocaleString("en-GB", { dateStyle: "short", timeStyle: "medium" });

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1) return `${number(value * 1000, value < 0.1 ? 1 : 0)} ms`;
  if (value < 120) return `${number(value, 1)} s`;
  return value < 7200 ? `${number(value / 60, 1)} min` : `${number(value / 3600, 1)} h`;
}

export function table(caption, heads, rows, empty = "Nothing yet.") {
  if (!rows.length) return h("p", { class: "quiet" }, empty);
  return h("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": caption },
    h("table", {}, h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))), h("tbody", {}, rows)));
}

export function cells(...values) {
  return values.map((value) => (value instanceof HTMLTableCellElement ? value : h("td", {}, value ?? "–")));
}

export const numeric = (value) => h("td", { class: "number" }, value);
export const promptCell = (text) => h("td", { class: "prompt" }, text);

export function field(label, control) {
  control.id ||= `field-${label.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`;
  return h("div", {}, h("label", { for: control.id }, label), control);
}

export const input = (name, attributes = {}) => h("input", { name, ...attributes });

export function select(name, options, chosen = "") {
  return h("select", { name }, options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
}

export function values(form) {
  return Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value !== ""));
}

export const picture = (sha256, alt) => h("img", { src: `/admin/blobs/${sha256}`, alt, loading: "lazy" });
