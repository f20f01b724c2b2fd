// The last requests as they come, and why one was a hit or a miss.
import { get, post } from "./api.js";
import { pair } from "./diff.js";
import * as labels from "./labels.js";
import { cells, clock, cosine, field, h, input, numeric, promptCell, say, seconds, select, table, usd, values } from "./dom.js";

const EVERY = 2000; // milliseconds between two looks
const DECISIONS = ["hit", "stale-hit", "miss", "partial", "collapsed", "bypass", "error"];
const HEADS = ["Time", "Decision", "Why", "Prompt", "Similarity", "Took", "Saved", "Client"];

export async function requests({ query }) {
  const list = h("div", {});
  const live = h("input", { type: "checkbox", checked: true });
  const form = h("form", { class: "filters", onsubmit: (event) => { event.preventDefault(); load(); }, onchange: () => load() },
    field("Decision", select("decision", [["", "all"], ...DECISIONS.map((one) => [one, one])], query.get("decision") || "")),
    field("Kind", select("kind", [["", "all"], ["exact", "exact"], ["semantic", "semantic"]])),
    field("Reason", input("reason", { placeholder: "no candidate" })),
    field("Operation", select("operation", [["", "all"], ["images", "images"], ["chat", "chat"]])),
    field("Namespace", input("namespace")),
    h("label", {}, live, " live"), h("button", {}, "Show"));
  let newest = null;
  async function load() {
    const { requests: found } = await get("/admin/requests", { ...values(form), limit: 50 });
    const seen = found.map((one) => one.number).join();
    if (seen === newest) return;
    newest = seen;
    const focused = document.activeElement?.closest?.("[data-number]")?.dataset.number;
    list.replaceChildren(table("Requests", HEADS, found.map(row), "No request that fits is remembered."));
    if (focused) list.querySelector(`[data-number="${focused}"] a`)?.focus();
  }
  await load();
  const timer = setInterval(() => { if (live.checked && !document.hidden) load().catch((error) => { live.checked = false; say(error.message); }); }, EVERY);
  return { content: [form, list], stop: () => clearInterval(timer) };
}

export function row(one) {
  return h("tr", { "data-number": one.number }, cells(
    h("td", {}, h("a", { href: `#/requests/${encodeURIComponent(one.request_id)}` }, clock(one.at))), decision(one),
    one.detail || one.reason || one.error, promptCell(one.prompt.slice(0, 160)), numeric(cosine(one.similarity)),
    numeric(seconds(one.seconds)), numeric(usd(one.saved_usd)), `${one.namespace} / ${one.client}`));
}

export function decision(one) {
  const good = one.decision === "hit" || one.decision === "stale-hit";
  const kind = one.kind && good ? `${one.kind} ${one.decision}` : one.decision;
  return h("span", { class: `badge ${good ? "good" : one.decision === "error" ? "bad" : ""}` }, kind);
}

export async function request({ id, session }) {
  return why(await get(`/admin/requests/${encodeURIComponent(id)}`), session);
}

export async function why(one, session) {
  const other = one.matched_prompt ?? one.rejected_prompt;
  const key = one.matched_prompt !== null ? one.matched_key : one.rejected_key;
  const judged = h("p", { role: "status" });
  return [
    h("p", {}, decision(one), " ", one.error ? `No answer: ${one.error}.` : explained(one)),
    other !== null && other !== undefined
      ? pair("Asked", one.prompt, one.matched_prompt !== null ? (one.shadow ? "Would have answered" : "Answered by") : "Nearest, but kept from answering", other)
      : h("div", { class: "pair" }, h("div", {}, h("h2", {}, "Asked"), h("p", {}, one.prompt))),
    one.matched_prompt !== null && session.role === "admin" && h("div", { class: "row" },
      h("button", { type: "button", class: "danger", onclick: () => judge("wrong") }, "👎 This hit was wrong"),
      h("button", { type: "button", onclick: () => judge("right") }, "👍 It was right"), judged),
    one.matched_prompt === null && other && session.role === "admin" && nearMiss(one, other),
    h("h2", {}, "Facts"),
    table("Facts", ["Fact", "Value"], [
      ["Time", clock(one.at)], ["Operation and model", `${one.operation}, ${one.model ?? "no model named"}`], ["Namespace and client", `${one.namespace}, ${one.client}`],
      ["Similarity", cosine(one.similarity)], ["Verifier, or why", one.detail || one.reason || "–"], ["Stored", one.stored ? "yes" : "no"],
      ["Paid, saved", `${usd(one.usd)}, ${usd(one.saved_usd)}`], ["Request id", one.request_id], ["Key", one.key], ["Key of the other entry", key || "–"],
    ].map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "prompt" }, value)))),
    h("h2", {}, "The eight steps"), steps(one),
  ];

  async function judge(verdict) {
    try {
      const effect = await post("/admin/feedback", { namespace: one.namespace, request_id: one.request_id, verdict });
      judged.textContent = effect.denied ? "Noted: this pair of prompts is not served any more." : "Noted.";
    } catch (error) { judged.textContent = error.message; }
  }
}

// A miss that the verifier made of a near candidate: a label for the threshold explorer, kept in this page alone.
function nearMiss(one, other) {
  if (!labels.whole(one.prompt, other)) return h("p", { class: "quiet" }, "Only the beginning of these prompts is remembered, so they can't be labelled here.");
  const said = h("span", { role: "status" });
  const label = (same) => {
    labels.judge(other, one.prompt, same, one.operation);
    said.replaceChildren("Labelled for the ", h("a", { href: "#/thresholds" }, "threshold explorer"), ".");
  };
  return h("div", { class: "row" }, h("button", { type: "button", onclick: () => label(true) }, "It should have been a hit"),
    h("button", { type: "button", onclick: () => label(false) }, "Rightly kept apart"), said);
}

function explained(one) {
  if (one.decision === "hit" && one.kind === "exact") return "The same request was stored.";
  if (one.kind === "semantic") return `Another prompt means the same, says the verifier: ${one.reason}.`;
  if (one.rejected_prompt !== null) return `The verifier kept the nearest entry from answering: ${one.detail || one.reason}.`;
  return `${one.detail || one.reason}.`;
}

const STEPS = { key: "1 key", exact: "2 exact", embed: "3 embed", search: "4 search", verify: "5 verify", join: "6 join", generate: "7 generate", store: "8 store" };

export function steps(one) {
  return table("The eight steps", ["Step", "Took"], one.steps.map(({ step, seconds: took }) =>
    h("tr", {}, cells(STEPS[step], numeric(took === null ? "not reached" : seconds(took))))));
}

