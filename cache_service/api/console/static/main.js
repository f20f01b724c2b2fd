// The console: a page for each part of the address behind `#/`, a login where there is no session.
import { get, post, remove } from "./api.js";
import { field, h, input, say } from "./dom.js";
import { entries, entry, gallery } from "./entries.js";
import { keys } from "./keys.js";
import { overview } from "./overview.js";
import { alerts, audit, settings } from "./records.js";
import { request, requests } from "./requests.js";
import { playground, purge, thresholds } from "./tools.js";

const PAGES = {
  overview: ["Overview", overview], requests: ["Requests", requests], gallery: ["Gallery", gallery], entries: ["Entries", entries],
  keys: ["Keys and pools", keys], playground: ["Playground", playground], thresholds: ["Thresholds", thresholds],
  purge: ["Purge", purge], alerts: ["Alerts", alerts], audit: ["Audit log", audit], settings: ["Settings", settings],
};
const DETAILS = { entries: entry, requests: request };
const main = document.getElementById("main");
const nav = document.getElementById("nav");
const who = document.getElementById("who");
let session = null;
let leave = null;

addEventListener("hashchange", () => show(true));
addEventListener("logged-out", () => { if (session) { session = null; say("The session has ended."); show(true); } });
start();

async function start() {
  try { session = await get("/admin/session"); } catch { session = null; }
  await show(false);
}

async function show(focus) {
  if (leave) { leave(); leave = null; }
  frame();
  document.getElementById("status").textContent = "";
  if (!session) { login(); return; }
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("?")[0].split("/");
  const [title, page] = PAGES[name] || PAGES.overview;
  const build = rest.length && DETAILS[name] ? DETAILS[name] : page;
  const heading = h("h1", {}, title);
  document.title = `${title} · cache-service`;
  const body = h("div", { "aria-busy": "true" }, h("p", { class: "quiet" }, "Loading …"));
  main.replaceChildren(heading, body);
  if (focus) main.focus();
  try {
    const built = await build({ session, id: decodeURIComponent(rest.join("/")), query: new URLSearchParams(location.hash.split("?")[1] || "") });
    const { content, stop } = Array.isArray(built) || built instanceof Node ? { content: built } : built;
    body.replaceChildren(...[content].flat(Infinity).filter(Boolean));
    leave = stop || null;
  } catch (error) {
    body.replaceChildren(h("p", { class: "notice bad", role: "alert" }, error.message));
  }
  body.removeAttribute("aria-busy");
}

function frame() {
  nav.hidden = !session;
  const current = location.hash.replace(/^#\/?/, "").split(/[/?]/)[0] || "overview";
  nav.replaceChildren(h("ul", {}, Object.entries(PAGES).map(([name, [title]]) =>
    h("li", {}, h("a", { href: `#/${name}`, "aria-current": name === current ? "page" : null }, title)))));
  const out = h("button", { type: "button", onclick: logOut }, "Log out");
  who.replaceChildren(...(session ? [`${session.who}${session.role === "viewer" ? " (may look)" : ""}`, out] : []));
}

function login() {
  document.title = "Log in · cache-service";
  const token = input("token", { type: "password", required: true, autocomplete: "current-password", maxlength: 1024 });
  const wrong = h("p", { class: "bad", role: "alert" });
  const form = h("form", { class: "login", onsubmit: logIn },
    h("h1", {}, "Log in"), field("Admin token or key", token),
    h("p", { class: "quiet" }, "The token was made at the first start: it is in the file ", h("code", {}, "admin-token"), " of the data directory."),
    wrong, h("button", { class: "main" }, "Log in"));
  main.replaceChildren(form);

  async function logIn(event) {
    event.preventDefault();
    try {
      session = await post("/admin/session", { token: token.value });
      await show(true);
    } catch (error) {
      wrong.textContent = error.status === 401 ? "This is neither the token nor the key of an admin or viewer." : error.message;
      token.focus();
    }
  }
}

async function logOut() {
  await remove("/admin/session");
  session = null;
  await show(true);
}
